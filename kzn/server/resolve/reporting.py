"""Nodes without an agent, and how their traffic is counted at the destination instead.

In: each batch as it is applied, and the nodes of the topology. Out: an `AbsentNodes` by which each
batch is resolved, and counts of reporting nodes. Never: bytes counted at both ends of a flow, or
in transit at one end and at the other.

A node is *absent* when no agent pod is scheduled on it and it has sent no batch for `SILENCE`
seconds since the server started or the node appeared, or when it cannot have an agent and has sent
none at all. (A node with an agent pod is not absent: its agent may report to another server, or be
disconnected and send everything later.) What an absent node sends is counted from the batches of
the destination's node. With `StandIn` auto that holds only where agents can be seen: a node that
reports here has an agent pod. Else another server may have the batches of the node.

`SILENCE` is longer than `DORMANT`, after which the kernel programs of a stopped agent make no
flows. When an agent starts on an absent node, or is connected again, its first batch may begin
before the counting at destinations ended. Of such a *late* batch, what goes to other nodes with
agents is divided. If the programs went dormant, all of it was sent before the counting elsewhere
began, and is counted here. Otherwise what others counted within the batch's interval is transit
here, and the rest is counted here, each flow in proportion. What cannot be told is unresolved,
reason `LATE`: as much as others counted in intervals that began before the batch and ended in it,
and all of a batch that has less than others counted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Literal, NamedTuple

import numpy as np

from kzn.columns.arrays import BOOL, I32
from kzn.model.endpoint import NO_CODE, EndpointIndex

StandIn = Literal["auto", "on", "off"]
"""Whether nodes without an agent are counted at destinations: where agents can be seen, always (no
other server has their batches), or never."""
LATE = "late"
"""Unresolved: it cannot be told what of a late batch other nodes counted."""
DORMANT = 600.0
"""Seconds without a drain after which the kernel programs make no flows."""
SILENCE = 660.0
"""Seconds; longer than `DORMANT`."""
EXPECTED = 3600.0
"""Seconds for which an absent node that has reported is expected to do so again."""
_REFRESH_SECONDS = 5.0
_REPORTING_INTERVALS = 3.0
_TAIL_SECONDS = 120
"""For how long it is known when bytes were counted at a destination."""
_LOOKED_AT = 100
_SAVED_SECONDS = 60.0
_RESTORED_SECONDS = 7 * 86400.0
_NO_NODES: BOOL = np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class AbsentNodes:
    """The absent nodes as of one batch: ``by_code`` (node codes past its end are not absent)."""

    by_code: BOOL = field(default_factory=lambda: _NO_NODES)

    def contains(self, nodes: I32) -> BOOL:
        """Which of the node codes ``nodes`` (n,) are absent nodes: (n,)."""
        if not len(self.by_code):
            return np.zeros(len(nodes), np.bool_)
        codes = np.clip(nodes, 0, len(self.by_code) - 1)
        found: BOOL = self.by_code.take(codes) & (codes == nodes)
        return found

    def has(self, node: int) -> bool:
        """Whether the node of the code ``node`` is absent."""
        return 0 <= node < len(self.by_code) and bool(self.by_code[node])


NONE_ABSENT = AbsentNodes()
"""Every node has an agent."""


class HeardNode(NamedTuple):
    """What is saved of one node; times in Unix time.

    ``heard`` is when its last batch came, ``counted`` the bytes that were counted at destinations
    in ``since`` to ``until``.
    """

    node: str
    heard: float
    since: float = inf
    until: float = -inf
    counted: int = 0


class CountedElsewhere(NamedTuple):
    """Bytes of a late batch that others counted, and bytes of which that cannot be told."""

    certain: int = 0
    unclear: int = 0


NOTHING_ELSEWHERE = CountedElsewhere()
ALL_UNCLEAR = CountedElsewhere(0, 1 << 128)


@dataclass(slots=True)
class _Node:
    last_batch: float
    """When its last batch arrived; before the first one, when the node became known."""
    reports_until: float = 0.0
    has_reported: bool = False
    counted_since: float = inf
    """When the first flows began that were counted at their destination, and the last ended."""
    counted_until: float = -inf
    counted: int = 0
    newest: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Of these bytes the newest, by the second in which batches ended: and when these began."""
    is_back: bool = False
    """Whether a batch of the node came after that."""
    saved: tuple[float, int] = (-inf, 0)

    def count(self, size: int, opened: float, closed: float) -> None:
        if self.is_back:
            self.is_back, self.counted, self.counted_since = False, 0, inf
            self.newest.clear()
        self.counted += size
        self.counted_since = min(self.counted_since, opened)
        self.counted_until = max(self.counted_until, closed)
        before, began = self.newest.get(int(closed), (0, opened))
        self.newest[int(closed)] = before + size, min(began, opened)
        for old in [at for at in self.newest if at < self.counted_until - _TAIL_SECONDS]:
            del self.newest[old]

    def counted_after(self, closed: float) -> int:
        return sum(size for second, (size, _) in self.newest.items() if second > closed)

    def counted_within(self, opened: float, closed: float) -> CountedElsewhere:
        if opened <= self.counted_since:
            return CountedElsewhere(self.counted - self.counted_after(closed))
        if opened < self.counted_until - _TAIL_SECONDS:
            return ALL_UNCLEAR
        found = [0, 0]
        for second, (size, began) in self.newest.items():
            if opened < second + 1 and second <= closed:
                found[began < opened] += size
        return CountedElsewhere(*found)


