"""The Croct beacon: its envelope, its two contexts and the 24 event types, as typed structs.

Owns which members an event has and their limits. The rule is tolerance: the union of the published
JSON schema and of what the SDK sends, since one 400 silences the page until its next load (the SDK
holds every later event back). Must not know HTTP, rows, or how violations are told.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from collector.adapters.croct_models import (
    IDENTIFIER_REST,
    IDENTIFIER_START,
    Amount,
    Cart,
    Labels,
    Number,
    Order,
    Patch,
    Point,
    Post,
    Product,
    Size,
    Text10,
    Text50,
    Text100,
    Uri,
    Uuid,
    WebUrl,
)

# The last millisecond of the year 9999: beyond it neither Python nor Parquet readers have dates.
_TIME_MS_MAX: Final = 253_402_300_799_999

Time = Annotated[
    float,
    Meta(
        ge=0,
        le=_TIME_MS_MAX,
        multiple_of=1,
        description="a whole number of milliseconds since 1970, not beyond the year 9999",
    ),
]
# The published maximum is 100; the SDK lets callers send 254.
ExternalUserId = Annotated[str, Meta(min_length=1, max_length=254)]
GoalId = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=100,
        pattern=r"^[a-zA-Z0-9][a-zA-Z0-9:_-]+[a-zA-Z0-9]\Z",
        description="3 to 100 letters, digits, `:`, `_`, `-`, beginning and ending with a letter"
        " or digit",
    ),
]
TIME_ZONE: Final = "[a-zA-Z0-9_+:/-]{1,64}"
TimeZone = Annotated[
    str, Meta(pattern=rf"^{TIME_ZONE}\Z", description="the name of an IANA time zone")
]
_DetailKey = Annotated[
    str,
    Meta(
        pattern=rf"^{IDENTIFIER_START}{IDENTIFIER_REST}{{0,19}}\Z",
        description="keys of up to 20 letters, digits and underscores, no digit first",
    ),
]
_DetailValue = Annotated[str, Meta(max_length=300)] | Number | bool | None
Details = Annotated[dict[_DetailKey, _DetailValue], Meta(max_length=10)]
# Documented: 5 entries, keys up to 20. The SDK adds `sdkVersion` and prefixes the keys of its
# caller with `custom_`, hence 6 and 27 in practice; 8 and 32 leave room.
METADATA_KEY: Final = f"{IDENTIFIER_START}{IDENTIFIER_REST}{{0,31}}"
METADATA_MAX: Final = 8
_MetadataKey = Annotated[
    str,
    Meta(
        pattern=rf"^{METADATA_KEY}\Z",
        description="keys of up to 32 letters, digits and underscores, no digit first",
    ),
]
MetadataText = Annotated[str, Meta(max_length=300)]
Metadata = Annotated[dict[_MetadataKey, MetadataText], Meta(max_length=METADATA_MAX)]


class Payload(msgspec.Struct, rename="camel", tag_field="type", gc=False):
    """Base of the 24 types; `type` on the wire tells which."""


class PageOpened(Payload, tag="pageOpened"):
    """The tracker was enabled for the first time in a page."""

    url: WebUrl
    referrer: Uri | None = None
    user_agent: str | None = None
    preferred_languages: list[str] | None = None


class PageLoaded(Payload, tag="pageLoaded"):
    """The document is complete; a modification time the browser cannot tell is `null`."""

    url: WebUrl
    title: str
    last_modified_time: Number | None


class TabOpened(Payload, tag="tabOpened"):
    """A tab without a stored id."""

    tab_id: Uuid


class TabUrlChanged(Payload, tag="tabUrlChanged"):
    """Navigation inside the page."""

    tab_id: Uuid
    url: WebUrl


class TabVisibilityChanged(Payload, tag="tabVisibilityChanged"):
    """The tab was shown or hidden."""

    tab_id: Uuid
    visibility: Literal["visible", "hidden"]


class UserClicked(Payload, tag="userClicked"):
    """A click."""

    point: Point
    surface_size: Size | None = None


class UserScrolled(Payload, tag="userScrolled"):
    """A scroll in one direction."""

    end: Point
    start: Point | None = None
    surface_size: Size | None = None
    viewport_size: Size | None = None


class NothingChanged(Payload, tag="nothingChanged"):
    """The idle timer fired."""

    since_time: Number


class UserSignedUp(Payload, tag="userSignedUp"):
    """An account was opened; the profile arrives as a patch."""

    external_user_id: ExternalUserId
    patch: Patch | None = None


class UserSignedIn(Payload, tag="userSignedIn"):
    """The token's subject became a user."""

    external_user_id: ExternalUserId


