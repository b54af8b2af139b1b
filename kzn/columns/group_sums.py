"""Sums of counts by bin, exact to the byte at the speed of numpy.bincount."""

import numpy as np

from kzn.columns.arrays import I64, U64

_EXACT = float(1 << 52)
"""Half of 2^53, up to which float64 represents every integer; sums below are exact."""
_BINS_A_NUMBER = 8
_FEW = 1 << 14
"""Up to this many bins, counting into all of them is faster than sorting."""


def sums(bins: I64, amounts: U64, size: int) -> U64:
    """The sum of ``amounts`` (n,) in each of ``size`` bins; ``bins`` (n,) are bin numbers."""
    rounded = np.bincount(bins, amounts, size)
    if rounded.sum() < _EXACT:
        return rounded.astype(np.uint64)
    found = np.zeros(size, np.uint64)
    np.add.at(found, bins, amounts)
    return found


def is_worth_grouping(numbers: int, size: int) -> bool:
    """Whether `group_sums` counts into all bins; else it sorts, and few bins may repeat."""
    return size <= _FEW + _BINS_A_NUMBER * numbers


def group_sums(bins: I64, amounts: U64, size: int) -> tuple[I64, U64]:
    """The bins with a sum above 0 (some of sum 0 may be among them), ascending, and their sums.

    Costs at most a sort of ``bins``, for any ``size``.
    """
    if is_worth_grouping(len(bins), size):
        found = sums(bins, amounts, size)
        filled = np.flatnonzero(found > 0)
        return filled, found.take(filled)
    if not len(bins):
        return bins, amounts
    order = np.argsort(bins)
    ordered = bins.take(order)
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return ordered.take(first), np.add.reduceat(amounts.take(order), first)
