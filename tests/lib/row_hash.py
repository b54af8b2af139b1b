"""The hash of rows in numpy (bpf/src/rows.bpf.h), and which flows find one of their places.

In: rows as their words are (flow.h: struct flow_row), without counts. Out: 64-bit hashes, shares.
"""

from collections.abc import Sequence

import numpy as np

from kzn.columns.arrays import U64

PLACES = 4
"""KZN_PLACES."""
IDENTITY = 6
"""Words of a row before its counts."""

_TAG = np.uint64(2)
_HALF = np.uint64(32)


def row_hash(identity: U64, factors: Sequence[int]) -> U64:
    """Hashes of (n, `IDENTITY`) words, of which the low half of the first is not used."""
    factor = np.array(factors, np.uint64)
    tail = identity[:, 0] >> _HALF | identity[:, 1] >> _HALF << _HALF
    cpu_and_family = identity[:, 1] & np.uint64(0xFFFFFFFF)
    addresses = identity[:, 2:].byteswap() * factor[:4]  # IPv4 has zeroes but in the first
    mixed = addresses.sum(axis=1) + tail * factor[4] + cpu_and_family * factor[5]
    hashed: U64 = (mixed ^ mixed >> _HALF) * factor[5]
    return hashed


def low_half(hashes: U64) -> U64:
    """What the first word of a finished row has of its hash."""
    return hashes >> _HALF | _TAG


def share_without_row(hashes: U64, bits: int) -> float:
    """The share of flows, one after the other, all of whose places in 2 ** ``bits`` are taken."""
    place = (hashes >> np.uint64(64 - bits)).astype(np.int64)
    owner = np.full(1 << bits, -1)
    left = np.arange(len(hashes))
    for step in range(PLACES):
        at = (place[left] + step) % len(owner)
        is_free = owner[at] < 0
        owner[at[is_free]] = left[is_free]
        left = left[owner[at] != left]
    return len(left) / len(hashes)
