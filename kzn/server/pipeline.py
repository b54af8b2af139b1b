"""Applies a batch: node totals, resolve, ledger, retry queue, flow log.

In: each batch once (the receiver drops duplicates), and timer ticks.
Out: the ledger, the node totals and the retry queue, changed together.
Never: awaits, I/O, a byte that is missing from its node's totals.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from kzn.columns.arrays import BOOL, I64, U8
from kzn.daemon.logs import RateLimited, RateLimitedNames
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.endpoint import NO_CODE, EndpointIndex
from kzn.model.totals import Counts
from kzn.server.changes import Changes, amounts_of, changes_of, changes_of_part, counts_of
from kzn.server.ledger.family import FAMILIES, FamilyName, LedgerSnapshot
from kzn.server.ledger.first_scrape import FirstScrape
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.node_totals import ERROR, NodeTotalsSnapshot, TotalsByNode
from kzn.server.ledger.postings import BilledApart, Posting
from kzn.server.ledger.prices_in_use import NO_PRICES, PricesInUse
from kzn.server.resolve import verdict as v
from kzn.server.resolve.assumed import assumed
from kzn.server.resolve.joined import JoinedFlows, join
from kzn.server.resolve.reporting import NOTHING_ELSEWHERE, ReportingNodes, StandIn
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.resolve import resolve, resolve_joined
from kzn.server.resolve.retry import ObservedFlows, RetryQueue
from kzn.server.sinks import FlowSink, Meter, OpenCostSink, RecorderSink
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
        sinks = {"flow_log": flow_log, "opencost": opencost}
        self._sinks: dict[str, FlowSink] = {
            name: sink for name, sink in sinks.items() if sink is not None
        }
        """Those that take each batch by itself."""
        self._all_sinks = dict(self._sinks)
        if recorder is not None:
            self._all_sinks["history"] = recorder
        self._errors = RateLimited(_LOG, clock=clocks.now, level=logging.ERROR)
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
        if self.reporting.absent_nodes(group.now).has(code):
            return False
        return self.retry_queue.stays_half_empty(
            group.flows + len(observed.flows), len(group.nodes) + 1
        )

    def _apply_group(self, group: "_Group") -> list[Exception | None]:
        if len(group.batches) < 2:
            return [self._try(one, batch, group.now) for one, batch in group.batches]
        started = self._clocks.timer()
        try:
            found = self._changes_of_group(group)
        except Exception:  # noqa: BLE001 - it is raised again by the batch that caused it
            return [self._try(one, batch, group.now) for one, batch in group.batches]
        self._step("ledger", self.ledger.post, found.postings, group.now)
        self._step("history", self._record, found, group)
        for (_, batch), (change, accounted) in zip(group.batches, found.changes, strict=True):
            self._change(batch, accounted, change, group.now)
            self._offer(self._sinks, change)
        took = (self._clocks.timer() - started) / len(group.batches)
        for _, batch in group.batches:
            self._count_batch(batch, took)
        return [None] * len(group.batches)

    def _record(self, found: "_GroupChanges", group: "_Group") -> None:
        """Offer all settled flows of a group to the recorder at once."""
        if self._recorder is None:
            return
        verdict, part = found.resolution.verdict, found.joined.part
        settled = verdict != v.TRANSIT
        queued = np.array([change.later is not None for change, _ in found.changes])
        if queued.any():
            settled &= ~(v.MAY_RESOLVE_LATER.take(verdict) & queued.take(part))
        self._recorder.offer_joined(
            found.joined.table,
            [one.closed for one, _ in group.batches],
            part,
            found.resolution,
            np.flatnonzero(settled),
            self.index,
        )

    def _changes_of_group(self, group: "_Group") -> "_GroupChanges":
        """What the batches change; no state has changed."""
        now = group.now
        joined = join([one.flows for one, _ in group.batches])
        resolution = self._resolve_group(joined, group)
        flows = joined.table
        postings = self.ledger.postings(resolution, flows.bytes, self.index, now)
        by_part = resolution.by_part(joined.part, len(group.batches), flows.packets, flows.bytes)
        packets, sizes = (column.tolist() for column in by_part)
        waiting = _parts_with(joined, v.MAY_RESOLVE_LATER, resolution.verdict)
        counted_here = _parts_with(
            joined, resolution.counted_at_destination.ravel(), resolution.cell
        )
        changes = []
        for number, (one, _) in enumerate(group.batches):
            accounted = Counts(sum(packets[number]), sum(sizes[number]))
            if self._sinks or number in waiting or number in counted_here:
                change = changes_of_part(
                    one,
                    resolution.part(joined, number),
                    packets[number],
                    sizes[number],
                    self.retry_queue,
                    self.index,
                    has_sinks=bool(self._sinks),
                    may_wait=number in waiting,
                )
            else:
                change = Changes(one, resolution, amounts_of(packets[number], sizes[number]))
            changes.append((change, accounted))
        first, accounted = changes[0]
        changes[0] = replace(first, assumed=assumed(flows, resolution)), accounted
        return _GroupChanges(joined, resolution, postings, changes)

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

    def _try(self, observed: ObservedFlows, batch: Batch, now: float) -> Exception | None:
        try:
            self._apply(observed, batch, now)
        except Exception as error:  # noqa: BLE001 - of the server: the caller reports it
            return error
        return None

    def _apply(self, observed: ObservedFlows, batch: Batch, now: float) -> None:
        started = self._clocks.timer()
        accounted = counts_of(batch.flows)
        found, change = self._changes_of(observed, now)
        self._step("ledger", self.ledger.post, found, now)
        self._change(batch, accounted, change, now)
        self._offer(self._all_sinks, change)
        self._count_batch(batch, self._clocks.timer() - started)

    def _changes_of(
        self, observed: ObservedFlows, now: float
    ) -> tuple[list[Posting | BilledApart], Changes]:
        """What the flows change; no state has changed."""
        change = changes_of(
            observed,
            self._resolve(observed),
            self.retry_queue,
            self.index,
            has_sinks=bool(self._all_sinks),
        )
        sizes = change.observed.flows.bytes
        return self.ledger.postings(change.resolution, sizes, self.index, now), change

    def _change(self, batch: Batch, accounted: Counts, change: Changes, now: float) -> None:
        """Apply what a batch changes apart from the ledger."""
        self._step("totals", self._add_batch, batch, accounted, change.observed, now)
        self._step("totals", self._add, change, now)
        observed = change.observed
        self._step(
            "reporting",
            self.reporting.add_batch,
            observed.node,
            observed.interval,
            observed.closed,
            now,
        )

    def _step(self, part: str, step: Callable[..., None], *arguments: object) -> None:
        """Change a part of the state that the others do not depend on.

        The batch is acknowledged even if that fails, since other parts have counted it: sent again
        they would count it twice.
        """
        try:
            step(*arguments)
        except Exception as error:  # noqa: BLE001 - of the server: counted and logged
            self._failed(part, error)

    def _failed(self, part: str, error: Exception) -> None:
        self.stats.errors[part] += 1
        self._errors.warn(part, "flows are missing in the %s, an error of kzn: %r", part, error)
        _LOG.debug("%s: %r", part, error, exc_info=error)

    def _count_batch(self, batch: Batch, seconds: float) -> None:
        self.stats.batches += 1
        self.stats.flows += len(batch.flows)
        self.stats.apply_seconds.observe(seconds)

    def _add_batch(
        self, batch: Batch, accounted: Counts, observed: ObservedFlows, now: float
    ) -> None:
        totals = self.node_totals.of(observed.node, now)
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
            self._retry(observed, now)
            if retried >= _RETRIED_FLOWS_PER_TICK:
                break
        return True

    def _retry(self, observed: ObservedFlows, now: float) -> None:
        totals = self.node_totals.of(observed.node, now)
        counts = counts_of(observed.flows)
        totals.release(counts)
        try:
            found, change = self._changes_of(observed, now)
        except Exception as error:  # noqa: BLE001 - of the server: counted and logged
            self._failed("retry", error)
            totals.add("unresolved", ERROR, counts)
            return
        self._step("ledger", self.ledger.post, found, now)
        self._step("totals", self._add, change, now)
        self._offer(self._all_sinks, change)

    def scraped(self, taken: float, *, is_prometheus: bool, by: str) -> None:
        """A scrape of the snapshot of the time ``taken`` was received completely by ``by``."""
        now = self._clocks.now()
        self.first_scrape.scraped(taken, now, is_prometheus=is_prometheus, by=by)

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

    def _add(self, change: Changes, now: float) -> None:
        """Add every flow to exactly one of the node's totals."""
        observed = change.observed
        totals = self.node_totals.of(observed.node, now)
        for amount in change.amounts:
            totals.add(*amount)
        if change.later is not None and self.retry_queue.put(change.later, now):
            totals.hold(change.held)
        self.stats.retry_overflow_flows += change.overflow_flows
        self.stats.assumed = self.stats.assumed.plus(change.assumed)
        if change.counted_here is not None:
            self.reporting.add_counted_at_destination(
                change.counted_here, observed.opened, observed.closed
            )
        if change.is_node_unknown:
            self._unknown_nodes.warn(observed.node)

    def _offer(self, sinks: Mapping[str, FlowSink], change: Changes) -> None:
        if change.settled is None:
            return
        for name, sink in sinks.items():
            self._step(
                name, sink.offer, change.observed, change.resolution, change.settled, self.index
            )


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
class _GroupChanges:
    """``changes`` are those of each batch, with the counts of its flows."""

    joined: JoinedFlows
    resolution: Resolution
    postings: list[Posting | BilledApart]
    changes: list[tuple[Changes, Counts]]


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
