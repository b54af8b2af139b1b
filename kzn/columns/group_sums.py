"""Sums of counts by bin, exact to the byte and as fast as numpy has them."""

import numpy as np

from kzn.columns.arrays import I64, U64

_EXACT = float(1 << 52)
"""Floats hold every whole number up to twice this, so below it their sums are exact."""
_BINS_A_NUMBER = 8
_FEW = 1 << 14
"""Up to here counting into all bins is faster than sorting."""


def sums(bins: I64, amounts: U64, size: int) -> U64:
    """The sum of ``amounts`` (n,) in each of ``size`` bins; ``bins`` (n,) says in which."""
    rounded = np.bincount(bins, amounts, size)
    if rounded.sum() < _EXACT:
        return rounded.astype(np.uint64)
    found = np.zeros(size, np.uint64)
    np.add.at(found, bins, amounts)
    return found


def group_sums(bins: I64, amounts: U64, size: int) -> tuple[I64, U64]:
    """The same of the bins that have any, in their order: their numbers, and their sums.

    However many bins there may be, it costs no more than sorting.
    """
    if size <= _FEW + _BINS_A_NUMBER * len(bins):
        found = sums(bins, amounts, size)
        filled = np.flatnonzero(found > 0)
        return filled, found.take(filled)
    if not len(bins):
        return bins, amounts
    order = np.argsort(bins)
    ordered = bins.take(order)
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return ordered.take(first), np.add.reduceat(amounts.take(order), first)
