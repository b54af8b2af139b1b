"""Ownership of addresses over time, as intervals in seconds of one monotonic clock.

In: claims and releases of addresses by owners. Out: for addresses and a time interval, the id of
the only possible owner of each. Never: a guess between two owners (AMBIGUOUS); a late delete of an
earlier owner does not end the claim of its successor.

An address with one owner in the kept history (nearly all) is one number in a table; the others
have a list of intervals, and a row in `CurrentOwners` for the latest.
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
"""This number minus the row in `CurrentOwners`: an address with a list of intervals."""


@dataclass(slots=True, eq=False)
class Owner:
    """A pod or node that claims addresses: its endpoint id, and what decides between two claims.

    ``order`` is the version of the object that made its first claim (0: none). ``listing`` is the
    number of the list that it came in, 0 for a watch event. ``rank`` orders claims of one list,
    which has no order of its own: terminating pods first, then by start.

    Times: it has its first addresses since ``valid_from``. Before ``exclusive_since`` a pod that
    the server never saw may have had them, from ``deleting_since`` (its deletion was announced) a
    successor may. ``seen`` is when the server saw its first claim.

    An address of a node is never taken from a pod: a node's status may list addresses that its
    pods have, and it is written when a cloud's controller looks.
    """

    id: int
    valid_from: float
    is_pod: bool = True
    order: int = 0
    listing: int = 0
    rank: tuple[bool, float] = (True, 0.0)
    addresses: tuple[bytes, ...] = ()
    deleting_since: float = inf
    exclusive_since: float = -inf
    seen: float = inf

    def yields_to(self, other: "Owner") -> bool:
        """Whether ``other``, which claims an address of this owner, takes it."""
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

    At most ``max_history`` ended intervals are kept; beyond that the oldest are evicted early and
    counted in ``evicted``.
    """

    def __init__(self, history: float, max_history: int) -> None:
        self.history = history
        self._max_history = max_history
        self._sole = AddressTable()
        self._owners: dict[int, Owner] = {}
        self._several: dict[bytes, list[_Interval]] = {}
        self._outranked: dict[bytes, list[Owner]] = {}  # nodes that claim what a pod has
        self._current = CurrentOwners()
        self._changed: set[bytes] = set()
        self._ended: deque[tuple[bytes, _Interval]] = deque()
        self._watch_gaps: deque[tuple[float, float]] = deque()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._sole)

    @property
    def ended(self) -> int:
        """How many ended intervals are kept."""
        return len(self._ended)

    @property
    def is_over_limit(self) -> bool:
        """Whether `expire` is to evict ended intervals early."""
        return len(self._ended) > self._max_history

    def add_owner(self, owner: Owner) -> None:
        """Register ``owner`` before its first claim."""
        self._owners[owner.id] = owner

    def end_owner(self, owner: Owner, end: float) -> None:
        """End ``owner`` and all its intervals."""
        for address in owner.addresses:
            self.release(owner, address, end)
        del self._owners[owner.id]

    def watch_gap_begins(self, begin: float) -> None:
        """The watch was lost at ``begin``; ownership changes since may be unseen."""
        if not self._watch_gaps or self._watch_gaps[-1][1] < inf:
            self._watch_gaps.append((begin, inf))

    def watch_gap_ends(self, end: float) -> None:
        """All ownership changes since ``end`` are seen."""
        if self._watch_gaps and self._watch_gaps[-1][1] == inf:
            self._watch_gaps[-1] = (self._watch_gaps[-1][0], end)

    def has_watch_gap(self, opened: float, closed: float) -> bool:
        """Whether ownership changes in [opened, closed] may be unseen."""
        return any(begin < closed and end > opened for begin, end in self._watch_gaps)

    def deletion_announced(self, owner: Owner, now: float) -> None:
        """``owner`` has a deletionTimestamp since ``now`` at the latest."""
        if owner.deleting_since == inf:
            owner.deleting_since = now
            for address in owner.addresses:
                self._intervals_of(address)

    def renumber(self, owner: Owner, number: int) -> None:
        """Change the endpoint id of ``owner``, which may have ended, in its past intervals too."""
        for address in owner.addresses:
            held = self._sole.get(address)
            if held == owner.id:
                self._sole.put(address, number)
            elif held <= _SEVERAL:
                self._changed.add(address)
        if self._owners.pop(owner.id, None) is not None:
            self._owners[number] = owner
        owner.id = number

    def claim(self, owner: Owner, address: bytes, begin: float, now: float) -> None:
        """``owner`` has had ``address`` since ``begin``, as the server sees at ``now``."""
        owner.seen = min(owner.seen, now)
        if address not in self._sole and begin == owner.valid_from:
            self._sole.put(address, owner.id)
            return
        if not owner.is_pod and self._is_held_by_pod(address):
            self._outranked.setdefault(address, []).append(owner)
            return
        intervals = self._intervals_of(address)
        holder = next((i for i in intervals if i.end == inf), None)
        mine = _Interval(owner, begin, seen=now)
        intervals.append(mine)
        if holder is None:
            return
        if owner.is_pod and not holder.owner.is_pod:
            self._outranked.setdefault(address, []).append(holder.owner)
            if holder.begin < begin:
                self._end(address, holder, begin)
            else:
                intervals.remove(holder)
        elif holder.owner.yields_to(owner):
            self._end(address, holder, now)
        else:
            self._end(address, mine, min(now, holder.seen))

    def release(self, owner: Owner, address: bytes, end: float) -> None:
        """End ``owner``'s interval of ``address``; ignored when another owner has taken it."""
        self._forget_outranked(owner, address)
        held = self._sole.get(address)
        if held != owner.id and held > _SEVERAL:
            return
        for interval in self._intervals_of(address):
            if interval.owner is owner and interval.end == inf:
                self._end(address, interval, end)
                self._hand_back(address, end)
                return

    def record(self, owner: Owner, address: bytes, begin: float, end: float) -> None:
        """Add the past interval [begin, end] of ``owner`` and ``address``."""
        interval = _Interval(owner, begin, seen=end)
        self._intervals_of(address).append(interval)
        self._end(address, interval, end)

    def find(
        self,
        rows: U8,
        opened: float | F64,
        closed: float | F64,
        times: F64,
        *,
        final: bool,
    ) -> I32:
        """Owner ids of ``rows`` (n, 16) in [opened, closed], else AMBIGUOUS or UNOWNED.

        ``opened`` and ``closed`` are of all rows, or of each of them: (n,).
        ``times`` is `EndpointTable.times`. Unless ``final``, UNSETTLED where later events may
        change the answer.
        """
        if self._changed:
            self._catch_up()
        ids = self._sole.find(rows)
        sole = ids >= 0
        valid_from, exclusive_since = times.take(np.where(sole, ids, 0), axis=0).T
        several = np.flatnonzero(ids <= _SEVERAL)
        ids[sole & (opened < exclusive_since)] = AMBIGUOUS
        ids[sole & (valid_from > closed)] = UNOWNED
        if not several.size:
            return ids
        begins, ends = np.broadcast_to(opened, len(rows)), np.broadcast_to(closed, len(rows))
        ids[several], certain = self._current.find(
            _SEVERAL - ids.take(several), begins.take(several), ends.take(several)
        )
        for row in several[~certain].tolist():
            intervals = self._several[rows[row].tobytes()]
            begin, end = float(begins[row]), float(ends[row])
            ids[row] = self._among(intervals, begin, end, final=final)
        return ids

    def intervals(self, address: bytes) -> list[tuple[Owner, float, float]]:
        """Owners of ``address`` with begin and end (inf: still), the earliest first."""
        number = self._sole.get(address)
        if number <= _SEVERAL:
            found = [(i.owner, i.begin, i.end) for i in self._several[address]]
            return sorted(found, key=lambda interval: interval[1:])
        owner = self._owners.get(number)
        return [(owner, owner.valid_from, inf)] if owner is not None else []

    def expire(self, now: float) -> None:
        """Drop what ended more than ``history`` ago, at constant cost per ended interval."""
        horizon = now - self.history
        while self._watch_gaps and self._watch_gaps[0][1] < horizon:
            self._watch_gaps.popleft()
        while self._ended:
            over = len(self._ended) > self._max_history
            if not over and self._ended[0][1].end >= horizon:
                return
            self.evicted += over and self._ended[0][1].end >= horizon
            self._drop_interval(*self._ended.popleft())

    def _among(
        self, intervals: list[_Interval], opened: float, closed: float, *, final: bool
    ) -> int:
        possible = [i for i in intervals if i.begin <= closed and i.end >= opened]
        if not possible:
            return UNOWNED
        if len({i.owner.id for i in possible}) > 1 or any(
            opened < i.owner.exclusive_since for i in possible
        ):
            return AMBIGUOUS
        sure = max(min(i.end, i.owner.deleting_since) for i in possible)
        if sure > closed:
            return possible[0].owner.id
        if any(begin < closed and end > sure for begin, end in self._watch_gaps):
            return AMBIGUOUS
        return possible[0].owner.id if final else UNSETTLED

    def _is_held_by_pod(self, address: bytes) -> bool:
        number = self._sole.get(address)
        if number > _SEVERAL:
            owner = self._owners.get(number)
            return owner is not None and owner.is_pod
        return any(i.end == inf and i.owner.is_pod for i in self._several[address])

    def _forget_outranked(self, owner: Owner, address: bytes) -> None:
        waiting = self._outranked.get(address)
        if waiting is not None and owner in waiting:
            waiting.remove(owner)
            if not waiting:
                del self._outranked[address]

    def _hand_back(self, address: bytes, begin: float) -> None:
        """A pod has left ``address``: the node that claimed it last has it again."""
        waiting = self._outranked.get(address)
        if waiting:
            node = waiting[-1]
            self._forget_outranked(node, address)
            self._intervals_of(address).append(_Interval(node, begin, seen=begin))

    def _intervals_of(self, address: bytes) -> list[_Interval]:
        number = self._sole.get(address)
        self._changed.add(address)
        if number > _SEVERAL:
            self._sole.put(address, _SEVERAL - self._current.add())
            owner = self._owners.get(number)
            self._several[address] = [_since_start(owner)] if owner is not None else []
        return self._several[address]

    def _end(self, address: bytes, interval: _Interval, end: float) -> None:
        interval.end = max(end, interval.begin)
        self._ended.append((address, interval))

    def _drop_interval(self, address: bytes, interval: _Interval) -> None:
        intervals = self._several[address]
        intervals.remove(interval)
        self._changed.add(address)
        if not intervals:
            self._drop_intervals(address)
            self._sole.remove(address)
        elif len(intervals) == 1 and intervals[0].end == inf:
            left = intervals[0]
            if left.begin == left.owner.valid_from and left.owner.deleting_since == inf:
                self._drop_intervals(address)
                self._sole.put(address, left.owner.id)

    def _drop_intervals(self, address: bytes) -> None:
        del self._several[address]
        self._changed.discard(address)
        self._current.drop(_SEVERAL - self._sole.get(address))

    def _catch_up(self) -> None:
        rows = [_SEVERAL - self._sole.get(address) for address in self._changed]
        self._current.put(
            rows, [_current_owner(self._several[address]) for address in self._changed]
        )
        self._changed = set()


def _since_start(owner: Owner) -> _Interval:
    return _Interval(owner, owner.valid_from, seen=owner.seen)


def _current_owner(intervals: list[_Interval]) -> tuple[int, float, float]:
    """The current owner id, and [since, until) in which no other owner is possible."""
    past = max((i.end for i in intervals if i.end < inf), default=-inf)
    since = nextafter(past, inf)
    for interval in intervals:
        if interval.end == inf:
            owner = interval.owner
            return owner.id, max(since, interval.begin, owner.exclusive_since), owner.deleting_since
    return UNOWNED, since, inf
