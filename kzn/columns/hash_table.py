"""A hash table from int64 keys to row numbers that is asked for thousands of keys at once.

Open addressing with linear probing in one numpy array; a look-up of n keys is a handful of
numpy calls, however many series there are. Keys are never negative. Nothing is deleted: whoever
drops rows builds a new table of what is left.
"""

import numpy as np

from kzn.columns.arrays import I64

_EMPTY = -1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing
_MIN_BITS = 10
_SLOTS_A_KEY = 3  # at least: beyond a third full, second and third probes cost more than memory


class KeyTable:
    """Distinct keys in the order of their insertion: the n-th has row n."""

    __slots__ = ("_bits", "_slots", "size")

    def __init__(self, keys: I64 | None = None) -> None:
        self.size = 0
        self._allot(_MIN_BITS)
        if keys is not None:
            self.insert(keys)

    def find(self, keys: I64) -> I64:
        """The row of each key, -1 where it is not in the table; shape (n,)."""
        at = self._home(keys)
        there = self._slots.take(at, axis=0)
        found, rows = there[:, 0], there[:, 1].copy()
        missed = np.flatnonzero(found != keys)
        if not missed.size:
            return rows
        rows[missed] = _EMPTY
        probing = missed[found.take(missed) != _EMPTY]
        mask = len(self._slots) - 1
        while probing.size:
            at[probing] = (at[probing] + 1) & mask
            there = self._slots.take(at[probing], axis=0)
            found = there[:, 0]
            hit = found == keys[probing]
            rows[probing[hit]] = there[hit, 1]
            probing = probing[~hit & (found != _EMPTY)]
        return rows

    def insert(self, keys: I64) -> None:
        """Add keys, distinct and none of them in the table, as the next rows."""
        if _SLOTS_A_KEY * (self.size + len(keys)) > len(self._slots):
            self._grow(self.size + len(keys))
        self._place(keys, np.arange(self.size, self.size + len(keys), dtype=np.int64))
        self.size += len(keys)

    def _place(self, keys: I64, rows: I64) -> None:
        at = self._home(keys)
        taken = self._slots[:, 0]
        mask = len(taken) - 1
        pending = np.arange(len(keys))
        while pending.size:
            free = pending[taken[at[pending]] == _EMPTY]
            # Several keys may want one slot: numpy lets the last one win, the rest move on.
            taken[at[free]] = keys[free]
            won = free[taken[at[free]] == keys[free]]
            self._slots[at[won], 1] = rows[won]
            pending = pending[taken[at[pending]] != keys[pending]]
            at[pending] = (at[pending] + 1) & mask

    def _grow(self, keys: int) -> None:
        used = self._slots[self._slots[:, 0] != _EMPTY]
        self._allot(max(self._bits, (2 * _SLOTS_A_KEY * keys - 1).bit_length()))
        self._place(*used.T)

    def _allot(self, bits: int) -> None:
        self._bits = bits
        # Key and row side by side: one line of the processor's cache for each look-up.
        self._slots = np.full((1 << bits, 2), _EMPTY, np.int64)

    def _home(self, keys: I64) -> I64:
        mixed = keys.view(np.uint64) * _GOLDEN
        return (mixed >> np.uint64(64 - self._bits)).view(np.int64)
