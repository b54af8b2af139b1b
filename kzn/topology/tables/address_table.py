"""Addresses to numbers, one by one as a dict, and thousands at once without a loop.

In: numbers of addresses as they change, one at a time. Out: the numbers of n addresses, (n,).
Never: a look-up that costs a Python object for each address.

The dict is the truth. Beside it the same is kept in a numpy array, an open-addressing hash table
with linear probing; what changed in the dict goes there when it is next asked.
"""

from collections.abc import Iterable

import numpy as np

from kzn.columns.arrays import BOOL, I32, I64, U8

NOBODY = -5
"""The number of an address that is not here."""

_EMPTY = -(1 << 31)
_MIN_BITS = 10
_SLOTS_A_KEY = 3  # at least; twice that after growing: a probe more costs more than memory
_SEED = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)
_NUMBER = 2
_COLUMNS = 4  # an address, its number, and one more: two slots fill a line of the cache


class AddressTable:
    """Addresses of 16 bytes to int32 numbers above the most negative one."""

    __slots__ = ("_bits", "_changed", "_of", "_slots", "_used")

    def __init__(self) -> None:
        self._of: dict[bytes, int] = {}
        self._changed: set[bytes] = set()
        self._allot(_MIN_BITS)

    def __len__(self) -> int:
        return len(self._of)

    def __contains__(self, address: bytes) -> bool:
        return address in self._of

    @property
    def slots(self) -> int:
        """The size of the table, in use or not."""
        return len(self._slots)

    def get(self, address: bytes) -> int:
        """The number of one address, NOBODY when it has none."""
        return self._of.get(address, NOBODY)

    def put(self, address: bytes, number: int) -> None:
        """``address`` has this number from now on."""
        self._of[address] = number
        self._changed.add(address)

    def remove(self, address: bytes) -> None:
        """``address`` has no number any more."""
        del self._of[address]
        self._changed.add(address)

    def find(self, rows: U8) -> I32:
        """The numbers of ``rows`` (n, 16), NOBODY where there is none; shape (n,)."""
        if self._changed:
            self._catch_up()
        if not self._of:
            return np.full(len(rows), NOBODY, np.int32)
        _, found = self._probe(_keys(rows))
        found[found == _EMPTY] = NOBODY
        return found.astype(np.int32)

    def _catch_up(self) -> None:
        if len(self._changed) > len(self._of) // 4:
            self._rebuild()
            return
        keys = _keys_of(self._changed)
        numbers = _numbers([self._of.get(address, NOBODY) for address in self._changed])
        at, found = self._probe(keys)
        new = found == _EMPTY
        if _SLOTS_A_KEY * (self._used + int(new.sum())) > len(self._slots):
            self._rebuild()  # which also forgets the addresses that were removed
            return
        self._slots[at[~new], _NUMBER] = numbers[~new]
        self._place(keys[new], numbers[new])
        self._changed = set()

    def _rebuild(self) -> None:
        self._allot(max(_MIN_BITS, (2 * _SLOTS_A_KEY * len(self._of)).bit_length()))
        self._place(_keys_of(self._of), _numbers(self._of.values()))
        self._changed = set()

    def _probe(self, keys: I64) -> tuple[I64, I64]:
        """Where each key is and its number, or the free slot where it would go and _EMPTY."""
        at = self._home(keys)
        there = self._slots.take(at, axis=0)
        found = there[:, _NUMBER].copy()
        probing = np.flatnonzero(_are_taken(there, keys))
        mask = len(self._slots) - 1
        while probing.size:
            at[probing] = (at[probing] + 1) & mask
            there = self._slots.take(at[probing], axis=0)
            found[probing] = there[:, _NUMBER]
            probing = probing[_are_taken(there, keys[probing])]
        return at, found

    def _place(self, keys: I64, numbers: I64) -> None:
        """Add distinct keys, none of which is here."""
        at = self._home(keys)
        there, held = self._slots[:, :_NUMBER], self._slots[:, _NUMBER]
        mask = len(self._slots) - 1
        pending = np.arange(len(keys))
        while pending.size:
            free = pending[held[at[pending]] == _EMPTY]
            # Several keys may want one slot: numpy lets the last one win, the rest move on.
            there[at[free]] = keys[free]
            won = free[(there[at[free]] == keys[free]).all(axis=1)]
            held[at[won]] = numbers[won]
            pending = pending[(there[at[pending]] != keys[pending]).any(axis=1)]
            at[pending] = (at[pending] + 1) & mask
        self._used += len(keys)

    def _home(self, keys: I64) -> I64:
        words = keys.view(np.uint64)
        mixed = words[:, 0] * _SEED ^ words[:, 1]
        # Two rounds (MurmurHash3's finaliser): after one, addresses with steps between them, as
        # subnets of nodes have, crowd in places.
        for multiplier in _MULTIPLIERS:
            mixed = (mixed ^ (mixed >> _SHIFT)) * multiplier
        return (mixed >> np.uint64(64 - self._bits)).view(np.int64)

    def _allot(self, bits: int) -> None:
        self._bits = bits
        self._used = 0
        self._slots = np.full((1 << bits, _COLUMNS), _EMPTY, np.int64)


def _are_taken(slots: I64, keys: I64) -> BOOL:
    """Whether ``slots`` (n, columns) are in use by others than ``keys`` (n, 2)."""
    other = (slots[:, 0] != keys[:, 0]) | (slots[:, 1] != keys[:, 1])
    taken: BOOL = other & (slots[:, _NUMBER] != _EMPTY)
    return taken


def _keys(rows: U8) -> I64:
    return np.ascontiguousarray(rows).view(np.int64).reshape(-1, 2)


def _keys_of(addresses: Iterable[bytes]) -> I64:
    return np.frombuffer(b"".join(addresses), np.int64).reshape(-1, 2)


def _numbers(numbers: Iterable[int]) -> I64:
    return np.fromiter(numbers, np.int64)
