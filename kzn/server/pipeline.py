"""Applies a batch: node totals, resolve, ledger, retry queue, flow log.

In: each batch once (the receiver drops duplicates), and timer ticks.
Out: the ledger, the node totals and the retry queue, changed together.
Never: awaits, I/O, a byte that is missing from its node's totals.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from math import inf
from typing import Protocol

import numpy as np

from kzn.columns.arrays import BOOL, I64, U8, U64
from kzn.columns.group_sums import sums
from kzn.daemon.logs import RateLimitedNames
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.endpoint import NO_CODE, EndpointIndex
from kzn.model.flows import Flows
from kzn.model.totals import Counts
from kzn.server.ledger.family import FAMILIES, FamilyName, LedgerSnapshot
from kzn.server.ledger.first_scrape import FirstScrape
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.node_totals import NOTHING, NodeTotals, NodeTotalsSnapshot, TotalsByNode
from kzn.server.ledger.prices_in_use import NO_PRICES, PricesInUse
from kzn.server.resolve import verdict as v
from kzn.server.resolve.assumed import assumed
from kzn.server.resolve.joined import JoinedFlows, join
from kzn.server.resolve.reporting import (
    LATE,
    NOTHING_ELSEWHERE,
    ReportingNodes,
    StandIn,
)
from kzn.server.resolve.resolve import Resolution, resolve, resolve_joined
from kzn.server.resolve.retry import ObservedFlows, RetryQueue
from kzn.server.stats import HistoryCounts, PipelineStats

_LOG = logging.getLogger(__name__)
_SWEEP_SECONDS = 30.0
_UNKNOWN_NODES = (
    "%d nodes are not in the topology (%s): all traffic that their agents report is unresolved"
    " (--node of an agent must be the name that kubectl get nodes shows)"
)
_UNKNOWN_NODE = (
    "node %s is not in the topology: all traffic that its agent reports is unresolved"
    " (--node of an agent must be the name that kubectl get nodes shows)"
)
_DONE = object()
_RETRIES_PER_TICK = 64
_RETRIED_FLOWS_PER_TICK = 10_000  # some ten milliseconds: acks wait for a tick to end


class FlowSink(Protocol):
    """Takes flows with a final verdict; must not block."""

    def offer(
        self, observed: ObservedFlows, resolution: Resolution, chosen: I64, index: EndpointIndex
    ) -> None:
        """Take the flows ``chosen`` of ``observed``."""
        ...


class OpenCostSink(FlowSink, Protocol):
    """A sink with counters of pods that end some time after them."""

    def sweep(self, index: EndpointIndex) -> None:
        """End what belongs to pods that were deleted."""
        ...


class Meter(Protocol):
    """Prices the bytes of the ledger (kzn.server.cost)."""

    def tick(self, now: float) -> None:
        """Use the prices of this time; settle if that is due."""
        ...

    def settle(self, now: float) -> None:
        """Price all bytes that came since the last call."""
        ...

    def prices(self) -> PricesInUse:
        """The prices of zone pairs."""
        ...


class RecorderSink(FlowSink, Protocol):
    """A sink with books that are part of each snapshot."""

    def counts(self) -> HistoryCounts | None:
        """The books now; None without books."""
        ...


@dataclass(frozen=True, slots=True)
class Clocks:
    """``now`` is the index's clock (monotonic seconds); ``timer`` measures durations."""

    now: Callable[[], float]
    timer: Callable[[], float]


