"""Sums of counts by bin, exact to the byte: integers, never floating point."""

import numpy as np

from kzn.columns.arrays import I64, U64

_BINS_A_NUMBER = 8
_FEW = 1 << 14
"""Up to this many bins, counting into all of them is faster than sorting."""


def sums(bins: I64, amounts: U64, size: int) -> U64:
    """The sum of ``amounts`` (n,) in each of ``size`` bins; ``bins`` (n,) are bin numbers."""
    found = np.zeros(size, np.uint64)
    np.add.at(found, bins, amounts)
    return found


def quotients(numbers: I64, divisor: int) -> tuple[I64, I64]:
    """Quotient and remainder of each of ``numbers``, in a third of the time of numpy.divmod."""
    found = numbers // divisor
    return found, numbers - found * divisor


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


def group_sums_and_parts(
    bins: I64, amounts: U64, part_bins: I64, parts: U64, size: int
) -> tuple[I64, U64, U64]:
    """`group_sums`, and the sums of ``parts`` (m,) in the same bins.

    Each part is, in its bin of ``part_bins`` (m,), some of an amount, and none is there twice.
    """
    if is_worth_grouping(len(bins), size):
        found = sums(bins, amounts, size)
        filled = np.flatnonzero(found > 0)
        return filled, found.take(filled), sums(part_bins, parts, size).take(filled)
    if not len(bins):
        return bins, amounts, parts
    order, first, ordered = _sorted(bins)
    of_parts = np.zeros(len(ordered), np.uint64)
    np.add.at(of_parts, np.searchsorted(ordered, part_bins), parts)
    return ordered, np.add.reduceat(amounts.take(order), first), of_parts


def _sorted(bins: I64) -> tuple[I64, I64, I64]:
    """The order of ``bins``, the first of each distinct one in it, and the distinct ones."""
    order = np.argsort(bins)
    ordered = bins.take(order)
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return order, first, ordered.take(first)
