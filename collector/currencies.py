"""The currency codes that ISO 4217 lists, from a maintained list (pycountry)."""

from typing import Final

import pycountry

CURRENCIES: Final[frozenset[str]] = frozenset(c.alpha_3 for c in pycountry.currencies)
