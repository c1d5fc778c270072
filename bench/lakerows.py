"""Rows of a whole data directory, made by DuckDB itself: millions a minute, the same for a seed.

Owns what the rows look like: all columns of `storage/schema.py`, with the lengths, repetitions and
gaps that the traffic of `bench/corpus.py` leaves in Parquet, because these decide size and speed.
Rows come in the order of their receipt, as the flusher writes them.
"""
# ruff: noqa: S608  every piece of this SQL is our own text

from datetime import date, timedelta
from typing import Final

import msgspec

from storage import COLUMNS
from storage.parquet import quote

FIRST_DAY: Final = date(2026, 10, 1)
# So many distinct values of a hash that no two pages or visitors fall together by rounding.
_STEPS: Final = 1 << 30
# Sites are drawn from a list of so many places, so that a drawing is one look into a list.
_PLACES: Final = 8_192
# Of a page's path; the pages of a site are visited as unevenly as sites are.
_PAGES_PER_SITE: Final = 400
_ROWS_PER_VISITOR: Final = 6

_CITIES: Final = [
    *(("US", "New York"), ("US", "Chicago"), ("US", "Austin"), ("US", None), ("IN", "Mumbai")),
    *(("IN", "Pune"), ("DE", "Berlin"), ("DE", "Hamburg"), ("BR", "São Paulo"), ("FR", "Paris")),
    *(("GB", "London"), ("JP", "Tokyo"), ("CH", "Zürich"), ("ES", None), (None, None)),
]
_DEVICES: Final = [
    *(("desktop", "Chrome", "Windows"), ("desktop", "Safari", "Mac OS X")),
    *(("mobile", "Mobile Safari", "iOS"), ("mobile", "Chrome Mobile", "Android")),
    *(("desktop", "Firefox", "Linux"), ("desktop", "Edge", "Windows")),
]
_SCREENS: Final = [(1920, 1080), (2560, 1440), (1440, 900), (390, 844), (412, 915), (820, 1180)]
_LANGUAGES: Final = ["en-US", "en-GB", "de-DE", "fr-FR", "pt-BR", "es-ES", "hi-IN", "ja-JP"]
_USER_AGENTS: Final = [
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/142.0.0.0 Safari/537.36"
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/18.6 Safari/605.1.15"
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
    ),
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/142.0.0.0 Mobile Safari/537.36"
    ),
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0"
    ),
]
_PAGES: Final = [
    "/",
    "/pricing?plan=team&billing=yearly",
    "/menu/lunch?table=14&utm_source=qr&utm_medium=print&utm_campaign=autumn",
    "/products/trail-running-shoes?color=slate&size=43",
    "/blog/2026/11/how-we-measure%20things#results",
    "/checkout/shipping",
    "/account/orders/2026-118-0042",
    "/stores/z%C3%BCrich-hauptbahnhof?lang=de",
]
_REFERRERS: Final = [
    *("https://www.google.com/", "https://www.bing.com/", "https://duckduckgo.com/"),
    *("https://www.instagram.com/", "https://t.co/Xk29fLqv7B", "https://news.ycombinator.com/"),
]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How much: `rows` in all, spread evenly over `days` from `first` on, unevenly over `sites`."""

    rows: int
    days: int = 30
    sites: int = 100
    seed: int = 1
    first: date = FIRST_DAY

    def day(self, number: int) -> date:
        """The date of day `number`, counted from 0."""
        return self.first + timedelta(days=number)

    def rows_of(self, number: int) -> int:
        """Rows of day `number`."""
        return self.rows * (number + 1) // self.days - self.rows * number // self.days

    @property
    def weights(self) -> list[float]:
        """Share of each site, the largest first: the n-th has 1/n of what the first has."""
        total = sum(1 / rank for rank in range(1, self.sites + 1))
        return [1 / rank / total for rank in range(1, self.sites + 1)]


def site_name(rank: int) -> str:
    """Id of the site with the `rank`-th most rows, from 1; size and name are not in one order."""
    return f"site-{rank * 37 % 101:03d}-{rank}"


def rows_sql(shape: Shape, day: int, first: int, last: int) -> str:
    """A query: rows `first` to `last` (excluded) of day `day`, in the order of their receipt."""
    columns = ",\n    ".join(
        f"({_VALUES[column.name]})::{column.type} AS {column.name}" for column in COLUMNS
    )
    begin = f"TIMESTAMPTZ '{shape.day(day)} 00:00:00Z'"
    return f"""
