"""What pages of the dashboard show, as SQL over the published views, written by other hands.

A new page wants a row here. Must not share SQL with the pages: then both would be wrong alike.
"""
# ruff: noqa: S608  every piece of this SQL is our own text

from typing import Final, NamedTuple


class Table(NamedTuple):
    """The rows of the table whose caption begins so, in these columns, are those of the SQL."""

    path: str
    caption: str
    columns: tuple[int, ...]
    sql: str


class Figure(NamedTuple):
    """The number in the element is that of the SQL."""

    path: str
    selector: str
    sql: str


_NAME: Final = "coalesce(event_name, event_type)"
_PAID: Final = "status IN ('succeeded', 'paid', 'completed')"
_REFUND: Final = "status IN ('refunded', 'partially_refunded', 'refund')"


def _page_views_by(expression: str, otherwise: str = "(not known)") -> str:
    return (
        f"SELECT coalesce(nullif({expression}, ''), '{otherwise}') AS value, count(*) AS views "
        "FROM page_views GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 100"
    )


FIGURES: Final = (
    Figure(
        "/dashboard",
        "[data-live='sum-accepted']",
        "SELECT count(*) FROM events WHERE is_duplicate = 0",
    ),
)
TABLES: Final = (
    Table(
        "/dashboard/pages",
        "Pages",
        (0, 1),
        _page_views_by("split_part(split_part(split_part(page_url, '://', 2), '?', 1), '#', 1)"),
    ),
    Table(
        "/dashboard/referrers",
        "Referrers",
        (0, 1),
        _page_views_by(
            "split_part(split_part(split_part(split_part(referrer, '://', 2), '/', 1), '?', 1), "
            "'#', 1)",
            "(none: direct, or withheld)",
        ),
    ),
    Table("/dashboard/devices", "Devices", (0, 1), _page_views_by("device_type")),
    Table("/dashboard/devices", "Browsers", (0, 1), _page_views_by("browser_family")),
    Table("/dashboard/devices", "Operating systems", (0, 1), _page_views_by("os_family")),
    Table("/dashboard/countries", "Countries", (0, 1), _page_views_by("country_code")),
    Table(
        "/dashboard/live",
        "By site",
        (0, 2, 3, 4),
        "SELECT site_id, count(DISTINCT visitor_id), "
        "count(*) FILTER (WHERE is_view), count(*) FROM ("
        "SELECT *, event_id IN (SELECT event_id FROM page_views) AS is_view FROM valid_events) "
        "GROUP BY site_id",
    ),
    Table(
        "/dashboard/events",
        "Custom events by name",
        (0, 1),
        f"SELECT {_NAME}, count(*) FROM custom_events GROUP BY 1",
    ),
    Table(
        "/dashboard/users",
        "Identified users",
        (1, 2, 4, 5),
        "SELECT coalesce(name, ''), site_id, (SELECT count(*) FROM valid_events AS event WHERE "
        "event.site_id = named.site_id AND event.visitor_id = named.visitor_id), "
        "coalesce(customer_id, '') FROM identified_users AS named "
        "ORDER BY last_identified DESC, site_id, visitor_id LIMIT 25",
    ),
    Table(
        "/dashboard/users",
        "Users by id",
        (0, 1, 2, 3),
        "SELECT user_id, site_id, count(*), count(DISTINCT visitor_id) FROM valid_events "
        "WHERE user_id IS NOT NULL GROUP BY user_id, site_id "
        "ORDER BY max(event_time) DESC, site_id, user_id LIMIT 25",
    ),
    Table(
        "/dashboard/goals",
        "Goals",
        (0, 1, 2, 5),
        "SELECT goal, site_id, count(*), count(DISTINCT visitor_id) "
        "FROM goal_completions GROUP BY goal, site_id",
    ),
    Table(
        "/dashboard/revenue",
        "Revenue by currency",
        (0, 1, 2, 5, 6),
        f"SELECT coalesce(currency, '(no currency)'), "
        f"printf('%.2f', coalesce(sum(amount) FILTER (WHERE {_PAID}), 0)), "
        f"count(*) FILTER (WHERE {_PAID}), "
        f"printf('%.2f', coalesce(sum(amount) FILTER (WHERE {_REFUND}), 0)), "
        f"count(*) FILTER (WHERE {_REFUND}) FROM payment_events GROUP BY currency",
    ),
    Table(
        "/dashboard/scans",
        "Scans and conversions by QR code",
        (1, 2, 3, 4, 6),
        "SELECT site_id, count(*) FILTER (WHERE browser > 0), sum(browser), "
        "count(*) FILTER (WHERE browser > 0 AND server > 0), sum(server) FROM ("
        "SELECT site_id, scan_session_id, min(qr_code_id) AS code, "
        "count(*) FILTER (WHERE source = 'browser') AS browser, "
        "count(*) FILTER (WHERE source = 'server') AS server FROM valid_events "
        "WHERE scan_session_id IS NOT NULL GROUP BY ALL) GROUP BY site_id, code",
    ),
    Table(
        "/dashboard/reconciliation",
        "Names in both streams",
        (1, 2),
        "SELECT count(*) FILTER (WHERE source = 'browser') AS browser, "
        "count(*) FILTER (WHERE source = 'server') AS server FROM ("
        "SELECT source, CASE WHEN event_id IN (SELECT event_id FROM page_views) THEN 'page view' "
        "WHEN event_id IN (SELECT event_id FROM goal_completions) THEN 'goal ' || event_name "
        "WHEN event_type IN ('purchase', 'orderPlaced') AND protocol <> 'scanova' THEN 'purchase' "
        f"ELSE {_NAME} END AS name FROM valid_events) GROUP BY name "
        "HAVING browser > 0 AND server > 0",
    ),
    Table(
        "/dashboard/keys?key=backend",
        "Top event types",
        (3,),
        "SELECT count(*) FROM valid_events WHERE key_id = 'backend' "
        "GROUP BY protocol, event_type, event_name ORDER BY count(*) DESC LIMIT 20",
    ),
    Table(
        "/dashboard/lake",
        "Files by date",
        (0, 3),
        "SELECT date, count(*) FROM events GROUP BY date",
    ),
)
