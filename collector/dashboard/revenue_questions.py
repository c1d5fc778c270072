"""The questions of the revenue page: payments by day and by what is known of them, and what led
to them.

Payments are rows of `payment_events`, counted in `payment_days`. Paid ones have a status of
`pieces.PAID`, refunds one of `pieces.REFUNDED`; every other status is counted by itself only.
Nothing is summed across currencies.

What led to a payment, in the order in which it is asked of each page view of the same visitor:

1. none of the QR scan is earlier, or its address names the scan (`scnv`): that QR code;
2. its address names a campaign (`utm_source`, `utm_campaign`): these;
3. its referrer is of another host: that host.

Any other page view is a step within the site, and no touch. The first touch is the earliest one up
to the payment, at most `LOOK_BACK_DAYS` days before the range; the last touch is the latest. A
payment without any is direct. A payment without a visitor is of the visitor of its QR scan. One
that withholds consent is not attributed, and page views that do are no touches. Of several touches
at one moment it is always the same one. What is a touch at all says `storage/touches.py`.
"""
# ruff: noqa: S608  every piece of this SQL is our own text; what people type is bound

from datetime import timedelta
from typing import Final

from collector.dashboard.pieces import PAID, REFUNDED
from collector.dashboard.ranges import WITHIN, Scope
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


_WIDER: Final = "date BETWEEN $earliest::DATE AND $until::DATE AND ($site = '' OR site_id = $site)"

# A moment and what was there, as one number, so that the least is that of the first moment, and of
# several things of one moment always the same one.
_MOMENT: Final = "epoch_us({})::HUGEINT * 18446744073709551616 + {}"
_VISITOR_AT: Final = _MOMENT.format("first_seen", "scan_days.visitor")
_TOUCH_AT: Final = _MOMENT.format("event_time", "hash(touch)")

# Payments first, then what the visitors who paid came by.
_ATTRIBUTED: Final = f"""\
WITH paid AS MATERIALIZED (
    SELECT
        row_number() OVER () AS payment,
        site_id,
        event_time,
        currency,
        amount,
        visitor,
        scan,
        is_withheld
    FROM transactions
    WHERE {WITHIN} AND {_IS_PAID} AND {_OF_SENDER}
),
scans AS (
    SELECT DISTINCT site_id, scan
    FROM paid
    WHERE visitor IS NULL AND scan IS NOT NULL AND NOT is_withheld
),
openings AS (
    SELECT site_id, scan, arg_min(visitor, {_VISITOR_AT}) AS visitor
    FROM scan_days SEMI JOIN scans USING (site_id, scan)
    WHERE source = 'browser' AND NOT is_withheld AND visitor IS NOT NULL AND {_WIDER}
    GROUP BY site_id, scan
),
buyers AS MATERIALIZED (
    SELECT
        payment,
        site_id,
        event_time AS paid_at,
        coalesce(paid.visitor, openings.visitor) AS visitor
    FROM paid LEFT JOIN openings USING (site_id, scan)
    WHERE NOT is_withheld AND coalesce(paid.visitor, openings.visitor) IS NOT NULL
),
near AS MATERIALIZED (
    SELECT site_id, visitor, event_time, scan, is_scanned, touch, qr_code_id
    FROM touches SEMI JOIN (SELECT DISTINCT site_id, visitor FROM buyers) USING (site_id, visitor)
    WHERE {_WIDER}
),
pages AS (
    -- No condition: DuckDB would ask it of the touches of everybody.
    SELECT site_id, visitor, event_time, CASE WHEN scan IS NULL THEN touch END AS touch
    FROM near
    UNION ALL
    SELECT
        site_id,
        visitor,
        event_time,
        CASE
            WHEN is_scanned OR event_time = min(event_time) OVER (
                PARTITION BY site_id, visitor, scan
            ) THEN 'QR code ' || coalesce(
                min(qr_code_id) OVER (PARTITION BY site_id, scan), '(unknown)'
            )
            ELSE touch
        END AS touch
    FROM near
    WHERE scan IS NOT NULL
),
led AS (
    SELECT
        payment,
        arg_min(touch, {_TOUCH_AT}) FILTER (WHERE touch IS NOT NULL) AS first_touch,
        arg_max(touch, {_TOUCH_AT}) FILTER (WHERE touch IS NOT NULL) AS last_touch
    FROM pages JOIN buyers USING (site_id, visitor)
    WHERE event_time <= paid_at
    GROUP BY payment
),
told AS (
    SELECT currency, amount, unnest([
        {{'place': 'first', 'touch': coalesce(first_touch, otherwise)}},
        {{'place': 'last', 'touch': coalesce(last_touch, otherwise)}}
    ], recursive := true)
    FROM (
        SELECT
            currency,
            amount,
            first_touch,
            last_touch,
            CASE
                WHEN is_withheld THEN '{NO_CONSENT}'
                WHEN buyers.payment IS NULL THEN '{UNKNOWN}'
                ELSE '{DIRECT}'
            END AS otherwise
        FROM paid LEFT JOIN buyers USING (payment) LEFT JOIN led USING (payment)
    )
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
