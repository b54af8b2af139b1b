"""Nodes without an agent, and how their traffic is counted at the destination instead.

In: each batch as it is applied, and the nodes of the topology. Out: an `AbsentNodes` by which each
batch is resolved, and counts of reporting nodes. Never: bytes counted at both ends of a flow.

A node is *absent* when no agent pod is scheduled on it and it has sent no batch for `SILENCE`
seconds since the server started or the node appeared, or when it cannot have an agent and has sent
none at all. (A node with an agent pod is not absent: its
agent may report to another server, or be disconnected and send everything later.) What an absent
node sends is counted from the batches of the destination's node. `SILENCE` is longer than the time
after which the kernel programs of a stopped agent go dormant: after a shorter silence the agent
reports all that its node sent, and nothing of it was counted at the destination. When an agent
starts on an absent node, its first batch may begin before the last interval that was counted at a
destination ended. In such a *late* batch, flows to nodes with an agent are transit, because those
nodes counted them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from kzn.columns.arrays import BOOL, I32
from kzn.model.endpoint import NO_CODE, EndpointIndex

SILENCE = 660.0
"""Seconds; the kernel programs go dormant after 600."""
EXPECTED = 3600.0
"""Seconds for which an absent node that has reported is expected to do so again."""
_REFRESH_SECONDS = 5.0
_REPORTING_INTERVALS = 3.0
_NO_NODES: BOOL = np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class AbsentNodes:
    """The absent nodes as of one batch: ``by_code`` (node codes past its end are not absent).

    ``is_late``: the batch begins before flows of its node that were counted at their destination
    ended.
    """

    by_code: BOOL = field(default_factory=lambda: _NO_NODES)
    is_late: bool = False

    def contains(self, nodes: I32) -> BOOL:
        """Which of the node codes ``nodes`` (n,) are absent nodes: (n,)."""
        if not len(self.by_code):
            return np.zeros(len(nodes), np.bool_)
        codes = np.clip(nodes, 0, len(self.by_code) - 1)
        found: BOOL = self.by_code.take(codes) & (codes == nodes)
        return found


NONE_ABSENT = AbsentNodes()
"""Every node has an agent."""


@dataclass(slots=True)
class _Node:
    last_batch: float
    """When its last batch arrived; before the first one, when the node became known."""
    reports_until: float = 0.0
    has_reported: bool = False
    counted_at_destination_until: float = -np.inf


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

    def __init__(self, index: EndpointIndex) -> None:
        self._index = index
        self._nodes: dict[str, _Node] = {}
        self._absent = _NO_NODES
        self._refreshed = -np.inf
        self._counted_at_destination_bytes = 0
        self._known: set[str] = set()
        self._absent_names: frozenset[str] = frozenset()
        self._agentless = 0
        self._expected: tuple[list[str], list[_Node]] = ([], [])

    def absent_nodes(self, node: str, opened: float, now: float) -> AbsentNodes:
        """The absent nodes by which a batch of ``node`` that begins at ``opened`` is resolved."""
        self._refresh(now)
        known = self._nodes.get(node)
        is_late = known is not None and opened < known.counted_at_destination_until
        return AbsentNodes(self._absent, is_late) if is_late or len(self._absent) else NONE_ABSENT

    def add_batch(self, node: str, interval: float, now: float) -> None:
        """A batch of ``node`` arrived; nodes outside the topology are ignored."""
        if node not in self._known:
            return
        known = self._nodes[node]
        known.last_batch = now
        known.has_reported = True
        known.reports_until = now + _REPORTING_INTERVALS * interval
        code = self._index.node_code(node)
        if NO_CODE != code < len(self._absent) and self._absent[code]:
            self._absent[code] = False
            self._refreshed = -np.inf

    def add_counted_at_destination(self, nodes: Iterable[str], size: int, closed: float) -> None:
        """``size`` bytes that these absent nodes sent until ``closed`` were counted elsewhere."""
        self._counted_at_destination_bytes += size
        for node in nodes:
            known = self._nodes.get(node)
            if known is not None:
                until = max(known.counted_at_destination_until, closed)
                known.counted_at_destination_until = until

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
            self._nodes[name] = _Node(now)
        for name in self._nodes.keys() - self._known:
            del self._nodes[name]
        silent = {name for name in self._known if self._nodes[name].last_batch < now - SILENCE}
        agentless = {
            name
            for name in self._index.agentless_nodes()
            if name in silent or not self._nodes[name].has_reported
        }
        able = {name for name in silent - agentless if not self._index.has_agent(name)}
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
