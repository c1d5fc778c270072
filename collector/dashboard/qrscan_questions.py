"""The questions of the page about QR scans: scans per code, the newest, the newest conversions.

How much there is of each scan is counted in `scan_days`, by its number. Ids and addresses are in
rows only: which few dates to read is asked first.
"""
# ruff: noqa: S608  every piece of this SQL is our own text; what people type is bound

from datetime import timedelta
from typing import Final

from collector.dashboard.ranges import WITHIN, Scope
from collector.dashboard.visitor_questions import WITHHELD
from collector.panels import Question

CODES_MAX: Final = 200
NEWEST_MAX: Final = 25
# How long before the range the first event of a scan is looked for.
LOOK_BACK_DAYS: Final = 30

# How much of what is counted of scans is looked at for the newest: for each a handful, one for each
# date and currency.
_SAMPLE: Final = 2_000

# `scan_days` has a number for each scan: there may be millions of them.
_BY_CODE: Final = f"""\
WITH rows AS NOT MATERIALIZED (
    SELECT scan, site_id, source, qr_code_id, events, amount, currency
    FROM scan_days
    WHERE {WITHIN}
),
scans AS (
    SELECT
        scan,
        any_value(site_id) AS site_id,
        min(qr_code_id) AS code,
        coalesce(sum(events) FILTER (WHERE source = 'browser'), 0)::BIGINT AS browser_events,
        coalesce(sum(events) FILTER (WHERE source = 'server'), 0)::BIGINT AS conversions
    FROM rows
    GROUP BY scan
),
values AS (
    SELECT scan, currency, sum(amount) AS total
    FROM rows
    WHERE source = 'server' AND amount IS NOT NULL
    GROUP BY scan, currency
),
sums AS (
    SELECT site_id, code, list({{'currency': currency, 'value': total}} ORDER BY currency) AS sums
    FROM (
        SELECT site_id, code, currency, sum(total) AS total
        FROM values JOIN scans USING (scan)
        GROUP BY site_id, code, currency
    )
    GROUP BY site_id, code
),
codes AS (
    SELECT
        site_id,
        code,
        count(*) FILTER (WHERE browser_events > 0) AS scans,
        sum(browser_events)::BIGINT AS browser_events,
        count(*) FILTER (WHERE browser_events > 0 AND conversions > 0) AS converted,
        sum(conversions)::BIGINT AS conversions
    FROM scans
    GROUP BY site_id, code
)
SELECT codes.*, sums.sums
FROM codes LEFT JOIN sums
    ON sums.site_id = codes.site_id AND sums.code IS NOT DISTINCT FROM codes.code
ORDER BY scans DESC, conversions DESC, codes.site_id, codes.code NULLS LAST
LIMIT {CODES_MAX}"""

# Today and yesterday, where the newest are, if there are enough of them at all.
_LATE: Final = "date BETWEEN greatest($since::DATE, $until::DATE - 1) AND $until::DATE"
_OF_SITE: Final = "($site = '' OR site_id = $site)"

# `after`: as many scans as the page shows have ended later, or then.
_ENDED_AFTER: Final = f"""\
SELECT CASE WHEN count(*) = {NEWEST_MAX} THEN min(ended) ELSE '-infinity' END AS after
FROM (
    SELECT max(last_seen) AS ended
    FROM scan_days
    WHERE {_LATE} AND {_OF_SITE} AND source = 'browser'
    GROUP BY site_id, scan
    ORDER BY ended DESC
    LIMIT {NEWEST_MAX}
)"""

# The scans whose last browser event is newest, more where they are of the same moment, with all
# that is told of them but their ids; those are in the rows of these last events.
_LATELY: Final = f"""\
WITH ended AS (
    SELECT site_id, scan, max(last_seen) AS ended
    FROM (
        SELECT site_id, scan, last_seen
        FROM scan_days
        WHERE {WITHIN} AND source = 'browser' AND last_seen >= $after::TIMESTAMPTZ
        ORDER BY last_seen DESC
        LIMIT {_SAMPLE}
    )
    GROUP BY site_id, scan
),
chosen AS (
    SELECT site_id, scan
    FROM ended
    QUALIFY rank() OVER (ORDER BY ended DESC) <= {NEWEST_MAX}
),
counted AS (
    SELECT
        site_id,
        scan,
        min(qr_code_id) AS code,
        min(first_seen) FILTER (WHERE source = 'browser') AS began,
        max(last_seen) FILTER (WHERE source = 'browser') AS ended,
        coalesce(sum(events) FILTER (WHERE source = 'browser'), 0)::BIGINT AS browser_events,
        coalesce(sum(events) FILTER (
            WHERE source = 'server' AND NOT is_withheld
        ), 0)::BIGINT AS conversions,
        arg_max(date, last_seen) FILTER (WHERE source = 'browser') AS date
    FROM scan_days SEMI JOIN chosen USING (site_id, scan)
    WHERE {WITHIN}
    GROUP BY site_id, scan
)
SELECT list(counted) AS scans, list(DISTINCT date) AS dates, min(ended) AS earliest
FROM counted"""