WITH drawn AS (
    SELECT
        i,
        i / {shape.rows_of(day)}.0 AS passed,
        {day} AS day,
        {_sites_sql(shape)}[1 + (hash(i, {day}, {shape.seed}, 1) % {_PLACES})::INT] AS site,
        {_share("i", day, shape.seed, 2)} AS u_visitor,
        {_share("i", day, shape.seed, 3)} AS u_type,
        {_share("i", day, shape.seed, 4)} AS u_page,
        {_share("i", day, shape.seed, 5)} AS u_rare,
        md5('e{shape.seed}.{day}.' || i) AS id
    FROM range({first}, {last}) AS rows(i)
),
visits AS (
    SELECT
        *,
        {begin} + to_microseconds(
            (86400000000 * (passed - 0.1 * sin(6.283185307 * passed)))::BIGINT % 86400000000
        ) AS received,
        (pow(u_visitor, 1.5) * greatest(
            1, {shape.rows_of(day)} * {_weights_sql(shape)}[site] / {_ROWS_PER_VISITOR}
        ))::BIGINT AS number,
        'site-' || lpad((site * 37 % 101)::VARCHAR, 3, '0') || '-' || site AS site_id
    FROM drawn
),
who AS (
    SELECT
        *,
        -- Every third visitor comes each day, the others once.
        md5('v' || site || '.' || number || '.' || if(number % 3 = 0, 0, day)) AS visitor,
        (hash(site, number, 7) >> 2)::BIGINT AS kind,
        floor(passed * 8)::INT AS part_of_day
    FROM visits
),
said AS (
    SELECT
        *,
        ['scanova', 'scanova', 'scanova', 'croct', 'zenovay'][1 + (kind % 5)::INT] AS spoken,
        1 + (kind >> 8) % {len(_DEVICES)} AS device,
        1 + (kind >> 16) % {len(_CITIES)} AS place,
        (pow(u_page, 3) * {_PAGES_PER_SITE})::INT AS page,
        md5('s' || visitor || day || '.' || part_of_day) AS session,
        md5('a' || visitor || day) AS address,
        u_type > 0.985 AS from_server
    FROM who
)
SELECT
    {columns}