class UserSignedOut(Payload, tag="userSignedOut"):
    """The token's subject left."""

    external_user_id: ExternalUserId


class UserProfileChanged(Payload, tag="userProfileChanged"):
    """A profile was edited; only documents know `externalUserId` here."""

    patch: Patch
    external_user_id: ExternalUserId | None = None


class SessionAttributesChanged(Payload, tag="sessionAttributesChanged"):
    """Session attributes were edited."""

    patch: Patch


class ProductViewed(Payload, tag="productViewed"):
    """A product page was seen."""

    product: Product


class CartViewed(Payload, tag="cartViewed"):
    """The cart was seen."""

    cart: Cart


class CartModified(Payload, tag="cartModified"):
    """The cart was changed."""

    cart: Cart


class CheckoutStarted(Payload, tag="checkoutStarted"):
    """The checkout began."""

    cart: Cart
    order_id: Text50 | None = None


class OrderPlaced(Payload, tag="orderPlaced"):
    """An order was placed."""

    order: Order


class GoalCompleted(Payload, tag="goalCompleted"):
    """A goal was reached."""

    goal_id: GoalId
    value: Amount | None = None
    currency: Text10 | None = None


class InterestShown(Payload, tag="interestShown"):
    """Topics the visitor cares for."""

    interests: Labels


class PostViewed(Payload, tag="postViewed"):
    """An article was seen."""

    post: Post


class LinkOpened(Payload, tag="linkOpened"):
    """A link was followed."""

    link: Uri


class EventOccurred(Payload, tag="eventOccurred"):
    """A custom event."""

    name: Text50
    details: Details | None = None


class LeadGenerated(Payload, tag="leadGenerated"):
    """A lead; every member is optional."""

    lead_id: Text100 | None = None
    currency: Text10 | None = None
    value: Amount | None = None
    patch: Patch | None = None


AnyPayload = (
    PageOpened
    | PageLoaded
    | TabOpened
    | TabUrlChanged
    | TabVisibilityChanged
    | UserClicked
    | UserScrolled
    | NothingChanged
    | UserSignedUp
    | UserSignedIn
    | UserSignedOut
    | UserProfileChanged
    | SessionAttributesChanged
    | ProductViewed
    | CartViewed
    | CartModified
    | CheckoutStarted
    | OrderPlaced
    | GoalCompleted
    | InterestShown
    | PostViewed
    | LinkOpened
    | EventOccurred
    | LeadGenerated
)


class WebContext(msgspec.Struct, rename="camel", gc=False):
    """Where in a browser it happened; the SDK leaves `type` out."""

    url: WebUrl
    type: Literal["web"] | None = None
    tab_id: Uuid | None = None
    time_zone: TimeZone | None = None
    metadata: Metadata | None = None


class ServerContext(msgspec.Struct, rename="camel", gc=False):
    """A back end: no page, no tab; whatever else it says is an unknown member."""

    type: Literal["server"]
    metadata: Metadata | None = None


class WebBeacon(msgspec.Struct, rename="camel", gc=False):
    """One event of a browser."""

    original_time: Time
    departure_time: Time
    context: WebContext
    payload: AnyPayload


class ServerBeacon(msgspec.Struct, rename="camel", gc=False):
    """One event of a back end."""

    original_time: Time
    departure_time: Time
    context: ServerContext
    payload: AnyPayload
