"""Hash tables in numpy arrays: thousands of keys are looked up or inserted in a handful of calls.

`HashTable` probes for keys of one or more int64 words; `KeyTable` numbers int64 keys by row. Open
addressing, linear probing. A table grows in steps: while its slots move to larger ones, some with
each call, keys are looked up in both. So no call takes longer than for its own keys: to move
700,000 addresses at once takes 0.6 s.
"""

import mmap
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from kzn.columns.arrays import BOOL, I64, U64

EMPTY = -(1 << 63)
"""The value of a key that was never inserted. In a slot all values are stored as their exclusive or
with it: so an empty slot is 0, and the kernel gives out a new table's pages as they are used."""
REMOVED = EMPTY + 1
"""The value of a key that was removed: its slot stays taken until the table grows."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing
_MIN_BITS = 10
_SLOTS_A_KEY = 3  # at least: a probe more costs more than memory
_ROOM = 1.25  # for how many times the keys there is room after growing, at least
_AT_ONCE = 1 << 12
"""Slots that are moved by a call, hence in a millisecond or two."""
_MOVED_A_KEY = 8 * _SLOTS_A_KEY
"""Slots that are moved for each key inserted: all are before the new table is full."""
_MAPPED_BYTES = 1 << 20


class HashTable:
    """Keys of ``words`` int64 each to int64 values above REMOVED.

    ``mix`` hashes keys (n, words) to (n,); the high bits choose the slot. A slot has ``width``
    int64: the words, the value, and what is needed to fill a line of the processor's cache evenly.
    """

    __slots__ = ("_live", "_mix", "_moved", "_old", "_slots", "_used", "_words")

    def __init__(self, words: int, width: int, mix: Callable[[I64], U64]) -> None:
        self._words = words
        self._mix = mix
        self._slots = _empty_slots(_MIN_BITS, width)
        self._used = 0  # slots that are not empty
        self._live = 0  # keys with a value above REMOVED, in both tables
        self._old: I64 | None = None  # the smaller table, while its slots are being moved
        self._moved = 0

    @property
    def slots(self) -> int:
        """Number of slots, used and free."""
        return len(self._slots)

    @property
    def is_moving(self) -> bool:
        """Whether keys are still in the slots from before the table grew."""
        return self._old is not None

    def find(self, keys: I64) -> tuple[I64, I64]:
        """The slot and the value of each of ``keys`` (n, words)."""
        if self._old is not None:
            self._move(_AT_ONCE)
        at, values = self._probe(self._slots, keys)
        if self._old is None:
            return at, values
        missing = np.flatnonzero(values == EMPTY)
        if missing.size:
            old_at, old_values = self._probe(self._old, keys.take(missing, axis=0))
            # What was removed there is inserted anew: its slot may have been passed already.
            there = old_values > REMOVED
            at[missing[there]] = len(self._slots) + old_at[there]
            values[missing[there]] = old_values[there]
        return at, values

    def replace(self, at: I64, values: I64) -> None:
        """Change the values in slots ``at``, which `find` just returned; REMOVED removes."""
        if self._old is not None:
            is_old = at >= len(self._slots)
            self._set(self._old, at[is_old] - len(self._slots), values[is_old])
            at, values = at[~is_old], values[~is_old]
        self._set(self._slots, at, values)

    def insert(self, keys: I64, values: I64) -> None:
        """Add keys (n, words), distinct and all EMPTY to `find`."""
        if self._old is not None:
            self._move(_AT_ONCE + _MOVED_A_KEY * len(keys))
        if _SLOTS_A_KEY * (self._used + len(keys)) > len(self._slots):
            self._grow(len(keys))
        self._live += int(np.count_nonzero(values > REMOVED))
        self._place(keys, values)

    def _grow(self, more: int) -> None:
        """Begin to move to a table for ``more`` keys; a small one is moved at once."""
        if self._old is not None:
            self._move(len(self._old))
        bits = int(_ROOM * _SLOTS_A_KEY * (self._live + more)).bit_length()
        self._old, self._moved, self._used = self._slots, 0, 0
        self._slots = _empty_slots(max(bits, _MIN_BITS), self._old.shape[1])
        self._move(_AT_ONCE)

    def _move(self, number: int) -> None:
        """Move the keys of the next ``number`` old slots."""
        assert self._old is not None  # noqa: S101 - for the type checker
        part = self._old[self._moved : self._moved + number]
        self._moved += number
        values = part[:, self._words] ^ EMPTY
        live = np.flatnonzero(values > REMOVED)
        part = part.take(live, axis=0)
        self._place(part[:, : self._words], values.take(live))
        if self._moved >= len(self._old):
            self._old = None

    def _set(self, slots: I64, at: I64, values: I64) -> None:
        before = slots[at, self._words] ^ EMPTY
        self._live += int(np.count_nonzero(values > REMOVED))
        self._live -= int(np.count_nonzero(before > REMOVED))
        slots[at, self._words] = values ^ EMPTY

    def _probe(self, table: I64, keys: I64) -> tuple[I64, I64]:
        at = self._home(table, keys)
        slots = table.take(at, axis=0)
        values = slots[:, self._words] ^ EMPTY
        probing = np.flatnonzero(self._differ(slots, keys))
        probing = probing[values.take(probing) != EMPTY]
        mask = len(table) - 1
        while probing.size:
            following = (at[probing] + 1) & mask
            slots = table.take(following, axis=0)
            found = slots[:, self._words] ^ EMPTY
            at[probing], values[probing] = following, found
            probing = probing[self._differ(slots, keys[probing]) & (found != EMPTY)]
        return at, values

    def _place(self, keys: I64, values: I64) -> None:
        self._used += len(keys)
        at = self._home(self._slots, keys)
        mask = len(self._slots) - 1
        while len(keys):
            free = self._slots[at, self._words] == 0
            # Several keys may want one slot: numpy lets the last one win, the rest move on. A slot
            # that was taken in this turn is told by its words alone.
            self._slots[at[free], : self._words] = keys[free]
            lost = ~free | self._differ(self._slots.take(at, axis=0), keys)
            self._slots[at[~lost], self._words] = values[~lost] ^ EMPTY
            keys, values, at = keys[lost], values[lost], (at[lost] + 1) & mask

    def _differ(self, slots: I64, keys: I64) -> BOOL:
        other: BOOL = slots[:, 0] != keys[:, 0]
        for word in range(1, self._words):
            other |= slots[:, word] != keys[:, word]
        return other

    def _home(self, table: I64, keys: I64) -> I64:
        bits = len(table).bit_length() - 1
        return (self._mix(keys) >> np.uint64(64 - bits)).view(np.int64)


class KeyTable:
    """Distinct int64 keys, each with a row from 0 to ``size`` - 1: first that of its insertion."""

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
        at, found = self._table.find(keys[:, np.newaxis])
        new = found == EMPTY
        if not new.all():  # removed before
            self._table.replace(at[~new], rows[~new])
            keys, rows = keys[new], rows[new]
        self._table.insert(keys[:, np.newaxis], rows)
        self.size += len(at)

    def drop(self, keys: I64, moved: I64, rows: I64) -> None:
        """Remove ``keys``; the keys ``moved``, so far in the last rows, fill ``rows``."""
        at, _ = self._table.find(keys[:, np.newaxis])
        self._table.replace(at, np.full(len(keys), REMOVED))
        at, _ = self._table.find(moved[:, np.newaxis])
        self._table.replace(at, rows)
        self.size -= len(keys)


def _empty_slots(bits: int, width: int) -> I64:
    """2 ** ``bits`` slots whose pages the kernel gives out one by one, as they are used.

    numpy asks for huge pages, which are cleared whole: the first thousand keys of a table of 256 MB
    would clear all of it, in 0.3 s.
    """
    size = 8 * width << bits
    if size < _MAPPED_BYTES:
        return np.zeros((1 << bits, width), np.int64)
    pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without huge pages
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, np.int64).reshape(-1, width)


def fibonacci(keys: I64) -> U64:
    """A hash of each of ``keys`` (n,), of which the high bits are the best."""
    mixed: U64 = keys.view(np.uint64) * _GOLDEN
    return mixed


def _of_rows(keys: I64) -> U64:
    return fibonacci(keys[:, 0])