_NEWEST_SCANS: Final = f"""\
WITH scans AS (
    SELECT unnest($scans::STRUCT(
        site_id VARCHAR,
        scan UBIGINT,
        code VARCHAR,
        began TIMESTAMPTZ,
        ended TIMESTAMPTZ,
        browser_events BIGINT,
        conversions BIGINT,
        date DATE
    )[], recursive := true)
),
named AS (
    SELECT DISTINCT event.site_id, hash(event.site_id, scan_session_id) AS scan, scan_session_id
    FROM valid_events AS event SEMI JOIN scans
        ON scans.site_id = event.site_id
        AND scans.scan = hash(event.site_id, event.scan_session_id)
    WHERE {WITHIN}
        AND list_contains($dates::DATE[], date)
        AND event_time >= $earliest::TIMESTAMPTZ
        AND scan_session_id IS NOT NULL
)
SELECT site_id, scan_session_id, code, began, ended, browser_events, conversions
FROM scans JOIN named USING (site_id, scan)
ORDER BY ended DESC, site_id, scan_session_id
LIMIT {NEWEST_MAX}"""

# `after`: as many conversions as the page shows came later, or then.
_CONVERTED_AFTER: Final = f"""\
SELECT CASE WHEN count(*) = {NEWEST_MAX} THEN min(first_seen) ELSE '-infinity' END AS after
FROM (
    SELECT first_seen
    FROM scan_days
    WHERE {_LATE} AND {_OF_SITE} AND source = 'server'
    ORDER BY first_seen DESC
    LIMIT {NEWEST_MAX}
)"""

# What is counted of their scans; the dates that have such conversions, and those that have the
# first browser events of their scans.
_CONVERTED: Final = f"""\
WITH late AS (
    SELECT date, site_id, scan
    FROM scan_days
    WHERE {WITHIN} AND source = 'server' AND last_seen >= $after::TIMESTAMPTZ
),
counted AS (
    SELECT
        site_id,
        scan,
        min(qr_code_id) AS code,
        min(first_seen) FILTER (WHERE source = 'browser') AS opened,
        list(date) FILTER (WHERE source = 'browser') AS dates
    FROM scan_days SEMI JOIN late USING (site_id, scan)
    WHERE date BETWEEN $earliest::DATE AND $until::DATE AND {_OF_SITE}
    GROUP BY site_id, scan
)
SELECT
    (SELECT list(DISTINCT date) FROM late) AS dates,
    list({{'site_id': site_id, 'scan': scan, 'code': code, 'opened': opened}}) AS scans,
    list_distinct(flatten(list(dates))) AS openings,
    min(opened) AS opened_first,
    max(opened) AS opened_last
FROM counted"""

# As the published view has it, for few conversions: it would look for the first event of each scan
# among all rows of all dates.
_CONVERSIONS: Final = f"""\
WITH newest AS (
    SELECT
        event_time,
        event_id,
        site_id,
        scan_session_id,
        hash(site_id, scan_session_id) AS scan,
        coalesce(event_name, event_type) AS name,
        conversion_value AS value,
        conversion_currency AS currency,
        qr_code_id,
        {WITHHELD} AS is_withheld
    FROM valid_events
    WHERE {WITHIN}
        AND list_contains($dates::DATE[], date)
        AND source = 'server'
        AND scan_session_id IS NOT NULL
        AND event_time >= $after::TIMESTAMPTZ
    ORDER BY event_time DESC, event_id DESC
    LIMIT {NEWEST_MAX}
),
scans AS (
    SELECT unnest($scans::STRUCT(
        site_id VARCHAR, scan UBIGINT, code VARCHAR, opened TIMESTAMPTZ
    )[], recursive := true)
),
openings AS (
    SELECT event.site_id, scans.scan, page_url
    FROM valid_events AS event JOIN scans
        ON scans.site_id = event.site_id
        AND scans.opened = event.event_time
        AND scans.scan = hash(event.site_id, event.scan_session_id)
    WHERE list_contains($openings::DATE[], date)
        AND event_time BETWEEN $opened_first::TIMESTAMPTZ AND $opened_last::TIMESTAMPTZ
        AND source = 'browser'
        AND scan_session_id IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY event.site_id, scans.scan ORDER BY received_time, event_id
    ) = 1
)
SELECT
    newest.event_time,
    newest.site_id,
    newest.scan_session_id,
    newest.name,
    newest.value,
    newest.currency,
    newest.is_withheld,
    coalesce(newest.qr_code_id, scans.code) AS code,
    CASE WHEN NOT newest.is_withheld THEN openings.page_url END AS first_page,
    CASE WHEN NOT newest.is_withheld THEN newest.event_time - scans.opened END AS after
FROM newest
LEFT JOIN scans USING (site_id, scan)
LEFT JOIN openings USING (site_id, scan)
ORDER BY newest.event_time DESC, newest.event_id DESC"""


def by_code(scope: Scope) -> Question:
    """Scans, what became of them, and the value of conversions by currency, per site and code."""
    return Question(_BY_CODE, scope.values())


def newest(scope: Scope) -> Question:
    """The scans whose last browser event is newest."""
    return Question(_NEWEST_SCANS, scope.values(), first=(_ENDED_AFTER, _LATELY))


def conversions(scope: Scope) -> Question:
    """The newest ones, with the code and the first page of their scan."""
    earliest = str(scope.since - timedelta(days=LOOK_BACK_DAYS))
    first = (_CONVERTED_AFTER, _CONVERTED)
    return Question(_CONVERSIONS, scope.values(earliest=earliest), first)
