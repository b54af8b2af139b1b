"""Ownership: who had an address when, as intervals on one monotonic clock.

In: claims and releases of addresses by owners. Out: for addresses and an interval of time, the id
of the one owner that can have had each. Never: a guess between two owners (AMBIGUOUS), nor a claim
that is undone by the late delete of an earlier owner.

An address that has had one owner as far back as history goes (nearly all) is one number in a
table; the others have a list of intervals, and a row that answers for the latest of them.
"""

from collections import deque
from dataclasses import dataclass
from math import inf, nextafter

import numpy as np

from kzn.columns.arrays import F64, I32, U8
from kzn.model.endpoint import AMBIGUOUS, UNSETTLED
from kzn.topology.ownership.current import CurrentOwners
from kzn.topology.tables.address_table import UNOWNED, AddressTable

_SEVERAL = -6
"""And below: an address with a list of intervals, by the number of its row."""


@dataclass(slots=True, eq=False)
class Owner:
    """One claimant of addresses: the id of its endpoint, and what decides between two claims.

    ``order`` is the version of the object that made its first claim (0: none). ``listing`` is the
    number of the list that it came in, 0 for a watch event. ``rank`` orders claims that came in
    one list, which has no order of its own: terminating pods first, then by start. From ``leaving``
    on it was known that the owner would end: its addresses may be another's since. Before ``clear``
    they may have been another's of whom nobody heard. ``seen`` is when its first claim was heard.
    """

    id: int
    began: float
    order: int = 0
    listing: int = 0
    rank: tuple[bool, float] = (True, 0.0)
    addresses: tuple[bytes, ...] = ()
    leaving: float = inf
    clear: float = -inf
    seen: float = inf

    def yields_to(self, other: "Owner") -> bool:
        """Whether ``other``, who claims an address of mine, has it now."""
        if other.listing and other.listing == self.listing:
            return self.rank <= other.rank
        if other.listing or not other.order:
            return True
        return self.order <= other.order


@dataclass(slots=True, eq=False)
class _Interval:
    owner: Owner
    begin: float
    seen: float
    end: float = inf


