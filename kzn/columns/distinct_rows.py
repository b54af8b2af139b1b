"""Distinct rows of 64-bit words, by sorting a hash of each: several times faster than the rows."""

import numpy as np

from kzn.columns.arrays import I64, U64

_MIX = np.uint64(0x9E3779B97F4A7C15)


def distinct_rows(words: U64) -> tuple[I64, I64]:
    """For (n, words): the number of one row of each kind, and for each row the number of its kind.

    The rows are compared afterwards; after a collision of hashes the rows themselves are sorted.
    """
    hashes = np.zeros(len(words), np.uint64)
    for column in words.T:
        hashes = (hashes ^ column) * _MIX
        hashes ^= hashes >> np.uint64(29)
    _, first, index = np.unique(hashes, return_index=True, return_inverse=True)
    if not np.array_equal(words[first][index], words):
        _, first, index = np.unique(words, axis=0, return_index=True, return_inverse=True)
    return first.astype(np.int64), index.reshape(-1).astype(np.int64)
