"""Addresses to numbers: changed one at a time, looked up thousands at once without a loop.

In: numbers of addresses as they change. Out: the numbers of n addresses, (n,). Never: a look-up
that costs a Python object for each address.

The dict is the truth. What changed in it is copied to a `HashTable` before the next look-up, or
once it is much: a first list of 300,000 addresses takes 0.1 s.
"""

from collections.abc import Iterable

import numpy as np

from kzn.columns.arrays import I32, I64, U8, U64
from kzn.columns.hash_table import EMPTY, REMOVED, HashTable

_CHANGES = 4096
"""Changes that are copied together, in a few milliseconds."""
UNOWNED = -5
"""The number of an address that is not in the table."""

_SEED = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)


class AddressTable:
    """Addresses of 16 bytes to int32 numbers."""

    __slots__ = ("_changed", "_number_of", "_table")

    def __init__(self) -> None:
        self._number_of: dict[bytes, int] = {}
        self._changed: set[bytes] = set()
        self._table = HashTable(2, 4, _mix)

    def __len__(self) -> int:
        return len(self._number_of)

    def __contains__(self, address: bytes) -> bool:
        return address in self._number_of

    @property
    def slots(self) -> int:
        """The size of the hash table, taken or not."""
        return self._table.slots

    def get(self, address: bytes) -> int:
        """The number of one address, UNOWNED when it has none."""
        return self._number_of.get(address, UNOWNED)

    def put(self, address: bytes, number: int) -> None:
        """Set the number of ``address``."""
        self._number_of[address] = number
        self._note(address)

    def remove(self, address: bytes) -> None:
        """Remove ``address``, which must be in the table."""
        del self._number_of[address]
        self._note(address)

    def find(self, rows: U8) -> I32:
        """The numbers of ``rows`` (n, 16), UNOWNED where there is none; shape (n,)."""
        if self._changed:
            self._catch_up()
        if not self._number_of:
            return np.full(len(rows), UNOWNED, np.int32)
        _, found = self._table.find(np.ascontiguousarray(rows).view(np.int64).reshape(-1, 2))
        found[found <= REMOVED] = UNOWNED
        return found.astype(np.int32)

    def _note(self, address: bytes) -> None:
        self._changed.add(address)
        if len(self._changed) >= _CHANGES:
            self._catch_up()

    def _catch_up(self) -> None:
        keys = _keys(self._changed)
        numbers = _numbers(self._number_of.get(address, REMOVED) for address in self._changed)
        at, found = self._table.find(keys)
        new = found == EMPTY
        self._table.replace(at[~new], numbers[~new])
        self._table.insert(keys[new], numbers[new])
        self._changed = set()


def _mix(keys: I64) -> U64:
    words = keys.view(np.uint64)
    mixed: U64 = words[:, 0] * _SEED ^ words[:, 1]
    # Two rounds (MurmurHash3's finaliser): after one, addresses with steps between them, as
    # subnets of nodes have, crowd in places.
    for multiplier in _MULTIPLIERS:
        mixed = (mixed ^ (mixed >> _SHIFT)) * multiplier
    return mixed


def _keys(addresses: Iterable[bytes]) -> I64:
    return np.frombuffer(b"".join(addresses), np.int64).reshape(-1, 2)


def _numbers(numbers: Iterable[int]) -> I64:
    return np.fromiter(numbers, np.int64)
