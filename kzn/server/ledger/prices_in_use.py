"""The prices of zone pairs as a snapshot has them: values alone."""

from dataclasses import dataclass
from datetime import date

import numpy as np

from kzn.columns.arrays import F64, I64, U8


@dataclass(frozen=True, slots=True)
class PriceListInUse:
    """A list that priced a route, and the dates of its prices."""

    name: str
    provider: str
    currency: str
    valid_from: date
    date: date


@dataclass(frozen=True, slots=True, eq=False)
class PricesInUse:
    """The prices of the series of zones, each column (n,), and the lists that they come from.

    ``sender`` and ``receiver`` are money per byte.
    """

    keys: I64
    """Keys of the family `ZONE`."""
    sender: F64
    receiver: F64
    currency: U8
    """Codes of currencies."""
    lists: tuple[PriceListInUse, ...]


NO_PRICES = PricesInUse(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, np.uint8), ())
"""Those of a server without prices."""
