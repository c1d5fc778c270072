"""The nouns inside Croct payloads: products, carts, orders, posts, points, patches.

Owns their members and limits: the union of the published JSON schema and of what the SDK sends, so
a limit is as wide as the wider of the two. Unknown members pass, `null` stands for an absent
optional member, and whole numbers may be written as `1.0`. Must not know events or requests.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

IDENTIFIER_START: Final = "[a-zA-Z_]"
IDENTIFIER_REST: Final = "[a-zA-Z0-9_]"
_IDENTIFIER: Final = IDENTIFIER_START + IDENTIFIER_REST + "*"
# Spelled out: a group that repeats takes longer.
UUID: Final = r"[0-9a-fA-F]{8}+-[0-9a-fA-F]{4}+-[0-9a-fA-F]{4}+-[0-9a-fA-F]{4}+-[0-9a-fA-F]{12}+"
_POINTER: Final = rf"\.|(?:{_IDENTIFIER}|\[[0-9]+\])(?:\.{_IDENTIFIER}|\[[0-9]+\])*"
# The range in the middle changes nothing but the time: most URLs end where it does.
_WEB_URL: Final = r"(?i:https?)://[^\s\x00-\x1f\x7f/?#][!-~]*+[^\s\x00-\x1f\x7f]*"
# Browsers leave spaces alone in links such as `tel:+1 555 0100`, and `javascript:` is a link too.
_OTHER_URI: Final = r"(?!(?i:https?):)[a-zA-Z][a-zA-Z0-9+.-]*:[^\x00-\x1f\x7f]*"

Uuid = Annotated[str, Meta(pattern=rf"^{UUID}\Z", description="a UUID with dashes")]
WebUrl = Annotated[
    str, Meta(pattern=rf"^{_WEB_URL}\Z", description="an absolute http or https URL")
]
Uri = Annotated[
    str, Meta(pattern=rf"^(?:{_WEB_URL}|{_OTHER_URI})\Z", description="an absolute URI")
]

Text10 = Annotated[str, Meta(min_length=1, max_length=10)]
Text50 = Annotated[str, Meta(min_length=1, max_length=50)]
Text100 = Annotated[str, Meta(min_length=1, max_length=100)]
Text200 = Annotated[str, Meta(min_length=1, max_length=200)]

Number = float
Amount = Annotated[float, Meta(ge=0)]
# The published schema wants integers; the SDK checks for numbers only.
Position = Annotated[float, Meta(ge=0)]
Quantity = Annotated[float, Meta(ge=1)]
Whole = Annotated[float, Meta(ge=0, multiple_of=1, description="a whole number, 0 or more")]

Labels = Annotated[list[Text50], Meta(min_length=1, max_length=10)]
# The SDK checks neither the keys nor the sign.
Charges = Annotated[dict[str, Number], Meta(min_length=1)]


class Model(msgspec.Struct, rename="camel", gc=False):
    """Base of every noun: members are named in camel case on the wire."""


class Point(Model):
    """A place on the page, in CSS pixels."""

    x: Whole
    y: Whole


class Size(Model):
    """An extent, in CSS pixels."""

    width: Whole
    height: Whole


class Product(Model):
    """What is for sale; the SDK takes any absolute URL."""

    product_id: Text50
    name: Text200
    display_price: Amount
    sku: Text50 | None = None
    category: Text100 | None = None
    brand: Text100 | None = None
    variant: Text50 | None = None
    original_price: Amount | None = None
    currency: Text10 | None = None
    url: Uri | None = None
    image_url: Uri | None = None


class Item(Model):
    """A line of a cart or an order."""

    index: Position
    product: Product
    quantity: Quantity
    total: Amount
    discount: Amount | None = None
    coupon: Text50 | None = None


class Cart(Model):
    """A cart, possibly empty."""

    currency: Text10
    items: list[Item]
    total: Amount
    last_update_time: Number
    subtotal: Amount | None = None
    shipping_price: Amount | None = None
    taxes: Charges | None = None
    costs: Charges | None = None
    discount: Amount | None = None
    coupon: Text50 | None = None


class Order(Model):
    """An order; SDKs up to 0.22.1 say `complete` where the schema says `completed`."""

    order_id: Text50
    currency: Text10
    items: Annotated[list[Item], Meta(min_length=1)]
    total: Amount
    subtotal: Amount | None = None
    shipping_price: Amount | None = None
    taxes: Charges | None = None
    costs: Charges | None = None
    discount: Amount | None = None
    coupon: Text50 | None = None
    payment_method: Text50 | None = None
    installments: Quantity | None = None
    status: Literal["placed", "paid", "completed", "complete"] | None = None


class Post(Model):
    """An article; times are milliseconds and may lie before 1970."""

    post_id: Text200
    title: Text200
    publish_time: Number
    url: Uri | None = None
    tags: Labels | None = None
    categories: Labels | None = None
    authors: Labels | None = None
    update_time: Number | None = None


Path = Annotated[
    str, Meta(pattern=rf"^(?:{_POINTER})\Z", description="`.` or a dotted path with [n] indexes")
]


class Operation(Model, tag_field="type"):
    """One change of a profile or of session attributes; `type` on the wire tells which."""

    path: Path


class SetValue(Operation, tag="set"):
    """Replace the value."""

    value: object


class Add(Operation, tag="add"):
    """Append to a collection."""

    value: object


class Combine(Operation, tag="combine"):
    """Append to a collection what it does not hold."""

    value: object


class Remove(Operation, tag="remove"):
    """Take out of a collection."""

    value: object


class Merge(Operation, tag="merge"):
    """Merge a collection into the value."""

    value: dict[str, object] | list[object]


class Increment(Operation, tag="increment"):
    """Add to a number; the published schema wants an integer, the SDK any number."""

    value: Number


class Decrement(Operation, tag="decrement"):
    """Subtract from a number, as `Increment`."""

    value: Number


class Clear(Operation, tag="clear"):
    """Empty a collection."""


class Unset(Operation, tag="unset"):
    """Remove the attribute."""


AnyOperation = SetValue | Add | Combine | Remove | Merge | Increment | Decrement | Clear | Unset


class Patch(Model):
    """Changes in order; the published schema sets no minimum."""

    operations: list[AnyOperation]
