"""Sums of counts by bin, exact to the byte and as fast as numpy has them."""

import numpy as np

from kzn.model.flows import U64
from kzn.server.keytable import I64

_EXACT = float(1 << 52)
"""Floats hold every whole number up to twice this, so below it their sums are exact."""


def sums(bins: I64, amounts: U64, size: int) -> U64:
    """The sum of ``amounts`` (n,) in each of ``size`` bins; ``bins`` (n,) says in which."""
    rounded = np.bincount(bins, amounts, size)
    if rounded.sum() < _EXACT:
        return rounded.astype(np.uint64)
    found = np.zeros(size, np.uint64)
    np.add.at(found, bins, amounts)
    return found