FROM said"""


def _share(row: str, day: int, seed: int, salt: int) -> str:
    return f"(hash({row}, {day}, {seed}, {salt}) % {_STEPS}) / {_STEPS}.0"


def _sites_sql(shape: Shape) -> str:
    """A list with each site as often as its share says, at least once."""
    places: list[int] = []
    for rank, weight in enumerate(shape.weights, 1):
        places += [rank] * max(1, round(weight * _PLACES))
    filled = (places + [1] * _PLACES)[:_PLACES]
    return f"[{', '.join(map(str, filled))}]"


def _weights_sql(shape: Shape) -> str:
    return f"[{', '.join(f'{weight:.6f}' for weight in shape.weights)}]"


def _listed(values: list[str | None] | list[str]) -> str:
    return "[" + ", ".join("NULL" if v is None else quote(v) for v in values) + "]"


_PATHS: Final = _listed([page.partition("?")[0].rstrip("/") for page in _PAGES])
_TYPE: Final = """CASE
        WHEN spoken = 'scanova' AND from_server THEN 'conversion'
        WHEN spoken = 'scanova' THEN CASE
            WHEN u_type < 0.45 THEN 'pageview' WHEN u_type < 0.70 THEN 'click'
            WHEN u_type < 0.88 THEN 'scroll' WHEN u_type < 0.92 THEN 'form_submit'
            WHEN u_type < 0.95 THEN 'add_to_cart' ELSE 'video_progress' END
        WHEN spoken = 'croct' THEN CASE
            WHEN u_type < 0.30 THEN 'pageOpened' WHEN u_type < 0.60 THEN 'pageLoaded'
            WHEN u_type < 0.75 THEN 'tabUrlChanged' WHEN u_type < 0.90 THEN 'eventOccurred'
            WHEN u_type < 0.97 THEN 'productViewed' ELSE 'orderPlaced' END
        ELSE CASE
            WHEN u_type < 0.55 THEN 'pageview' WHEN u_type < 0.85 THEN 'event'
            WHEN u_type < 0.92 THEN 'identify' WHEN u_type < 0.97 THEN 'goal'
            ELSE 'purchase' END
    END"""
_IS_SOLD: Final = "u_type > 0.97 AND spoken <> 'scanova' OR from_server AND spoken = 'scanova'"
_URL: Final = (
    "'https://www.' || site_id || '.example' || "
    f"{_PATHS}[1 + page % {len(_PAGES)}] || '/' || page || CASE "
    "WHEN u_rare < 0.04 THEN '?utm_source=ads&utm_campaign=autumn&gclid=' || id || left(id, 12) "
    "WHEN u_rare < 0.15 THEN '?utm_source=qr&utm_medium=print&utm_campaign=autumn' ELSE '' END"
)
_METADATA: Final = f"""CASE
        WHEN spoken = 'croct' THEN '{{"type":"' || {_TYPE} || '","url":"' || {_URL}
            || '","referrer":"","title":"Page ' || page || '"}}'
        WHEN spoken = 'scanova' AND u_type BETWEEN 0.45 AND 0.70 THEN
            '{{"element_type":"button","element_text":"Start free trial","section":"s'
            || page % 9 || '"}}'
        WHEN spoken = 'scanova' AND u_type BETWEEN 0.70 AND 0.88 THEN
            '{{"scroll_depth":' || 25 * (1 + page % 4) || '}}'
        WHEN spoken = 'scanova' AND u_type > 0.88 THEN
            '{{"sku":"TR-' || page || '","price":129.9,"quantity":1,"tags":["sale","running"]}}'
        WHEN spoken = 'zenovay' AND u_type > 0.55 THEN
            '{{"name":"step_' || page % 12 || '","plan":"team","amount":' || page || '}}'
        ELSE '{{}}' END"""
_CONTEXT: Final = """CASE spoken
        WHEN 'croct' THEN '{"tab_id":"' || session::UUID || '","time_zone":"Europe/Berlin",'
            || '"library":"@croct/plug 0.22.1","departure_time":' || epoch_ms(received)
            || ',"original_time":' || epoch_ms(received) - page || '}'
        WHEN 'zenovay' THEN '{"library":"zenovay-node 1.4.0"}' END"""

# Column: an expression over `said`.
_VALUES: Final = {
    "event_id": "id",
    "event_time": "received - to_milliseconds(CASE WHEN u_rare > 0.9995 THEN 90000000 "
    "WHEN u_rare > 0.99 THEN page * 9000 ELSE 40 + page * 7 END)",
    "received_time": "received",
    "site_id": "site_id",
    "protocol": "spoken",
    "source": "if(from_server OR spoken = 'zenovay', 'server', 'browser')",
    "event_type": _TYPE,
    "event_name": "CASE WHEN spoken = 'zenovay' AND u_type > 0.55 OR spoken = 'croct' "
    "AND u_type BETWEEN 0.75 AND 0.90 THEN 'step_' || page % 12 "
    "WHEN from_server AND spoken = 'scanova' THEN 'purchase' END",
    "visitor_id": "if(spoken = 'croct', visitor, visitor::UUID::VARCHAR)",
    "session_id": "if(spoken = 'croct', NULL, session::UUID::VARCHAR)",
    "scan_session_id": "CASE WHEN spoken = 'scanova' AND kind % 4 = 0 "
    "THEN md5('q' || session)::UUID::VARCHAR END",
    "user_id": "CASE WHEN kind % 10 = 3 THEN 'customer-' || site || '-' || number END",
    "qr_code_id": "CASE WHEN spoken = 'scanova' AND kind % 4 = 0 "
    "THEN 'qr-' || site || '-' || number % 20 END",
    "page_url": f"CASE WHEN NOT from_server THEN {_URL} END",
    "page_title": "CASE WHEN spoken <> 'zenovay' THEN 'Page ' || page || ' of ' || site_id END",
    "referrer": f"CASE WHEN u_rare > 0.3 AND NOT from_server THEN if(u_rare > 0.6, "
    f"{_listed(_REFERRERS)}[1 + page % {len(_REFERRERS)}], "
    "'https://www.' || site_id || '.example/' || page % 50) END",
    "device_type": f"{_listed([d[0] for d in _DEVICES])}[device]",
    "browser_family": f"{_listed([d[1] for d in _DEVICES])}[device]",
    "os_family": f"{_listed([d[2] for d in _DEVICES])}[device]",
    "user_agent": f"{_listed(_USER_AGENTS)}[device]",
    "language": f"{_listed(_LANGUAGES)}[1 + (kind >> 24) % {len(_LANGUAGES)}]",
    "screen_width": f"CASE spoken WHEN 'scanova' THEN {[s[0] for s in _SCREENS]}[device] END",
    "screen_height": f"CASE spoken WHEN 'scanova' THEN {[s[1] for s in _SCREENS]}[device] END",
    "country_code": f"{_listed([c[0] for c in _CITIES])}[place]",
    "city": f"{_listed([c[1] for c in _CITIES])}[place]",
    # As long as a SHA-256 in hex and as random, at half the cost.
    "ip_hash": "address || reverse(address)",
    "conversion_value": f"CASE WHEN {_IS_SOLD} THEN round(5 + page * 1.37, 2) END",
    "conversion_currency": f"CASE WHEN {_IS_SOLD} THEN ['EUR', 'USD', 'INR'][1 + site % 3] END",
    "email_hash": "CASE WHEN from_server THEN md5('m' || visitor) || md5('n' || visitor) END",
    "phone_hash": "CASE WHEN from_server AND number % 4 = 0 "
    "THEN md5('t' || visitor) || md5('u' || visitor) END",
    "external_id": "CASE WHEN from_server THEN 'customer-' || site || '-' || number END",
    "consent": "CASE spoken WHEN 'scanova' THEN 'granted' END",
    "metadata": _METADATA,
    "context": _CONTEXT,
    "idempotency_key": "CASE spoken WHEN 'zenovay' THEN 'order-' || left(id, 16) END",
    "dedup_key": "md5(id)",
    "key_id": "CASE WHEN from_server OR spoken = 'zenovay' THEN 'backend' END",
    "flags": "CASE WHEN u_rare > 0.9995 THEN ['late'] WHEN kind % 50 = 7 THEN ['bot'] ELSE [] END",
    "is_duplicate": "u_rare BETWEEN 0.5 AND 0.503",
    "is_fraud": "kind % 500 = 7",
}
