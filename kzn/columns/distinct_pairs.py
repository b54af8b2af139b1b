"""Distinct keys of two 64-bit words, by a hash table of one use: in half the time of a sort.

In: keys as two columns. Out: a row of each distinct key, and the number of each row's key. Pure.
"""

import numpy as np

from kzn.columns.arrays import BOOL, I64, U64
from kzn.columns.sort_order import sort_order

_WORD = 64
_SEEDS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_NEXT = np.uint64(0xFF51AFD7ED558CCD)
_TURNS = 4
"""Of which each leaves an eighth of its keys or less; what is left then is sorted."""


def distinct_pairs(first: U64, second: U64) -> tuple[I64, I64]:
    """For keys ``first``, ``second`` (n,): the row of one of each kind, and each row's kind (n,).

    Kinds are numbered in the order of the rows that are returned, which is arbitrary.
    """
    kinds = np.empty(len(first), np.int64)
    found: list[I64] = []
    number = 0
    left: I64 | None = None
    hashes = first * _SEEDS[0] ^ (second + np.uint64(1)) * _SEEDS[1]
    for _ in range(_TURNS):
        if not len(first):
            break
        holders, is_same = _held(hashes, first, second)
        rows = np.flatnonzero(holders == np.arange(len(holders)))
        numbers = np.empty(len(holders), np.int64)
        numbers[rows] = np.arange(number, number + len(rows))
        number += len(rows)
        found.append(rows if left is None else left.take(rows))
        if is_same.all():
            kinds[slice(None) if left is None else left] = numbers.take(holders)
            return np.concatenate(found), kinds
        done, others = np.flatnonzero(is_same), np.flatnonzero(~is_same)
        kinds[done if left is None else left.take(done)] = numbers.take(holders.take(done))
        left = others if left is None else left.take(others)
        first, second = first.take(others), second.take(others)
        hashes = hashes.take(others) * _NEXT
    if not len(first):
        return np.concatenate([kinds[:0], *found]), kinds
    left = np.arange(len(first)) if left is None else left
    order = sort_order([second, first])
    ordered = first.take(order), second.take(order)
    differs = np.append(True, np.logical_or(*(one[1:] != one[:-1] for one in ordered)))
    kinds[left.take(order)] = number - 1 + np.cumsum(differs)
    found.append(left.take(order.compress(differs)))
    return np.concatenate(found), kinds


def _held(hashes: U64, first: U64, second: U64) -> tuple[I64, BOOL]:
    """The row in the slot of each row, which is one of those that want it; whether keys agree."""
    bits = (2 * len(hashes)).bit_length()
    slots = (hashes >> np.uint64(_WORD - bits)).view(np.int64)
    table = np.empty(1 << bits, np.int32)
    table[slots] = np.arange(len(hashes), dtype=np.int32)
    holders = table.take(slots).astype(np.int64)
    is_same: BOOL = first.take(holders) == first
    is_same &= second.take(holders) == second
    return holders, is_same
