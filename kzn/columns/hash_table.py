"""Hash tables in numpy arrays: thousands of keys are looked up or inserted in a handful of calls.

`HashTable` probes for keys of one or more int64 words; `KeyTable` numbers int64 keys in the order
of their insertion. Open addressing, linear probing.
"""

from collections.abc import Callable

import numpy as np

from kzn.columns.arrays import BOOL, I64, U64

EMPTY = -(1 << 63)
"""The value of a key that was never inserted."""
REMOVED = EMPTY + 1
"""The value of a key that was removed: its slot stays taken until the table grows."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing
_MIN_BITS = 10
_SLOTS_A_KEY = 3  # at least; twice that after growing: a probe more costs more than memory


class HashTable:
    """Keys of ``words`` int64 each to int64 values above REMOVED.

    ``mix`` hashes keys (n, words) to (n,); the high bits choose the slot. A slot has ``width``
    int64: the words, the value, and what is needed to fill a line of the processor's cache evenly.
    """

    __slots__ = ("_bits", "_mix", "_slots", "_used", "_words")

    def __init__(self, words: int, width: int, mix: Callable[[I64], U64]) -> None:
        self._words = words
        self._mix = mix
        self._slots = np.zeros((0, width), np.int64)
        self._allot(_MIN_BITS)

    @property
    def slots(self) -> int:
        """Number of slots, used and free."""
        return len(self._slots)

    def find(self, keys: I64) -> tuple[I64, I64]:
        """The slot and the value of each of ``keys`` (n, words)."""
        at = self._home(keys)
        slots = self._slots.take(at, axis=0)
        values = slots[:, self._words].copy()
        probing = np.flatnonzero(self._differ(slots, keys))
        probing = probing[values.take(probing) != EMPTY]
        mask = len(self._slots) - 1
        while probing.size:
            following = (at[probing] + 1) & mask
            slots = self._slots.take(following, axis=0)
            found = slots[:, self._words]
            at[probing], values[probing] = following, found
            probing = probing[self._differ(slots, keys[probing]) & (found != EMPTY)]
        return at, values

    def replace(self, at: I64, values: I64) -> None:
        """Change the values in slots ``at``, which `find` just returned; REMOVED removes."""
        self._slots[at, self._words] = values

    def insert(self, keys: I64, values: I64) -> None:
        """Add keys (n, words), distinct and all EMPTY to `find`."""
        if _SLOTS_A_KEY * (self._used + len(keys)) > len(self._slots):
            old = self._slots[self._slots[:, self._words] > REMOVED]
            self._allot((2 * _SLOTS_A_KEY * (len(old) + len(keys)) - 1).bit_length())
            self._place(old[:, : self._words], old[:, self._words])
        self._place(keys, values)

    def _place(self, keys: I64, values: I64) -> None:
        self._used += len(keys)
        at = self._home(keys)
        mask = len(self._slots) - 1
        while len(keys):
            free = self._slots[at, self._words] == EMPTY
            # Several keys may want one slot: numpy lets the last one win, the rest move on.
            self._slots[at[free], : self._words] = keys[free]
            lost = self._differ(self._slots.take(at, axis=0), keys)
            self._slots[at[~lost], self._words] = values[~lost]
            keys, values, at = keys[lost], values[lost], (at[lost] + 1) & mask

    def _differ(self, slots: I64, keys: I64) -> BOOL:
        other: BOOL = slots[:, 0] != keys[:, 0]
        for word in range(1, self._words):
            other |= slots[:, word] != keys[:, word]
        return other

    def _home(self, keys: I64) -> I64:
        return (self._mix(keys) >> np.uint64(64 - self._bits)).view(np.int64)

    def _allot(self, bits: int) -> None:
        self._bits = max(bits, _MIN_BITS)
        self._used = 0
        self._slots = np.full((1 << self._bits, self._slots.shape[1]), EMPTY, np.int64)


class KeyTable:
    """Distinct int64 keys in the order of their insertion: the n-th has row n."""

    __slots__ = ("_table", "size")

    def __init__(self, keys: I64 | None = None) -> None:
        self.size = 0
        self._table = HashTable(1, 2, _of_rows)
        if keys is not None:
            self.insert(keys)

    def find(self, keys: I64) -> I64:
        """The row of each key, -1 where it is not in the table; shape (n,)."""
        _, rows = self._table.find(keys[:, np.newaxis])
        return np.maximum(rows, -1, out=rows)

    def insert(self, keys: I64) -> None:
        """Add keys, distinct and none of them in the table, as the next rows."""
        rows = np.arange(self.size, self.size + len(keys), dtype=np.int64)
        self._table.insert(keys[:, np.newaxis], rows)
        self.size += len(keys)


def fibonacci(keys: I64) -> U64:
    """A hash of each of ``keys`` (n,), of which the high bits are the best."""
    mixed: U64 = keys.view(np.uint64) * _GOLDEN
    return mixed


def _of_rows(keys: I64) -> U64:
    return fibonacci(keys[:, 0])