@dataclass(frozen=True, slots=True)
class ReportingCounts:
    """Nodes of the topology, how many of them report, how many are absent.

    ``agentless`` of the absent ones cannot have an agent. ``counted_at_destination_bytes`` were
    sent by absent nodes.
    """

    known: int = 0
    reporting: int = 0
    without_agent: int = 0
    agentless: int = 0
    counted_at_destination_bytes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class BatchAges:
    """When the last batch of each node arrived, as of ``now``; cheap to take, to be read later."""

    names: Sequence[str] = ()
    arrived: Sequence[float] = ()
    now: float = 0.0

    def __iter__(self) -> Iterator[tuple[str, float]]:
        """Name and age in seconds of each."""
        for name, arrived in zip(self.names, self.arrived, strict=True):
            yield name, max(0.0, self.now - arrived)


class ReportingNodes:
    """Which nodes of a topology send batches."""

    def __init__(self, index: EndpointIndex, stand_in: StandIn = "auto") -> None:
        self._index = index
        self._stand_in = stand_in
        self._sees_agents = False
        self._restored: dict[str, HeardNode] = {}
        self._removed: list[str] = []
        self._nodes: dict[str, _Node] = {}
        self._absent = _NO_NODES
        self._refreshed = -np.inf
        self._counted_at_destination_bytes = 0
        self._known: set[str] = set()
        self._absent_names: frozenset[str] = frozenset()
        self._agentless = 0
        self._expected: tuple[list[str], list[_Node]] = ([], [])

    def absent_nodes(self, now: float) -> AbsentNodes:
        """The absent nodes by which a batch is resolved."""
        self._refresh(now)
        return AbsentNodes(self._absent) if len(self._absent) else NONE_ABSENT

    def counted_elsewhere(
        self, node: str, opened: float, closed: float, *, is_dormant: bool
    ) -> CountedElsewhere:
        """What other nodes counted of a batch of ``node``.

        ``is_dormant``: the programs were dormant at the end of the batch.
        """
        known = self._nodes.get(node)
        if known is None or opened >= known.counted_until:
            return NOTHING_ELSEWHERE
        if is_dormant:
            is_before = known.counted_since >= opened + DORMANT
            return NOTHING_ELSEWHERE if is_before else ALL_UNCLEAR
        return known.counted_within(opened, closed)

    def add_batch(self, node: str, interval: float, closed: float, now: float) -> None:
        """A batch of ``node`` was applied; nodes outside the topology are ignored."""
        if node not in self._known:
            return
        known = self._nodes[node]
        known.last_batch = now
        known.has_reported = True
        known.reports_until = now + _REPORTING_INTERVALS * interval
        if not known.is_back:
            known.is_back = True
        if known.counted:  # what others counted until its end is divided
            known.counted = known.counted_after(closed)
        code = self._index.node_code(node)
        if NO_CODE != code < len(self._absent) and self._absent[code]:
            self._absent[code] = False
            self._refreshed = -np.inf

    def add_counted_at_destination(
        self, sizes: Mapping[str, int], opened: float, closed: float
    ) -> None:
        """Bytes that absent nodes sent, by node, were counted elsewhere in a batch."""
        for node, size in sizes.items():
            self._counted_at_destination_bytes += size
            known = self._nodes.get(node)
            if known is not None:
                known.count(size, opened, closed)

    def counts(self, now: float) -> ReportingCounts:
        """Number of nodes that report as of ``now``."""
        self._refresh(now)
        return ReportingCounts(
            known=len(self._known),
            reporting=sum(self._nodes[name].reports_until >= now for name in self._known),
            without_agent=len(self._absent_names),
            agentless=self._agentless,
            counted_at_destination_bytes=self._counted_at_destination_bytes,
        )

    def ages(self, now: float) -> BatchAges:
        """The age of the last batch of each node that should send some.

        Before its first batch it counts from when the node became known. Absent nodes are left
        out, unless they sent a batch within `EXPECTED` seconds.
        """
        self._refresh(now)
        names, nodes = self._expected
        return BatchAges(names, [node.last_batch for node in nodes], now)

    def _refresh(self, now: float) -> None:
        """Every few seconds, read the topology's nodes and find the absent ones."""
        if now < self._refreshed + _REFRESH_SECONDS:
            return
        self._refreshed = now
        self._known = set(self._index.node_names())
        for name in self._known - self._nodes.keys():
            self._nodes[name] = self._new(name, now)
        for name in self._nodes.keys() - self._known:
            del self._nodes[name]
            self._removed.append(name)
        silent = {name for name in self._known if self._nodes[name].last_batch < now - SILENCE}
        agentless = {
            name
            for name in self._index.agentless_nodes()
            if name in silent or not self._nodes[name].has_reported
        }
        able = {name for name in silent - agentless if not self._index.has_agent(name)}
        if not self._stands_in():
            able = set()
        if self._stand_in == "off":
            agentless = set()
        absent = frozenset(agentless | able)
        self._absent_names, self._agentless = absent, len(agentless)
        lately = now - EXPECTED
        names = [
            name
            for name, node in self._nodes.items()
            if name not in absent or (node.has_reported and node.last_batch > lately)
        ]
        self._expected = names, [self._nodes[name] for name in names]
        codes = [code for code in map(self._index.node_code, absent) if code != NO_CODE]
        self._absent = np.zeros(max(codes) + 1 if codes else 0, np.bool_)
        self._absent[codes] = True

    def _stands_in(self) -> bool:
        """Whether a silent node without an agent pod reports to no server."""
        if self._stand_in != "auto" or self._sees_agents:
            return self._stand_in != "off"
        reporting = (name for name in self._known if self._nodes[name].has_reported)
        self._sees_agents = any(map(self._index.has_agent, islice(reporting, _LOOKED_AT)))
        return self._sees_agents

    def _new(self, name: str, now: float) -> _Node:
        row = self._restored.pop(name, None)
        if row is None:
            return _Node(now)
        return _Node(
            min(row.heard, now),
            counted_since=row.since,
            counted_until=row.until,
            counted=row.counted,
            saved=(row.heard, row.counted),
        )

    def restore(self, rows: Iterable[HeardNode], now: float, epoch: float) -> None:
        """Restore saved nodes; ``epoch`` is Unix time minus the caller's clock.

        Their silence goes on where it was: the time without a server does not count.
        """
        found = list(rows)
        newest = max((row.heard for row in found), default=0.0)
        for row in found:
            if row.heard < newest - _RESTORED_SECONDS:
                self._removed.append(row.node)
                continue
            self._restored[row.node] = HeardNode(
                row.node,
                now - (newest - row.heard),
                row.since - epoch,
                row.until - epoch,
                row.counted,
            )

    def changed(self, epoch: float) -> tuple[list[str], list[HeardNode]]:
        """Nodes that ended, and nodes to save anew, since the last call."""
        removed, self._removed = self._removed, []
        rows = []
        for name, node in self._nodes.items():
            heard, counted = node.saved
            if node.last_batch < heard + _SAVED_SECONDS and node.counted == counted:
                continue
            node.saved = (node.last_batch, node.counted)
            since, until = node.counted_since + epoch, node.counted_until + epoch
            rows.append(HeardNode(name, node.last_batch + epoch, since, until, node.counted))
        return removed, rows
