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
    order, first, ordered = _sorted(bins)
    return ordered, np.add.reduceat(amounts.take(order), first)


def group_sums_and_parts(bins: I64, amounts: U64, parts: U64, size: int) -> tuple[I64, U64, U64]:
    """`group_sums`, and the sums of ``parts`` (n,), of which none is above its amount."""
    if size <= _FEW + _BINS_A_NUMBER * len(bins):
        found = sums(bins, amounts, size)
        filled = np.flatnonzero(found > 0)
        return filled, found.take(filled), sums(bins, parts, size).take(filled)
    if not len(bins):
        return bins, amounts, parts
    order, first, ordered = _sorted(bins)
    found, of_parts = (np.add.reduceat(one.take(order), first) for one in (amounts, parts))
    return ordered, found, of_parts


def _sorted(bins: I64) -> tuple[I64, I64, I64]:
    """The order of ``bins``, the first of each distinct one in it, and the distinct ones."""
    order = np.argsort(bins)
    ordered = bins.take(order)
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return order, first, ordered.take(first)
