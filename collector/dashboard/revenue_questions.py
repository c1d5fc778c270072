"""The questions of the revenue page: payments by day and by what is known of them, and what led
to them.

Payments are rows of `payment_events`, counted in `payment_days`. Paid ones have a status of
`pieces.PAID`, refunds one of `pieces.REFUNDED`; every other status is counted by itself only.
Nothing is summed across currencies.

What led to a payment, in the order in which it is asked of each page view of the same visitor:

1. it is the first one of a QR scan, or its address names the scan (`scnv`): that QR code;
2. its address names a campaign (`utm_source`, `utm_campaign`): these;
3. its referrer is of another host: that host.

Any other page view is a step within the site, and no touch. The first touch is the earliest one up
to the payment, at most `LOOK_BACK_DAYS` days before the range; the last touch is the latest. A
payment without any is direct. A payment without a visitor is of the visitor of its QR scan. One
that withholds consent is not attributed, and page views that do are no touches.
"""
# ruff: noqa: S608  every piece of this SQL is our own text; what people type is bound

from datetime import timedelta
from typing import Final

from collector.dashboard.pieces import PAID, REFUNDED
from collector.dashboard.ranges import WITHIN, Scope
from collector.dashboard.visitor_questions import WITHHELD
from collector.panels import Question

LOOK_BACK_DAYS: Final = 30
ROWS_MAX: Final = 50
# What `touch` of an answer is where there is none.
DIRECT: Final = "direct"
UNKNOWN: Final = "no visitor known"
NO_CONSENT: Final = "consent withheld"


def _listed(statuses: tuple[str, ...]) -> str:
    return ", ".join(f"'{status}'" for status in statuses)


_IS_PAID: Final = f"status IN ({_listed(PAID)})"
_IS_REFUND: Final = f"status IN ({_listed(REFUNDED)})"
_OF_SENDER: Final = "($protocol = '' OR protocol = $protocol)"

_DAILY: Final = f"""\
SELECT
    date AS day,
    currency,
    coalesce(sum(events) FILTER (WHERE {_IS_PAID}), 0)::BIGINT AS payments,
    coalesce(sum(amount) FILTER (WHERE {_IS_PAID}), 0) AS revenue,
    coalesce(sum(events) FILTER (WHERE {_IS_REFUND}), 0)::BIGINT AS refunds,
    coalesce(sum(amount) FILTER (WHERE {_IS_REFUND}), 0) AS refunded,
    sum(events)::BIGINT AS all_payments
FROM payment_days
WHERE {WITHIN} AND {_OF_SENDER}
GROUP BY date, currency
ORDER BY date DESC, currency"""

# Names of plans and statuses are the senders' own: only so many of each are told.
_KINDS: Final = f"""\
WITH parts AS (
    SELECT currency, amount, events, {_IS_PAID} AS is_paid, unnest([
        {{'part': 'provider', 'value': payment_provider}},
        {{'part': 'plan', 'value': coalesce(plan_name, '')}},
        {{'part': 'status', 'value': status}},
        {{'part': 'sender', 'value': protocol || ', ' || source}}
    ], recursive := true)
    FROM payment_days
    WHERE {WITHIN} AND {_OF_SENDER}
)
SELECT
    part,
    value,
    currency,
    sum(events)::BIGINT AS all_payments,
    coalesce(sum(events) FILTER (WHERE is_paid), 0)::BIGINT AS payments,
    sum(amount) FILTER (WHERE is_paid) AS revenue,
    sum(amount) AS amount
FROM parts
GROUP BY part, value, currency
QUALIFY row_number() OVER (
    PARTITION BY part ORDER BY sum(events) DESC, value, currency NULLS FIRST
) <= {ROWS_MAX}
ORDER BY part, all_payments DESC, value, currency NULLS FIRST"""


def _host(column: str) -> str:
    return f"lower(regexp_extract({column}, '^[a-z+.-]+://([^/?#]*)', 1))"


def _member(name: str) -> str:
    """A member of the query of a page's address, decoded; NULL where there is none."""
    found = f"regexp_extract(page_url, '[?&]{name}=([^&#]*)', 1)"
    return f"nullif(url_decode(replace({found}, '+', ' ')), '')"


_WIDER: Final = "date BETWEEN $earliest::DATE AND $until::DATE AND ($site = '' OR site_id = $site)"