class Pipeline:
    """The server's accounting state, changed by batches and by timer ticks."""

    def __init__(
        self,
        index: EndpointIndex,
        ledger: Ledger,
        node_totals: TotalsByNode,
        retry_queue: RetryQueue,
        *,
        clocks: Clocks,
        flow_log: FlowSink | None = None,
        recorder: RecorderSink | None = None,
        opencost: OpenCostSink | None = None,
        first_scrape: FirstScrape | None = None,
        stand_in: StandIn = "auto",
        node_retention: float = 3600.0,
        meter: Meter | None = None,
    ) -> None:
        self.index = index
        self._meter = meter
        self.ledger = ledger
        self.node_totals = node_totals
        self.retry_queue = retry_queue
        self.stats = PipelineStats()
        self._clocks = clocks
        self._sinks: list[FlowSink] = [
            sink for sink in (flow_log, recorder, opencost) if sink is not None
        ]
        self._opencost = opencost
        self._recorder = recorder
        self._node_retention = node_retention
        self.first_scrape = first_scrape or FirstScrape(0.0)
        self._next_sweep = -inf
        self._sweep: Iterator[None] | None = None
        """A sweep under way, one step for each tick: a whole one may take a second."""
        self._unknown_nodes = RateLimitedNames(
            _LOG, _UNKNOWN_NODES, _UNKNOWN_NODE, clock=clocks.now
        )
        self.reporting = ReportingNodes(index, stand_in)

    def apply(self, identity: AgentIdentity, batch: Batch) -> None:
        """Account for a batch that was not applied before; the wire room has validated it."""
        now = self._clocks.now()
        self._apply(self._observed(identity.node, batch, now), batch, now)

    def apply_all(self, batches: Sequence[tuple[AgentIdentity, Batch]]) -> list[Exception | None]:
        """`apply` each batch, in order; those of different nodes by the same calls of numpy.

        Returns the error of each batch that was not applied. The result is that of `apply`, but for
        which new series find room at a limit.
        """
        now = self._clocks.now()
        errors: list[Exception | None] = []
        group = _Group(now)
        for identity, batch in batches:
            if identity.node in group.nodes:
                errors += self._apply_group(group)
                group = _Group(now)
            observed = self._observed(identity.node, batch, now)
            if self._is_ordinary(observed, group):
                group.add(observed, batch)
            else:
                errors += self._apply_group(group)
                group = _Group(now)
                # Anew: what that group counted at its destinations may be part of this batch.
                errors.append(self._try(self._observed(identity.node, batch, now), batch, now))
        return errors + self._apply_group(group)

    def _is_ordinary(self, observed: ObservedFlows, group: "_Group") -> bool:
        """Whether the batch can be resolved with others of ``group``: none changes its result."""
        code = self.index.node_code(observed.node)
        if observed.is_late or code == NO_CODE or self.index.node_endpoint(observed.node) < 0:
            return False
        absent = self.reporting.absent_nodes(group.now)
        if absent.contains(np.array([code], np.int32)).any():
            return False
        return self.retry_queue.stays_half_empty(
            group.flows + len(observed.flows), len(group.nodes) + 1
        )

    def _apply_group(self, group: "_Group") -> list[Exception | None]:
        if len(group.batches) < 2:
            return [self._try(one, batch, group.now) for one, batch in group.batches]
        started = self._clocks.timer()
        joined = join([one.flows for one, _ in group.batches])
        try:
            resolution = self._resolve_group(joined, group)
        except Exception:  # noqa: BLE001 - it is raised again by the batch that caused it
            return [self._try(one, batch, group.now) for one, batch in group.batches]
        try:
            self._account_group(joined, resolution, group)
        except Exception as error:  # noqa: BLE001 - of the server: the caller reports it
            return [error] * len(group.batches)
        took = (self._clocks.timer() - started) / len(group.batches)
        for _, batch in group.batches:
            self._count_batch(batch, took)
        return [None] * len(group.batches)

    def _resolve_group(self, joined: JoinedFlows, group: "_Group") -> Resolution:
        return resolve_joined(
            joined,
            [one.node for one, _ in group.batches],
            self.index,
            np.array([one.opened for one, _ in group.batches]),
            np.array([one.closed for one, _ in group.batches]),
            final=False,
            absent=self.reporting.absent_nodes(group.now),
        )

    def _account_group(self, joined: JoinedFlows, resolution: Resolution, group: "_Group") -> None:
        """`_account` for each batch."""
        flows, now = joined.table, group.now
        self.ledger.add(resolution, flows.bytes, self.index, now)
        self.stats.assumed = self.stats.assumed.plus(assumed(flows, resolution))
        by_part = resolution.by_part(joined.part, len(group.batches), flows.packets, flows.bytes)
        packets, sizes = (column.tolist() for column in by_part)
        waiting = _parts_with(joined, v.MAY_RESOLVE_LATER, resolution.verdict)
        at_destination = _parts_with(
            joined, resolution.counted_at_destination.ravel(), resolution.cell
        )
        for number, (one, batch) in enumerate(group.batches):
            totals = self.node_totals.of(one.node, now)
            self._add_batch(totals, batch, Counts(sum(packets[number]), sum(sizes[number])), now)
            queued = False
            if self._sinks or number in waiting or number in at_destination:
                part = resolution.part(joined, number)
                if number in at_destination:
                    self._add_counted_at_destination(one, part)
                queued = number in waiting and self._queue_for_retry(one, part, totals, now)
                self._offer(one, part, queued=queued)
            self._add_terms(totals, packets[number], sizes[number], queued=queued)
            self.reporting.add_batch(one.node, one.interval, one.closed, now)

    def _try(self, observed: ObservedFlows, batch: Batch, now: float) -> Exception | None:
        try:
            self._apply(observed, batch, now)
        except Exception as error:  # noqa: BLE001 - of the server: the caller reports it
            return error
        return None

    def _apply(self, observed: ObservedFlows, batch: Batch, now: float) -> None:
        started = self._clocks.timer()
        resolution = self._resolve(observed)  # first: if it raises, no state has changed
        totals = self.node_totals.of(observed.node, now)
        self._add_batch(totals, batch, _sum(batch.flows), now)
        self._account(observed, resolution, totals, now)
        self.reporting.add_batch(observed.node, observed.interval, observed.closed, now)
        self._count_batch(batch, self._clocks.timer() - started)

    def _count_batch(self, batch: Batch, seconds: float) -> None:
        self.stats.batches += 1
        self.stats.flows += len(batch.flows)
        self.stats.apply_seconds.observe(seconds)

    def _add_batch(self, totals: NodeTotals, batch: Batch, accounted: Counts, now: float) -> None:
        totals.touched = now
        mismatch = totals.add_batch(batch.totals, accounted)
        self.stats.mismatched_batches += mismatch != Counts()
        self.stats.mismatched_bytes += mismatch.bytes

    def tick(self) -> bool:
        """Retry flows that are due, expose new series, end old ones; True when more is due."""
        now = self._clocks.now()
        if self._meter is not None:
            self._meter.tick(now)
        if self._opencost is not None:
            self._opencost.sweep(self.index)
        begun_before = self.first_scrape.begun_before(now)
        self.ledger.expose(begun_before)
        self.node_totals.expose(begun_before)
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_SECONDS
            self.node_totals.remove_idle(now - self._node_retention)
            if self._sweep is None:
                self._sweep = self.ledger.sweep_steps(now, self.index.lives)
        if self._sweep is not None:
            self.settle()  # what a sweep ends has its cost
            if next(self._sweep, _DONE) is _DONE:
                self._sweep = None
        retried = 0
        for _ in range(_RETRIES_PER_TICK):
            observed = self.retry_queue.take(now)
            if observed is None:
                return self._sweep is not None
            retried += len(observed.flows)
            resolution = self._resolve(observed)
            totals = self.node_totals.of(observed.node, now)
            totals.release(_sum(observed.flows))
            self._account(observed, resolution, totals, now)
            if retried >= _RETRIED_FLOWS_PER_TICK:
                break
        return True

    def scraped(self, taken: float, *, is_prometheus: bool) -> None:
        """A scrape of the snapshot of the time ``taken`` was received completely."""
        self.first_scrape.scraped(taken, self._clocks.now(), is_prometheus=is_prometheus)

    def settle(self) -> None:
        """Price all that was counted until now."""
        if self._meter is not None:
            self._meter.settle(self._clocks.now())

    def snapshot(self, families: Collection[FamilyName] = tuple(FAMILIES)) -> "AccountingSnapshot":
        """A copy as of now, with the series of ``families`` alone.

        Some milliseconds at hundreds of thousands of series and thousands of nodes.
        """
        self.settle()
        return AccountingSnapshot(
            prices=self._meter.prices() if self._meter is not None else NO_PRICES,
            taken=self._clocks.now(),
            ledger=self.ledger.snapshot(families),
            totals=self.node_totals.snapshot(),
            history=self._recorder.counts() if self._recorder is not None else None,
        )

    def _observed(self, node: str, batch: Batch, now: float) -> ObservedFlows:
        observed = ObservedFlows.of(node, batch, now)
        elsewhere = self.reporting.counted_elsewhere(
            node, observed.opened, observed.closed, is_dormant=observed.is_dormant
        )
        is_late = elsewhere != NOTHING_ELSEWHERE
        return replace(observed, elsewhere=elsewhere) if is_late else observed

    def _resolve(self, observed: ObservedFlows) -> Resolution:
        # A half-full queue is kept for flows that cannot be resolved: no retry of UNSETTLED owners.
        held = not observed.retries_left
        final = held or self.retry_queue.is_half_full
        node, opened, closed = observed.node, observed.opened, observed.closed
        absent = self.reporting.absent_nodes(self._clocks.now())
        return resolve(
            observed.flows,
            node,
            self.index,
            opened,
            closed,
            final=final,
            held=held,
            absent=absent,
        )

    def _account(
        self, observed: ObservedFlows, resolution: Resolution, totals: NodeTotals, now: float
    ) -> None:
        """Add every flow to exactly one of the node's totals."""
        if observed.is_late:
            observed = self._account_late(observed, resolution, totals, now)
        flows = observed.flows
        self.ledger.add(resolution, flows.bytes, self.index, now)
        self.stats.assumed = self.stats.assumed.plus(assumed(flows, resolution))
        if resolution.counted_at_destination.any():
            self._add_counted_at_destination(observed, resolution)
        packets, sizes = resolution.by_verdict(flows.packets, flows.bytes)
        queued = not observed.is_late and self._queue_for_retry(observed, resolution, totals, now)
        self._add_terms(totals, packets.tolist(), sizes.tolist(), queued=queued)
        if sizes[v.UNKNOWN_NODE] and not queued:
            self._unknown_nodes.warn(observed.node)
        self._offer(observed, resolution, queued=queued)

    def _add_terms(
        self, totals: NodeTotals, packets: list[int], sizes: list[int], *, queued: bool
    ) -> None:
        """Add counts by verdict, except those of flows that were queued."""
        for code, counts in enumerate(map(Counts, packets, sizes)):
            if counts != NOTHING and not (queued and v.MAY_RESOLVE_LATER[code]):
                _add(totals, code, counts)

    def _offer(self, observed: ObservedFlows, resolution: Resolution, *, queued: bool) -> None:
        if not self._sinks:
            return
        logged = resolution.verdict != v.TRANSIT
        if queued:
            logged &= ~v.MAY_RESOLVE_LATER[resolution.verdict]
        if observed.is_late:
            logged &= observed.flows.packets > 0
        settled = np.flatnonzero(logged)
        for sink in self._sinks:
            sink.offer(observed, resolution, settled, self.index)

    def _add_counted_at_destination(self, observed: ObservedFlows, resolution: Resolution) -> None:
        chosen = np.flatnonzero(resolution.counted_at_destination.ravel().take(resolution.cell))
        rows, sizes = resolution.src.take(chosen), observed.flows.bytes.take(chosen)
        by_row = sums(rows, sizes, len(resolution.endpoints))
        by_node: Counter[str] = Counter()
        for row in np.flatnonzero(by_row).tolist():
            by_node[self.index.endpoint(int(resolution.endpoints[row])).node] += int(by_row[row])
        self.reporting.add_counted_at_destination(by_node, observed.opened, observed.closed)

    def _account_late(
        self, observed: ObservedFlows, resolution: Resolution, totals: NodeTotals, now: float
    ) -> ObservedFlows:
        """``observed`` without what others counted of it, which is transit or `LATE`.

        It is divided once all flows are resolved: until then all that may be part of it are queued.
        """
        may_resolve = v.MAY_RESOLVE_LATER[resolution.verdict]
        to_others = resolution.to_other_agents()
        if observed.retries_left and may_resolve.any():
            chosen = np.flatnonzero(may_resolve | to_others)
            if self._queue(observed, chosen, totals, now):
                left = np.ones(len(may_resolve), np.uint64)
                left[chosen] = 0
                return _with_counts(
                    observed, observed.flows.packets * left, observed.flows.bytes * left
                )
            self.stats.retry_overflow_flows += int(may_resolve.sum())
        return _divide_late(observed, np.flatnonzero(to_others), totals)

    def _queue_for_retry(
        self, observed: ObservedFlows, resolution: Resolution, totals: NodeTotals, now: float
    ) -> bool:
        """Whether all flows that may resolve later were queued."""
        if not observed.retries_left or not v.MAY_RESOLVE_LATER[resolution.verdicts].any():
            return False
        chosen = np.flatnonzero(v.MAY_RESOLVE_LATER[resolution.verdict])
        if not chosen.size:
            return False
        if not self._queue(observed, chosen, totals, now):
            self.stats.retry_overflow_flows += len(chosen)
            return False
        return True

    def _queue(self, observed: ObservedFlows, chosen: I64, totals: NodeTotals, now: float) -> bool:
        later = observed.for_retry(chosen)
        if not self.retry_queue.put(later, now):
            return False
        totals.hold(_sum(later.flows))
        return True


