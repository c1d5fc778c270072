"""The shop of the demo: who it is to the collector, what it sells, what an event of it looks like.

Values and two spellings (a time, a token). Knows no visitor, no connection and no clock.
"""

import base64
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

Channel = Literal["scanova", "scanova server", "croct", "zenovay"]

Body = dict[str, object]

_encoder: Final = msgspec.json.Encoder()

# Number, name, price in euros.
PRODUCTS: Final = (
    ("P-1001", "House blend, 500 g", 12.90),
    ("P-1002", "Single origin, 250 g", 14.50),
    ("P-2001", "Hand grinder", 89.00),
    ("P-3001", "Ceramic dripper", 24.90),
)


class Shop(msgspec.Struct, frozen=True, kw_only=True):
    """Whose visitors they are. `goal` is an active Zenovay goal, "" when the site has none."""

    site: str
    origin: str
    tracking_code: str
    app_id: str
    goal: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One event: where it goes and its body. `visitor` tells visitors apart.

    `user_agent` and `language` are of the visitor's browser; `token` goes into Croct's X-Token.
    """

    channel: Channel
    body: Body
    visitor: str
    user_agent: str = ""
    language: str = ""
    token: str = ""


def unsigned_token(app_id: str, subject: str, issued_s: int) -> str:
    """The token that Croct's `identify()` makes in a browser: not signed, so it ends in a dot."""
    header = {"typ": "JWT", "alg": "none", "appId": app_id}
    claims = {"iss": "croct.io", "aud": "croct.io", "iat": issued_s, "sub": subject}
    parts = [base64.urlsafe_b64encode(_encoder.encode(part)) for part in (header, claims)]
    return ".".join(part.rstrip(b"=").decode() for part in parts) + "."


def iso(time_ms: int) -> str:
    """Unix milliseconds as browsers write them."""
    time = datetime.fromtimestamp(time_ms // 1_000, UTC)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time_ms % 1_000:03d}Z"
