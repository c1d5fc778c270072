"""What Zenovay's `props` mean: which members each event type checks, which columns they fill.

`props` stay in the row as sent (`metadata`); here they are only read. Members that the vendor does
not document are never a reason to refuse an event: one of an unexpected type is ignored. Must not
know anything of the event around them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec

from collector.currencies import CURRENCIES
from collector.event import Row
from collector.refusal import INVALID_PAYMENT_PROVIDER, INVALID_PROPS, Kind, Refusal

PAYMENT_PROVIDERS: Final = frozenset({"stripe", "lemonsqueezy", "polar", "server"})
DEFAULT_CURRENCY: Final = "USD"

_Pixels = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]  # the column is an INTEGER
_Text = str | None


class _Props(msgspec.Struct, kw_only=True, gc=False):
    """What any event may say of its visitor's device and place; the page names no members.

    gc=False: texts and numbers take part in no cycle.
    """

    device_type: _Text = None
    device: _Text = None
    os_family: _Text = None
    os: _Text = None
    browser_family: _Text = None
    browser: _Text = None
    country_code: _Text = None
    country: _Text = None
    city: _Text = None
    screen_width: _Pixels | None = None
    screen_height: _Pixels | None = None


class _Pageview(_Props, gc=False):
    url: _Text = None
    referrer: _Text = None
    title: _Text = None


class _Custom(_Props, gc=False):
    name: _Text = None


class _Identify(_Props, gc=False):
    email: _Text = None
    name: _Text = None
    customer_id: _Text = None
    phone: _Text = None
    company: _Text = None


class _Goal(_Props, gc=False):
    name: _Text = None
    value: float | None = None
    currency: _Text = None


class _Purchase(_Props, gc=False):
    amount: float | None = None
    currency: _Text = None
    payment_provider: _Text = None
    status: _Text = None
    provider_event_id: _Text = None
    customer_email: _Text = None
    plan_name: _Text = None
    customer_id: _Text = None


def _invalid(message: str, kind: Kind = INVALID_PROPS) -> Refusal:
    return Refusal(kind, message)


_NOT_AN_OBJECT: Final = _invalid("props is missing or not an object")
_NO_URL: Final = _invalid("props.url must be a non-empty string")
_NO_NAME: Final = _invalid("props.name must be a non-empty string")
_NOBODY: Final = _invalid(
    "props needs at least one of email, name, customer_id, phone, company as a non-empty string"
)
_BAD_AMOUNT: Final = _invalid("props.amount must be a finite number")
_BAD_VALUE: Final = _invalid("props.value must be a finite number")
_BAD_CURRENCY: Final = _invalid("props.currency must be an ISO 4217 code")
_BAD_PROVIDER: Final = _invalid(
    "props.payment_provider must be one of stripe, lemonsqueezy, polar, server",
    INVALID_PAYMENT_PROVIDER,
)
_CHECKED_TEXTS: Final = ("status", "provider_event_id", "customer_email", "plan_name")


# The rows whose props are not sound, and why.
_Refused = list[tuple[Row, Refusal]]


# Each takes rows and their props in the same order, and fills the columns of its type: one call
# for all, because a call for each would cost more than what it does.


def _fill_pageviews(rows: Sequence[Row], every: Sequence[_Pageview]) -> _Refused:
    refused = []
    for row, props in zip(rows, every, strict=True):
        if not props.url:
            refused.append((row, _NO_URL))
        row.page_url = props.url
        if props.referrer:
            row.referrer = props.referrer
        if props.title:
            row.page_title = props.title
    return refused


def _fill_customs(rows: Sequence[Row], every: Sequence[_Custom]) -> _Refused:
    refused = []
    for row, props in zip(rows, every, strict=True):
        if not props.name:
            refused.append((row, _NO_NAME))
        row.event_name = props.name
    return refused


def _fill_identifies(rows: Sequence[Row], every: Sequence[_Identify]) -> _Refused:
    refused = []
    for row, props in zip(rows, every, strict=True):
        customer = props.customer_id
        if not (customer or props.email or props.name or props.phone or props.company):
            refused.append((row, _NOBODY))
        if customer:
            row.user_id = row.external_id = customer
    return refused


def _fill_goals(rows: Sequence[Row], every: Sequence[_Goal]) -> _Refused:
    refused = []
    for row, props in zip(rows, every, strict=True):
        # A goal without a name passes here: no site has such a goal, so that `check` refuses it.
        row.event_name = props.name
        row.conversion_value = props.value
        if props.currency is not None and (refusal := _fill_currency(row, props.currency)):
            refused.append((row, refusal))
    return refused


def _fill_purchases(rows: Sequence[Row], every: Sequence[_Purchase]) -> _Refused:
    refused = []
    for row, props in zip(rows, every, strict=True):
        refusal = _fill_purchase(row, props)
        if refusal is not None:
            refused.append((row, refusal))
    return refused


def _fill_purchase(row: Row, props: _Purchase) -> Refusal | None:
    if props.amount is None:
        return _BAD_AMOUNT
    row.conversion_value = props.amount
    currency = DEFAULT_CURRENCY if props.currency is None else props.currency
    if refusal := _fill_currency(row, currency):
        return refusal
    if props.payment_provider is not None and props.payment_provider not in PAYMENT_PROVIDERS:
        return _BAD_PROVIDER
    if props.customer_id:
        row.user_id = row.external_id = props.customer_id
    return None


def _fill_currency(row: Row, currency: str) -> Refusal | None:
    code = currency.upper()
    if code not in CURRENCIES:
        return _BAD_CURRENCY
    row.conversion_currency = code
    return None


def _fill_clients(rows: Sequence[Row], every: Sequence[_Props]) -> None:
    for row, props in zip(rows, every, strict=True):
        # Back ends hardly ever say anything of it: looked at before it is written.
        if (
            props.device_type
            or props.device
            or props.os_family
            or props.os
            or props.browser_family
            or props.browser
            or props.country_code
            or props.country
            or props.city
            or props.screen_width is not None
            or props.screen_height is not None
        ):
            row.device_type = props.device_type or props.device or None
            row.os_family = props.os_family or props.os or None
            row.browser_family = props.browser_family or props.browser or None
            row.city = props.city or None
            row.screen_width = props.screen_width
            row.screen_height = props.screen_height
            row.country_code = _country(props.country_code) or _country(props.country)


def _country(text: str | None) -> str | None:
    """`text` in capitals if it is two letters, as ISO 3166-1 codes are; names are not looked up."""
    if text and len(text) == 2 and text.isascii() and text.isalpha():
        return text.upper()
    return None


P = TypeVar("P", bound=_Props)
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class PropsReader(Generic[P]):
    """Reads the `props` of one event type.

    `checked` maps the members whose type matters to the refusal of a wrong one; any other member
    of an unexpected type is ignored.
    """

    def __init__(
        self,
        shape: type[P],
        fill: Callable[[Sequence[Row], Sequence[P]], _Refused],
        checked: Mapping[str, Refusal],
    ) -> None:
        self._shape = shape
        self._fill = fill
        self._checked = checked
        self._decoder = msgspec.json.Decoder(shape)
        self._list_decoder = msgspec.json.Decoder(list[shape])  # type: ignore[valid-type]
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {
            field.name: msgspec.json.Decoder(field.type) for field in msgspec.structs.fields(shape)
        }

    def fill(self, rows: Sequence[Row], raws: Sequence[msgspec.Raw]) -> list[tuple[Row, Refusal]]:
        """Fill the columns of each new row that its props, a well-formed JSON value, tell of.

        Returns the rows of events that cannot be accepted, and why; they may be half filled. Depth
        is no concern here: the body that the props are part of was decoded, and was deeper.
        """
        try:
            every = self._list_decoder.decode(b"[" + b",".join(raws) + b"]")
        except msgspec.ValidationError:
            return self._fill_each(rows, raws)
        return self._fill_all(rows, every)

    def _fill_all(self, rows: Sequence[Row], every: Sequence[P]) -> _Refused:
        _fill_clients(rows, every)
        return self._fill(rows, every)

    def _fill_each(self, rows: Sequence[Row], raws: Sequence[msgspec.Raw]) -> _Refused:
        """The same one by one, because the props of one of them do not fit the expected types."""
        refused: _Refused = []
        for row, raw in zip(rows, raws, strict=True):
            props = self._read(raw)
            if isinstance(props, Refusal):
                refused.append((row, props))
            else:
                refused += self._fill_all([row], [props])
        return refused

    def _read(self, raw: msgspec.Raw) -> P | Refusal:
        try:
            return self._decoder.decode(raw)
        except msgspec.ValidationError:
            return self._read_members(raw)

    def _read_members(self, raw: msgspec.Raw) -> P | Refusal:
        """Read member by member, because the whole does not fit the expected types."""
        try:
            members = _members.decode(raw)
        except msgspec.ValidationError:
            return _NOT_AN_OBJECT
        values: dict[str, Any] = {}
        for name, decoder in self._decoders.items():
            if name not in members:
                continue
            try:
                values[name] = decoder.decode(members[name])
            except msgspec.ValidationError:
                if name in self._checked:
                    return self._checked[name]
        return self._shape(**values)


PAGEVIEW: Final = PropsReader(_Pageview, _fill_pageviews, {})
CUSTOM: Final = PropsReader(_Custom, _fill_customs, {})
IDENTIFY: Final = PropsReader(_Identify, _fill_identifies, {})
GOAL: Final = PropsReader(_Goal, _fill_goals, {"value": _BAD_VALUE, "currency": _BAD_CURRENCY})
PURCHASE: Final = PropsReader(
    _Purchase,
    _fill_purchases,
    {
        "amount": _BAD_AMOUNT,
        "currency": _BAD_CURRENCY,
        "payment_provider": _BAD_PROVIDER,
        **{name: _invalid(f"props.{name} must be a string") for name in _CHECKED_TEXTS},
    },
)