@dataclass(slots=True, eq=False)
class _Group:
    """Batches of different nodes that are applied together, at the time ``now``."""

    now: float
    batches: list[tuple[ObservedFlows, Batch]] = field(default_factory=list)
    nodes: set[str] = field(default_factory=set)
    flows: int = 0

    def add(self, observed: ObservedFlows, batch: Batch) -> None:
        self.batches.append((observed, batch))
        self.nodes.add(observed.node)
        self.flows += len(observed.flows)


@dataclass(frozen=True, slots=True, eq=False)
class AccountingSnapshot:
    """All that is counted, at the time ``taken`` between two batches."""

    taken: float
    ledger: LedgerSnapshot
    totals: tuple[NodeTotalsSnapshot, ...]
    prices: PricesInUse = NO_PRICES
    history: HistoryCounts | None = None

    @staticmethod
    def of(
        pipeline: Pipeline, families: Collection[FamilyName] = tuple(FAMILIES)
    ) -> "AccountingSnapshot":
        """A copy as of now, with the series of ``families`` alone."""
        return pipeline.snapshot(families)


def _parts_with(joined: JoinedFlows, marked: BOOL, values: I64 | U8) -> set[int]:
    """The parts with a flow whose value is ``marked``."""
    if not marked.any():
        return set()
    return set(joined.part.compress(marked.take(values)).tolist())


