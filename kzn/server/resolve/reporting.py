"""Which nodes have an agent: who counts what comes from a node that has none.

In: batches as they are applied, the nodes that the topology knows. Out: for each batch an
`AbsentNodes`, which resolving asks, and how many nodes report.
Never: bytes that both ends of a flow count.

A node has no agent when no pod there is one, and nothing was heard of it for `SILENCE` seconds
since the server began or the node became known. (A pod that is an agent may report to another
server, or be cut off and bring all of it later: its node's leg is the one that counts.) Then the
leg that the destination's node sees stands in. The time is longer than that after which the kernel
stops to make flows for an agent that is gone: whatever an agent brings after a shorter silence is
counted in full, and no leg was used meanwhile. When an agent appears after all, its first batch may
begin before the last leg that stood in for it ended: of that batch, what goes to other nodes with
agents is transit, since they have counted it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from kzn.columns.arrays import BOOL, I32
from kzn.model.endpoint import NO_CODE, EndpointIndex

SILENCE = 660.0
"""The kernel's programs go dormant after ten minutes."""
_LOOK_SECONDS = 5.0
_REPORTING_INTERVALS = 3.0
_NOBODY: BOOL = np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class AbsentNodes:
    """Of one batch: ``absent`` by node code (those beyond its end are not), and ``is_late``.

    A late batch begins before legs that stood in for its node ended.
    """

    absent: BOOL = field(default_factory=lambda: _NOBODY)
    is_late: bool = False

    def without_agent(self, nodes: I32) -> BOOL:
        """Which of these node codes are of nodes that have no agent."""
        if not len(self.absent):
            return np.zeros(len(nodes), np.bool_)
        codes = np.clip(nodes, 0, len(self.absent) - 1)
        found: BOOL = self.absent.take(codes) & (codes == nodes)
        return found


FULL = AbsentNodes()
"""Every node has an agent."""


@dataclass(slots=True)
class _Node:
    heard: float
    """Last, or since when it is known."""
    reports_until: float = 0.0
    stood_in_until: float = -np.inf


@dataclass(frozen=True, slots=True)
class ReportingCounts:
    """Nodes of the topology, those of them that report, and those that others stand in for."""

    known: int = 0
    reporting: int = 0
    without_agent: int = 0
    stand_in_bytes: int = 0


class ReportingNodes:
    """Of the nodes of a topology."""

    def __init__(self, index: EndpointIndex) -> None:
        self._index = index
        self._nodes: dict[str, _Node] = {}
        self._absent = _NOBODY
        self._looked = -np.inf
        self._stand_in_bytes = 0
        self._known: set[str] = set()

    def cover(self, node: str, opened: float, now: float) -> AbsentNodes:
        """What a batch of ``node`` that begins at ``opened`` is to be resolved by."""
        self._look(now)
        known = self._nodes.get(node)
        late = known is not None and opened < known.stood_in_until
        return AbsentNodes(self._absent, late) if late or len(self._absent) else FULL

    def heard(self, node: str, interval: float, now: float) -> None:
        """A batch of ``node`` came."""
        if node not in self._known:
            return  # a name that the topology does not have is nobody's to stand in for
        known = self._nodes[node]
        known.heard = now
        known.reports_until = now + _REPORTING_INTERVALS * interval
        code = self._index.node_code(node)
        if NO_CODE != code < len(self._absent):
            self._absent[code] = False

    def stood_in(self, nodes: Iterable[str], size: int, closed: float) -> None:
        """Legs of ``size`` bytes that ended at ``closed`` were counted in place of these nodes'."""
        self._stand_in_bytes += size
        for node in nodes:
            known = self._nodes.get(node)
            if known is not None:
                known.stood_in_until = max(known.stood_in_until, closed)

    def counts(self, now: float) -> ReportingCounts:
        """How well the cluster is covered."""
        self._look(now)
        return ReportingCounts(
            known=len(self._known),
            reporting=sum(self._nodes[name].reports_until >= now for name in self._known),
            without_agent=int(self._absent.sum()),
            stand_in_bytes=self._stand_in_bytes,
        )

    def _look(self, now: float) -> None:
        """Once in a while: which nodes there are, and of whom nothing was heard for long."""
        if now < self._looked + _LOOK_SECONDS:
            return
        self._looked = now
        self._known = set(self._index.node_names())
        for name in self._known - self._nodes.keys():
            self._nodes[name] = _Node(now)
        for name in self._nodes.keys() - self._known:
            del self._nodes[name]
        silent = [name for name in self._known if self._nodes[name].heard < now - SILENCE]
        without = [name for name in silent if not self._index.has_agent(name)]
        codes = [code for code in map(self._index.node_code, without) if code != NO_CODE]
        self._absent = np.zeros(max(codes) + 1 if codes else 0, np.bool_)
        self._absent[codes] = True
