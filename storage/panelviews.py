"""The views that the dashboard's pages count from: per date, without anybody in them.

Owns their SQL on top of the published views. A date is that of receipt, as the folders have it, so
that a range of dates opens no other folder. Only what DuckDB 1.5 and 2.0 share.
"""

from typing import Final

from storage.views import View

# What top lists are made of: name of the dimension, and the value of an event in it. A page is its
# host and path, a referrer its host: what follows a question mark is different for everybody.
DIMENSIONS: Final = {
    "page": r"nullif(regexp_extract(page_url, '^[a-z+.-]+://([^?#]*)', 1), '')",
    "referrer": r"nullif(regexp_extract(referrer, '^[a-z+.-]+://([^/?#]*)', 1), '')",
    "device": "device_type",
    "browser": "browser_family",
    "os": "os_family",
    "country": "country_code",
    "city": "city",
}

_COUNTS: Final = """\
SELECT
    date,
    date_trunc('hour', received_time) AS hour,
    site_id,
    protocol,
    source,
    event_type,
    event_name,
    is_duplicate,
    is_fraud,
    count(*) AS events
FROM events
GROUP BY ALL"""

_TOPS: Final = "\nUNION ALL\n".join(
    f"SELECT date, site_id, '{name}' AS dimension, {value} AS value, count(*) AS views\n"
    "FROM page_views\n"
    "GROUP BY ALL"
    for name, value in DIMENSIONS.items()
)

_DAY_VISITORS: Final = """\
SELECT DISTINCT date, site_id, hash(visitor_id) AS visitor
FROM valid_events
WHERE visitor_id IS NOT NULL"""

PANEL_VIEWS: Final = (
    View("counts", _COUNTS, "events per date, hour, site, protocol, source, type and name"),
    View("tops", _TOPS, "page views per date, site and value of a dimension; NULL: not known"),
    View("day_visitors", _DAY_VISITORS, "who was there, per date and site, as a number"),
)