def _divide_late(observed: ObservedFlows, chosen: I64, totals: NodeTotals) -> ObservedFlows:
    """Take what others counted from the flows ``chosen``: it is transit, or `LATE` if unclear."""
    flows, elsewhere = observed.flows, observed.elsewhere
    sizes, packets = flows.bytes.take(chosen), flows.packets.take(chosen)
    total = int(sizes.sum())
    if not total:
        return observed
    transit = elsewhere.certain if elsewhere.certain <= total else 0
    part = total if not transit and elsewhere.certain else min(sum(elsewhere), total)
    # Exactly ``part`` in sum: the differences of the rounded running sums.
    ends = [0, *(end * part // total for end in accumulate(sizes.tolist()))]
    taken = np.array([end - begin for begin, end in pairwise(ends)], np.uint64)
    share = taken / np.maximum(sizes, np.uint64(1))
    fewer = np.where(taken == sizes, packets, np.floor(packets * share).astype(np.uint64))
    in_transit = Counts(int(fewer.sum()) * transit // max(part, 1), transit)
    totals.add("transit", "", in_transit)
    late = Counts(int(fewer.sum()) - in_transit.packets, part - transit)
    totals.add("unresolved", LATE, late)
    left_bytes, left_packets = flows.bytes.copy(), flows.packets.copy()
    left_bytes[chosen] -= taken
    left_packets[chosen] -= fewer
    return _with_counts(observed, left_packets, left_bytes)


def _with_counts(observed: ObservedFlows, packets: U64, sizes: U64) -> ObservedFlows:
    return replace(observed, flows=replace(observed.flows, packets=packets, bytes=sizes))


def _add(totals: NodeTotals, code: int, counts: Counts) -> None:
    if code < v.TRANSIT:
        totals.add("attributed", "", counts)
    elif code == v.TRANSIT:
        totals.add("transit", "", counts)
    else:
        totals.add("unresolved", v.NAMES[code], counts)


def _sum(flows: Flows) -> Counts:
    return Counts(int(flows.packets.sum()), int(flows.bytes.sum()))
