"""API keys and the admin token: how one is made, and the configuration that lets it in.

The text of a key is shown once, to whoever made it; the collector keeps its SHA-256 only. Prints
nothing and writes nothing itself.
"""

import hashlib
import secrets
import string
from typing import Final, Literal

import msgspec

# The key of the packaged example configuration. Published, hence worth nothing outside a trial.
DEMO_KEY: Final = "zv_demo" + "0" * 39

_PREFIX: Final = "zv_"
_ADMIN_PREFIX: Final = "admin_"
# 43 of 62 characters carry 256 bits, as many as the digest that stands for them.
_RANDOM_CHARACTERS: Final = 43
_ALPHABET: Final = string.ascii_letters + string.digits
_encoder: Final = msgspec.json.Encoder()


def new_key() -> str:
    """A fresh key: `zv_` and 43 random letters and digits, from the system's secure source."""
    return _PREFIX + _random_text()


def new_admin_token() -> str:
    """A fresh token for the admin pages: `admin_` and as much chance as in a key."""
    return _ADMIN_PREFIX + _random_text()


def _random_text() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))


def digest(key_text: str) -> str:
    """Hex SHA-256 of a key's text, the form in which the collector knows it."""
    return hashlib.sha256(key_text.encode("utf-8", "surrogatepass")).hexdigest()


def toml_block(
    *,
    name: str,
    key_text: str,
    site: str,
    team: str,
    tier: str,
    scope: Literal["site_access", "full_access"],
    created: str = "",
) -> str:
    """The `[[keys]]` table for a key, ready to be appended to a configuration file.

    `site` belongs to `site_access`, `team` to `full_access`; `created` is a day such as 2026-11-27.
    What is empty is left out.
    """
    members = {
        "name": name,
        "sha256": digest(key_text),
        "team": team,
        "site": site,
        "scope": scope,
        "tier": tier,
        "created": created,
    }
    lines = [f"{member} = {quoted(value)}\n" for member, value in members.items() if value]
    return "[[keys]]\n" + "".join(lines)


def admin_toml_line(token: str) -> str:
    """The setting that lets whoever shows `token` see the admin pages, with its section."""
    return f"[server]\nadmin_token_sha256 = {quoted(digest(token))}\n"


def quoted(text: str) -> str:
    """`text` as a TOML basic string: as in JSON, except that DEL is escaped too."""
    storable = text.encode("utf-8", "replace")
    return _encoder.encode(storable.decode()).decode().replace("\x7f", "\\u007f")
