"""Distinct rows of 64-bit words, by sorting a hash of each: several times faster than the rows."""

import numpy as np

from kzn.columns.arrays import BOOL, I64, U64
from kzn.columns.sort_order import number_bits, numbers_of, sort_order, sort_with_numbers

_WORD = 64
_MIX = np.uint64(0x9E3779B97F4A7C15)


def distinct_rows(words: U64) -> tuple[I64, I64]:
    """For (n, words): the number of one row of each kind, and for each row the number of its kind.

    The kinds are in the order of `group_rows`.
    """
    order, starts = group_rows(words)
    is_first = np.zeros(len(order), np.int64)
    is_first[starts] = 1
    index = np.empty(len(order), np.int64)
    index[order] = np.cumsum(is_first) - 1
    return order.take(starts), index


def group_rows(words: U64) -> tuple[I64, I64]:
    """For (n, words): an order (n,) of the rows, and where in it each kind begins.

    Equal rows are neighbours in it. Rows that differ in few bits (IPv4 addresses) are sorted by
    these, others by a hash; after a collision of hashes they are sorted themselves.
    """
    if not len(words):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    bits = np.uint64(number_bits(len(words)))
    short = _different_bits(words, _WORD - int(bits))
    values = sort_with_numbers(_hashes(words) >> bits if short is None else short)
    order = numbers_of(values, len(words))
    values >>= bits
    starts = _starts(values[1:] != values[:-1])
    if short is not None or len(starts) == len(words):
        return order, starts
    is_start = np.zeros(len(words), np.bool_)
    is_start[starts] = True
    repeated = np.flatnonzero(~is_start)
    before = words.take(order.take(repeated - 1), axis=0)
    if not np.array_equal(before, words.take(order.take(repeated), axis=0)):
        order = sort_order(list(words.T))
        ordered = words.take(order, axis=0)
        starts = _starts((ordered[1:] != ordered[:-1]).any(axis=1))
    return order, starts


def _different_bits(words: U64, room: int) -> U64 | None:
    """The bits in which rows differ, as one word for each row; None if they exceed ``room``."""
    found, used = np.zeros(len(words), np.uint64), 0
    for column in words.T:
        differ = int(np.bitwise_or.reduce(column ^ column[0]))
        lowest = (differ & -differ).bit_length() - 1
        taken = differ.bit_length() - lowest if differ else 0
        if used + taken > room:
            return None
        if taken:
            mask = np.uint64((1 << taken) - 1)
            found |= ((column >> np.uint64(lowest)) & mask) << np.uint64(used)
            used += taken
    return found


def _hashes(words: U64) -> U64:
    hashes = np.zeros(len(words), np.uint64)
    for column in words.T:
        hashes ^= column
        hashes *= _MIX
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _starts(differs: BOOL) -> I64:
    """Where groups begin, from whether each row but the first differs from the one before."""
    return np.flatnonzero(np.append(True, differs))
