"""What may have led a visitor to pay: page views by a QR code, a campaign, a link of another host.

Owns which page views are touches, and what each is called. The same for the rows of one part and
for those of many: what only several parts know together, whether no page view of a scan is earlier,
is left to whoever asks (`collector/dashboard/revenue_questions.py`).
"""
# ruff: noqa: S608  every piece of this SQL is our own text

from typing import Final

from storage import views


def host(column: str) -> str:
    """SQL for the host of an address, '' where there is none."""
    return f"regexp_extract({column}, '^[a-z+.-]+://([^/?#]*)', 1)"


def _host(column: str) -> str:
    return f"lower({host(column)})"


def _member(name: str) -> str:
    """A member of the query of a page's address, decoded; NULL where there is none.

    Most addresses have none: to look for a text is cheaper than to look for a pattern.
    """
    found = f"regexp_extract(page_url, '[?&]{name}=([^&#]*)', 1)"
    return (
        f"CASE WHEN contains(page_url, '{name}=') "
        f"THEN nullif(url_decode(replace({found}, '+', ' ')), '') END"
    )


# What a page view is by itself; NULL: a step within the site.
_TOUCH: Final = f"""\
CASE
            WHEN utm_source IS NOT NULL THEN
                'utm ' || concat_ws(' / ', utm_source, {_member("utm_campaign")})
            WHEN {_host("referrer")} NOT IN ('', {_host("page_url")}) THEN {_host("referrer")}
        END"""

_SEEN: Final = f"""\
    SELECT
        date,
        site_id,
        hash(visitor_id) AS visitor,
        event_time,
        named IS NOT NULL AS is_scanned,
        CASE WHEN coalesce(scan_session_id, named) IS NOT NULL
            THEN hash(site_id, lower(coalesce(scan_session_id, named)))
        END AS scan,
        -- Site, visitor and scan in one number: what is alike is found sooner.
        hash(site_id, visitor_id, lower(coalesce(scan_session_id, named))) AS visit,
        qr_code_id,
        {_TOUCH} AS touch
    FROM (
        SELECT *, {_member("scnv")} AS named, {_member("utm_source")} AS utm_source
        FROM page_views
        WHERE visitor_id IS NOT NULL AND NOT {views.IS_WITHHELD}
    )"""

# One row for each that may be a touch. `scan`: where it may be one of that scan, because its
# address names it (`is_scanned`) or none of the visitor's in the part is earlier; `qr_code_id`: the
# code of that scan, as far as the visitor's page views in the part tell it.
SQL: Final = f"""\
SELECT
    date,
    site_id,
    visitor,
    event_time,
    CASE WHEN is_first OR is_scanned THEN scan END AS scan,
    is_scanned,
    touch,
    CASE WHEN is_first OR is_scanned THEN code END AS qr_code_id
FROM (
    SELECT
        *,
        scan IS NOT NULL AND event_time = min(event_time) OVER of_scan AS is_first,
        min(qr_code_id) OVER of_scan AS code
    FROM (
{_SEEN}
    )
    WHERE scan IS NOT NULL OR touch IS NOT NULL
    WINDOW of_scan AS (PARTITION BY date, visit)
)
WHERE is_first OR is_scanned OR touch IS NOT NULL"""
