"""A batch's way through the server: books, resolve, ledger, hold, flow log.

In: each batch once (the receiver drops repeats), and the passing of time.
Out: the ledger, the books and the hold, changed together.
Never: awaits, I/O, a byte that is in no term of its node's identity.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np

from kzn.columns.arrays import I64, U64
from kzn.daemon.logs import RateLimited
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.endpoint import EndpointIndex
from kzn.model.totals import Counts
from kzn.server.ledger.family import LedgerSnapshot
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.node_totals import NodeTotalRow, NodeTotals, TotalsByNode
from kzn.server.resolve import verdict as v
from kzn.server.resolve.reporting import ReportingNodes
from kzn.server.resolve.resolve import Resolution, resolve
from kzn.server.resolve.retry import ObservedFlows, RetryQueue
from kzn.server.stats import PipelineStats

_LOG = logging.getLogger(__name__)
_SWEEP_SECONDS = 30.0
_CASES_A_TICK = 64  # about 50 ms of large ones, so that acks do not wait for more


class FlowSink(Protocol):
    """Where settled flows are shown, one by one; must not block."""

    def offer(
        self, case: ObservedFlows, resolution: Resolution, chosen: I64, index: EndpointIndex
    ) -> None:
        """Show the flows ``chosen`` of ``case``."""
        ...


@dataclass(frozen=True, slots=True)
class Clocks:
    """Monotonic seconds (the index's clock), and a finer one to measure durations with."""

    now: Callable[[], float]
    timer: Callable[[], float]


class Pipeline:
    """The server's state and the two things that change it: a batch, and time."""

    def __init__(
        self,
        index: EndpointIndex,
        ledger: Ledger,
        node_totals: TotalsByNode,
        hold: RetryQueue,
        *,
        clocks: Clocks,
        flow_log: FlowSink | None = None,
        node_retention: float = 3600.0,
    ) -> None:
        self.index = index
        self.ledger = ledger
        self.node_totals = node_totals
        self.hold = hold
        self.stats = PipelineStats()
        self._clocks = clocks
        self._flow_log = flow_log
        self._node_retention = node_retention
        self._next_sweep = -inf
        self._complaints = RateLimited(_LOG, clock=clocks.now)
        self.coverage = ReportingNodes(index)

    def apply(self, identity: AgentIdentity, batch: Batch) -> None:
        """Enter a batch that was not applied before; its flows are valid (wire checks them)."""
        started = self._clocks.timer()
        now = self._clocks.now()
        case = ObservedFlows.of(identity.node, batch, now)
        resolution = self._resolve(case)  # before anything is changed, should it raise
        self.coverage.heard(case.node, case.interval, now)
        totals = self.node_totals.of(identity.node)
        totals.touched = now
        accounted = _sum(batch.flows.packets, batch.flows.bytes)
        mismatch = totals.add_batch(batch.totals, accounted)
        self.stats.mismatched_batches += mismatch != Counts()
        self.stats.mismatched_bytes += mismatch.bytes
        self._settle(case, resolution, totals, now)
        self.stats.batches += 1
        self.stats.flows += len(batch.flows)
        self.stats.apply_seconds.observe(self._clocks.timer() - started)

    def tick(self) -> bool:
        """Try held flows that are due, and end old series; True when more is due at once."""
        now = self._clocks.now()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_SECONDS
            self.ledger.sweep(now, self.index.lives)
            self.node_totals.remove_idle(now - self._node_retention)
        for _ in range(_CASES_A_TICK):
            case = self.hold.take(now)
            if case is None:
                return False
            resolution = self._resolve(case)
            totals = self.node_totals.of(case.node)
            totals.release(_sum(case.flows.packets, case.flows.bytes))
            self._settle(case, resolution, totals, now)
        return True

    def _resolve(self, case: ObservedFlows) -> Resolution:
        # What could be settled now is not put on hold when there is hardly room for the rest.
        final = not case.tries_left or self.hold.is_half_full
        return resolve(
            case.flows,
            case.node,
            self.index,
            case.opened,
            case.closed,
            final=final,
            cover=self.coverage.cover(case.node, case.opened, self._clocks.now()),
        )

    def _settle(
        self, case: ObservedFlows, resolution: Resolution, totals: NodeTotals, now: float
    ) -> None:
        """Put every flow into exactly one term of the node's identity."""
        flows = case.flows
        self.ledger.add(resolution, flows.bytes, self.index, now)
        if resolution.stand_in.any():
            self._note_stand_in(case, resolution)
        packets, sizes = resolution.by_verdict(flows.packets, flows.bytes)
        held = self._hold(case, resolution, totals, now)
        for code in np.flatnonzero(packets | sizes).tolist():
            if not (held and v.MAY_RESOLVE_LATER[code]):
                _enter(totals, code, Counts(int(packets[code]), int(sizes[code])))
        if sizes[v.UNKNOWN_NODE] and not held:
            self._complaints.warn(
                f"unknown node {case.node}",
                "node %s sends batches and is not in the topology: nothing of it is attributed"
                " (is the agent's --node the name that kubectl get nodes shows?)",
                case.node,
            )
        if self._flow_log is not None:
            shown = resolution.verdict != v.TRANSIT
            if held:
                shown &= ~v.MAY_RESOLVE_LATER[resolution.verdict]
            self._flow_log.offer(case, resolution, np.flatnonzero(shown), self.index)

    def _note_stand_in(self, case: ObservedFlows, resolution: Resolution) -> None:
        rows = np.flatnonzero(resolution.stand_in.ravel().take(resolution.pair))
        ids = set(resolution.endpoints.take(resolution.src.take(rows)).tolist())
        nodes = {self.index.endpoint(number).node for number in ids}
        self.coverage.stood_in(nodes, int(case.flows.bytes.take(rows).sum()), case.closed)

    def _hold(
        self, case: ObservedFlows, resolution: Resolution, totals: NodeTotals, now: float
    ) -> bool:
        """Whether all flows that may resolve later were put on hold."""
        if not case.tries_left or not v.MAY_RESOLVE_LATER[resolution.classes].any():
            return False
        chosen = np.flatnonzero(v.MAY_RESOLVE_LATER[resolution.verdict])
        if not chosen.size:
            return False
        later = case.later(chosen)
        if not self.hold.put(later, now):
            self.stats.hold_overflow_flows += len(chosen)
            return False
        totals.hold(_sum(later.flows.packets, later.flows.bytes))
        return True


@dataclass(frozen=True, slots=True, eq=False)
class AccountingSnapshot:
    """What has been counted, at one moment between two batches; nodes with when they were heard."""

    ledger: LedgerSnapshot
    node_totals: list[NodeTotalRow]
    nodes: list[tuple[str, Counts, float]]

    @staticmethod
    def of(pipeline: Pipeline) -> "AccountingSnapshot":
        """A copy as of now; some milliseconds at hundreds of thousands of series."""
        node_totals = pipeline.node_totals
        return AccountingSnapshot(
            ledger=pipeline.ledger.snapshot(),
            node_totals=node_totals.rows(),
            nodes=[(node, totals.held, totals.touched) for node, totals in node_totals.items()],
        )


def _enter(totals: NodeTotals, code: int, counts: Counts) -> None:
    if code < v.TRANSIT:
        totals.add("attributed", "", counts)
    elif code == v.TRANSIT:
        totals.add("transit", "", counts)
    else:
        totals.add("unresolved", v.NAMES[code], counts)


def _sum(packets: U64, sizes: U64) -> Counts:
    return Counts(int(packets.sum()), int(sizes.sum()))
