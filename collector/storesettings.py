"""What the store is told of the configuration. Pure."""

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
        retention=Retention(
            storage.retention_days,
            {site.id: site.retention_days for site in config.sites if site.retention_days >= 0},
        ),
    )