# Payments first, then the pages of those who paid only.
_ATTRIBUTED: Final = f"""\
WITH paid AS (
    SELECT
        row_number() OVER () AS payment,
        site_id,
        event_time,
        currency,
        amount,
        visitor_id,
        scan_session_id,
        {WITHHELD} AS is_withheld
    FROM payment_events
    WHERE {WITHIN} AND {_IS_PAID} AND {_OF_SENDER}
),
scans AS (
    SELECT DISTINCT site_id, scan_session_id
    FROM paid
    WHERE visitor_id IS NULL AND scan_session_id IS NOT NULL AND NOT is_withheld
),
openings AS (
    SELECT
        site_id,
        scan_session_id,
        arg_min(visitor_id, (event_time, received_time, event_id)) AS visitor_id
    FROM valid_events SEMI JOIN scans USING (site_id, scan_session_id)
    WHERE source = 'browser' AND NOT {WITHHELD} AND {_WIDER}
    GROUP BY site_id, scan_session_id
),
buyers AS (
    SELECT paid.* REPLACE (CASE
        WHEN paid.is_withheld THEN NULL
        ELSE coalesce(paid.visitor_id, openings.visitor_id)
    END AS visitor_id)
    FROM paid LEFT JOIN openings USING (site_id, scan_session_id)
),
pages AS (
    SELECT
        site_id,
        visitor_id,
        event_time,
        event_id,
        CASE
            WHEN is_scanned OR (scan IS NOT NULL AND row_number() OVER (
                PARTITION BY site_id, visitor_id, scan
                ORDER BY event_time, received_time, event_id
            ) = 1) THEN 'QR code ' || coalesce(
                min(qr_code_id) OVER (PARTITION BY site_id, scan), '(unknown)'
            )
            WHEN {_member("utm_source")} IS NOT NULL THEN
                'utm ' || concat_ws(' / ', {_member("utm_source")}, {_member("utm_campaign")})
            WHEN {_host("referrer")} NOT IN ('', {_host("page_url")}) THEN {_host("referrer")}
        END AS touch
    FROM (
        SELECT
            *,
            {_member("scnv")} IS NOT NULL AS is_scanned,
            lower(coalesce(scan_session_id, {_member("scnv")})) AS scan
        FROM page_views SEMI JOIN (
            SELECT DISTINCT site_id, visitor_id FROM buyers WHERE visitor_id IS NOT NULL
        ) USING (site_id, visitor_id)
        WHERE {_WIDER} AND NOT {WITHHELD}
    )
),
led AS (
    SELECT
        payment,
        any_value(currency) AS currency,
        any_value(amount) AS amount,
        any_value(CASE
            WHEN buyers.is_withheld THEN '{NO_CONSENT}'
            WHEN buyers.visitor_id IS NULL THEN '{UNKNOWN}'
            ELSE '{DIRECT}'
        END) AS otherwise,
        arg_min(touch, (pages.event_time, pages.event_id)) AS first_touch,
        arg_max(touch, (pages.event_time, pages.event_id)) AS last_touch
    FROM buyers LEFT JOIN pages
        ON pages.site_id = buyers.site_id
        AND pages.visitor_id = buyers.visitor_id
        AND pages.event_time <= buyers.event_time
        AND pages.touch IS NOT NULL
    GROUP BY payment
),
told AS (
    SELECT currency, amount, unnest([
        {{'place': 'first', 'touch': coalesce(first_touch, otherwise)}},
        {{'place': 'last', 'touch': coalesce(last_touch, otherwise)}}
    ], recursive := true)
    FROM led
)
SELECT
    place,
    touch,
    currency,
    count(*) AS payments,
    sum(amount) AS revenue,
    sum(sum(amount)) OVER (PARTITION BY place, currency) AS whole
FROM told
GROUP BY place, touch, currency
QUALIFY row_number() OVER (
    PARTITION BY place ORDER BY count(*) DESC, touch, currency NULLS FIRST
) <= {ROWS_MAX}
ORDER BY place, payments DESC, touch, currency NULLS FIRST"""


def daily(scope: Scope, protocol: str) -> Question:
    """Per day and currency, from as many days before the range on."""
    wide = Scope(scope.site, scope.before.since, scope.until)
    return Question(_DAILY, wide.values(protocol=protocol))


def kinds(scope: Scope, protocol: str) -> Question:
    """Per provider, plan, status and sender, by currency."""
    return Question(_KINDS, scope.values(protocol=protocol))


def attributed(scope: Scope, protocol: str) -> Question:
    """Paid ones by first and by last touch, by currency."""
    earliest = str(scope.since - timedelta(days=LOOK_BACK_DAYS))
    return Question(_ATTRIBUTED, scope.values(protocol=protocol, earliest=earliest))
