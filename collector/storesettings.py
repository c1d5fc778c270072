"""What store and quarantine are told of the configuration. Pure."""

from collector.config import Config
from storage import Retention, Settings


def store_settings(config: Config, *, tends_parts: bool) -> Settings:
    """The settings of the store; `tends_parts`: whether it joins parts and applies retention."""
    storage = config.storage
    return Settings(
        directory=storage.directory,
        durability=storage.durability,
        publish_interval_ms=storage.publish_interval_ms,
        segment_bytes_max=storage.segment_bytes_max,
        queue_bytes_max=storage.queue_bytes_max,
        disk_free_bytes_min=storage.disk_free_bytes_min,
        keys_max=storage.keys_max,
        join_parts_min=storage.join_parts_min,
        tends_parts=tends_parts,
        retention=retention_of(config),
    )


def retention_of(config: Config) -> Retention:
    """How long events are kept."""
    return Retention(
        config.storage.retention_days,
        {site.id: site.retention_days for site in config.sites if site.retention_days >= 0},
    )


def quarantine_days(config: Config) -> tuple[int, dict[str, int]]:
    """For how many days refused events are kept (0: for ever), and those of a site if it differs.

    Never longer than what was accepted.
    """
    storage = config.storage
    sites = {
        site.id: _shorter(storage.quarantine_days, site.retention_days)
        for site in config.sites
        if site.retention_days >= 0
    }
    return _shorter(storage.quarantine_days, storage.retention_days), sites


def _shorter(days: int, others: int) -> int:
    return min(days, others) if days and others else days or others