class Ownership:
    """Addresses (16 bytes) to owners; ended intervals are kept for ``history`` seconds.

    At most ``max_history`` ended intervals are kept: beyond that the oldest are forgotten early
    and counted in ``evicted``.
    """

    def __init__(self, history: float, max_history: int) -> None:
        self.history = history
        self._max_history = max_history
        self._sole = AddressTable()
        self._owners: dict[int, Owner] = {}
        self._several: dict[bytes, list[_Interval]] = {}
        self._latest = CurrentOwners()
        self._touched: set[bytes] = set()
        self._ended: deque[tuple[bytes, _Interval]] = deque()
        self._dark: deque[tuple[float, float]] = deque()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._sole)

    @property
    def ended(self) -> int:
        """How many ended intervals are kept."""
        return len(self._ended)

    def enter(self, owner: Owner) -> None:
        """``owner`` may claim addresses from now on."""
        self._owners[owner.id] = owner

    def leave(self, owner: Owner, end: float) -> None:
        """``owner`` ended: so do all its intervals."""
        for address in owner.addresses:
            self.release(owner, address, end)
        del self._owners[owner.id]

    def darken(self, begin: float) -> None:
        """From ``begin`` on owners may come and go of whom nobody hears."""
        if not self._dark or self._dark[-1][1] < inf:
            self._dark.append((begin, inf))

    def lighten(self, end: float) -> None:
        """Since ``end`` all are heard of."""
        if self._dark and self._dark[-1][1] == inf:
            self._dark[-1] = (self._dark[-1][0], end)

    def leaves(self, owner: Owner, now: float) -> None:
        """It became known ``now`` that ``owner`` will end."""
        if owner.leaving == inf:
            owner.leaving = now
            for address in owner.addresses:
                self._spread(address)

    def renumber(self, owner: Owner, number: int) -> None:
        """``owner``, who may have ended, goes under another id, in the past too."""
        for address in owner.addresses:
            held = self._sole.get(address)
            if held == owner.id:
                self._sole.put(address, number)
            elif held <= _SEVERAL:
                self._touched.add(address)
        if self._owners.pop(owner.id, None) is not None:
            self._owners[number] = owner
        owner.id = number

    def claim(self, owner: Owner, address: bytes, begin: float, now: float) -> None:
        """``owner`` says that it has had ``address`` since ``begin``; seen at ``now``."""
        owner.seen = min(owner.seen, now)
        if address not in self._sole and begin == owner.began:
            self._sole.put(address, owner.id)
            return
        intervals = self._spread(address)
        holder = next((i for i in intervals if i.end == inf), None)
        mine = _Interval(owner, begin, seen=now)
        intervals.append(mine)
        if holder is None:
            return
        if holder.owner.yields_to(owner):
            self._end(address, holder, now)
        else:
            self._end(address, mine, min(now, holder.seen))

    def release(self, owner: Owner, address: bytes, end: float) -> None:
        """``owner`` has no longer ``address``; nothing happens when another took it already."""
        held = self._sole.get(address)
        if held != owner.id and held > _SEVERAL:
            return
        for interval in self._spread(address):
            if interval.owner is owner and interval.end == inf:
                self._end(address, interval, end)

    def record(self, owner: Owner, address: bytes, begin: float, end: float) -> None:
        """``owner`` had ``address`` from ``begin`` to ``end``, learned only afterwards."""
        interval = _Interval(owner, begin, seen=end)
        self._spread(address).append(interval)
        self._end(address, interval, end)

    def find(
        self,
        rows: U8,
        opened: float,
        closed: float,
        times: F64,
        *,
        final: bool,
    ) -> I32:
        """The ids of who had each of ``rows`` (n, 16) in [opened, closed], AMBIGUOUS or UNOWNED.

        Unless it is ``final``, UNSETTLED where that may change as more becomes known.
        """
        if self._touched:
            self._catch_up()
        ids = self._sole.find(rows)
        sole = ids >= 0
        began, clear = times.take(np.where(sole, ids, 0), axis=0).T
        several = np.flatnonzero(ids <= _SEVERAL)
        ids[sole & (opened < clear)] = AMBIGUOUS
        ids[sole & (began > closed)] = UNOWNED
        if not several.size:
            return ids
        ids[several], certain = self._latest.find(_SEVERAL - ids.take(several), opened, closed)
        for row in several[~certain].tolist():
            intervals = self._several[rows[row].tobytes()]
            ids[row] = self._among(intervals, opened, closed, final=final)
        return ids

    def intervals(self, address: bytes) -> list[tuple[Owner, float, float]]:
        """Owners of ``address`` with begin and end (inf: still), the earliest first."""
        number = self._sole.get(address)
        if number <= _SEVERAL:
            found = [(i.owner, i.begin, i.end) for i in self._several[address]]
            return sorted(found, key=lambda interval: interval[1:])
        owner = self._owners.get(number)
        return [(owner, owner.began, inf)] if owner is not None else []

    def expire(self, now: float) -> None:
        """Forget what ended more than ``history`` ago; a constant cost per ended interval."""
        horizon = now - self.history
        while self._dark and self._dark[0][1] < horizon:
            self._dark.popleft()
        while self._ended:
            over = len(self._ended) > self._max_history
            if not over and self._ended[0][1].end >= horizon:
                return
            self.evicted += over and self._ended[0][1].end >= horizon
            self._forget(*self._ended.popleft())

    def _among(
        self, intervals: list[_Interval], opened: float, closed: float, *, final: bool
    ) -> int:
        possible = [i for i in intervals if i.begin <= closed and i.end >= opened]
        if not possible:
            return UNOWNED
        if len({i.owner.id for i in possible}) > 1 or any(opened < i.owner.clear for i in possible):
            return AMBIGUOUS
        sure = max(min(i.end, i.owner.leaving) for i in possible)
        if sure > closed:
            return possible[0].owner.id
        if any(begin < closed and end > sure for begin, end in self._dark):
            return AMBIGUOUS
        return possible[0].owner.id if final else UNSETTLED

    def _spread(self, address: bytes) -> list[_Interval]:
        number = self._sole.get(address)
        self._touched.add(address)
        if number > _SEVERAL:
            self._sole.put(address, _SEVERAL - self._latest.add())
            owner = self._owners.get(number)
            self._several[address] = [_whole(owner)] if owner is not None else []
        return self._several[address]

    def _end(self, address: bytes, interval: _Interval, end: float) -> None:
        interval.end = max(end, interval.begin)
        self._ended.append((address, interval))

    def _forget(self, address: bytes, interval: _Interval) -> None:
        intervals = self._several[address]
        intervals.remove(interval)
        self._touched.add(address)
        if not intervals:
            self._gather(address)
            self._sole.remove(address)
        elif len(intervals) == 1 and intervals[0].end == inf:
            left = intervals[0]
            if left.begin == left.owner.began and left.owner.leaving == inf:
                self._gather(address)
                self._sole.put(address, left.owner.id)

    def _gather(self, address: bytes) -> None:
        """Forget the list of an address."""
        del self._several[address]
        self._touched.discard(address)
        self._latest.drop(_SEVERAL - self._sole.get(address))

    def _catch_up(self) -> None:
        """Write down the latest of all lists that changed."""
        rows = [_SEVERAL - self._sole.get(address) for address in self._touched]
        self._latest.put(rows, [_latest(self._several[address]) for address in self._touched])
        self._touched = set()


def _whole(owner: Owner) -> _Interval:
    return _Interval(owner, owner.began, seen=owner.seen)


def _latest(intervals: list[_Interval]) -> tuple[int, float, float]:
    """Who has the address now, and from when on and before when nothing else comes in question."""
    past = max((i.end for i in intervals if i.end < inf), default=-inf)
    since = nextafter(past, inf)
    for interval in intervals:
        if interval.end == inf:
            owner = interval.owner
            return owner.id, max(since, interval.begin, owner.clear), owner.leaving
    return UNOWNED, since, inf
