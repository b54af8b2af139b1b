"""Addresses that only annotations of pods have: those of further interfaces (Multus).

In: pods with such addresses, as they change. Out: the owner of an address in an interval. Never: an
address that another object has (index.py asks here after those); a guess between two pods.
"""

from collections import deque
from dataclasses import dataclass
from math import inf

import numpy as np

from kzn.columns.arrays import F64, I32, I64, U8
from kzn.model.endpoint import AMBIGUOUS
from kzn.topology.ownership.intervals import Owner
from kzn.topology.tables.address_table import UNOWNED, AddressTable

CHANGE_MARGIN = 30.0
"""A pod may get a further address up to this many seconds before the server sees it."""


@dataclass(slots=True, eq=False)
class _Claim:
    owner: Owner
    begin: float
    end: float = inf


class NotedAddresses:
    """Claims of addresses (16 bytes) by pods; ended ones are kept for ``history`` seconds.

    Anyone who may change a pod may write what it has, and networks apart from each other may use
    the same addresses: one that two pods have at a time is ambiguous.
    """

    def __init__(self, history: float) -> None:
        self._history = history
        self._table = AddressTable()
        self._claims: list[list[_Claim]] = []
        self._free: list[int] = []
        self._of: dict[Owner, tuple[bytes, ...]] = {}
        self._ended: deque[tuple[float, bytes, _Claim]] = deque()

    def __len__(self) -> int:
        """How many addresses are claimed, or were within the history."""
        return len(self._table)

    @property
    def has_any(self) -> bool:
        """Whether `fill_in` can find anything."""
        return len(self._table) > 0

    def put(self, owner: Owner, addresses: tuple[bytes, ...], now: float) -> None:
        """``owner`` has these addresses and no others since ``now``; none at its end."""
        had = self._of.get(owner, ())
        if addresses == had:
            return
        begin = max(owner.valid_from, now - CHANGE_MARGIN) if had else owner.valid_from
        for address in had:
            if address not in addresses:
                self._end(owner, address, now)
        for address in addresses:
            if address not in had:
                self._claims_of(address).append(_Claim(owner, begin))
        if addresses:
            self._of[owner] = addresses
        else:
            del self._of[owner]

    def fill_in(
        self, ids: I32, left: I64, rows: U8, opened: float | F64, closed: float | F64
    ) -> None:
        """Enter the owners of the rows ``left`` in [opened, closed] into ``ids``.

        Times are of all of these rows, or of each of them.
        """
        found = self._table.find(rows.take(left, axis=0))
        owned = np.flatnonzero(found != UNOWNED).tolist()
        if not owned:
            return
        begins, ends = np.broadcast_to(opened, len(left)), np.broadcast_to(closed, len(left))
        for at in owned:
            claims = self._claims[int(found[at])]
            begin, end = begins[at], ends[at]
            owners = {one.owner.id for one in claims if one.begin <= end and one.end >= begin}
            if owners:
                ids[left[at]] = owners.pop() if len(owners) == 1 else AMBIGUOUS

    def expire(self, now: float) -> None:
        """Forget what ended more than ``history`` ago."""
        while self._ended and self._ended[0][0] < now - self._history:
            _, address, claim = self._ended.popleft()
            number = self._table.get(address)
            self._claims[number].remove(claim)
            if not self._claims[number]:
                self._table.remove(address)
                self._free.append(number)

    def _claims_of(self, address: bytes) -> list[_Claim]:
        number = self._table.get(address)
        if number == UNOWNED:
            if not self._free:
                self._free.append(len(self._claims))
                self._claims.append([])
            number = self._free.pop()
            self._table.put(address, number)
        return self._claims[number]

    def _end(self, owner: Owner, address: bytes, now: float) -> None:
        for claim in self._claims_of(address):
            if claim.owner is owner and claim.end == inf:
                claim.end = max(now, claim.begin)
                self._ended.append((claim.end, address, claim))
