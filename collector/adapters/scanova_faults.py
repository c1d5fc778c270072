"""What may be wrong with a Scanova event, in the words of the vendor's framework (pydantic 1).

`message` and `rule` of a refusal are its `msg` and `type`, `path` is its `loc`. No message repeats
what the client sent. Must not know how members are read.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from collector.refusal import INVALID_FIELD, MISSING_FIELD, RAW_EMAIL, Refusal, Violation

# Of the INTEGER columns.
INTEGER_MAX: Final = 2**31 - 1


def _invalid(message: str, rule: str = "value_error") -> Refusal:
    return Refusal(INVALID_FIELD, message, rule=rule)


NOT_AN_OBJECT: Final = _invalid("value is not a valid dict", "type_error.dict")
NOT_TEXT: Final = _invalid("str type expected", "type_error.str")
NOT_A_NUMBER: Final = _invalid("value is not a valid float", "type_error.float")
NOT_PIXELS: Final = _invalid(
    f"must be a whole number from 0 to {INTEGER_MAX}", "type_error.integer"
)
NOT_A_UUID: Final = _invalid("value is not a valid uuid", "type_error.uuid")
NOT_A_TIME: Final = _invalid("invalid datetime format, ISO 8601 expected", "value_error.datetime")
NOT_A_CONSENT: Final = _invalid(
    "value is not a valid enumeration member; permitted: 'granted', 'denied', 'pending'",
    "type_error.enum",
)
NOT_A_CURRENCY: Final = _invalid("must be an ISO 4217 code in three capital letters")
NOT_A_HASH: Final = _invalid("must be a SHA-256 hash of 64 hex digits")
IS_ADDRESS: Final = Refusal(
    RAW_EMAIL, "must not be an e-mail address; send its hash in email_hash", rule="value_error"
)
REPEATED: Final = _invalid("has a member twice, once of a wrong type")
# Of a member of a wrong type; of all that are not listed it is said that they are no text.
BY_TYPE: Final[Mapping[str, Refusal]] = {
    "amount": NOT_A_NUMBER,
    "screen_width": NOT_PIXELS,
    "screen_height": NOT_PIXELS,
}


def at(refusal: Refusal, *path: str) -> Refusal:
    """`refusal` of the member at `path`, outermost first."""
    return msgspec.structs.replace(refusal, path=path)


def missing(*names: str) -> Refusal:
    """Say that required members are missing; each a name, or names joined by slashes."""
    plural = "s" if len(names) > 1 else ""
    return Refusal(
        MISSING_FIELD,
        f"missing required field{plural}: " + ", ".join(names).replace("/", "."),
        path=tuple(names[0].split("/")),
        rule="value_error.missing",
        violations=tuple(Violation("field required", f"/{name}") for name in names),
    )
