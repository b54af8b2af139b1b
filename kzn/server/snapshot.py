"""An immutable copy of all state that the server exposes, for rendering in other threads.

In: the pipeline and other sources, read on the event loop. Out: a `ServerSnapshot`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kzn.daemon.http.stats import HttpStats
from kzn.reports.budget import BudgetState
from kzn.server.advice import AdviceSums
from kzn.server.auth.authenticator import SecurityState
from kzn.server.cost.opencost import OpenCostCounters, OpenCostSnapshot
from kzn.server.flows.queue import LogCounts
from kzn.server.ledger.family import LedgerSnapshot
from kzn.server.ledger.node_totals import NodeTotalsSnapshot
from kzn.server.ledger.prices_in_use import NO_PRICES, PricesInUse
from kzn.server.pipeline import AccountingSnapshot, Pipeline
from kzn.server.prices import PriceReads
from kzn.server.receive.live_agents import Waiting
from kzn.server.receive.stats import ReceiveStats
from kzn.server.resolve.reporting import BatchAges, ReportingCounts
from kzn.server.state.group_commit import CommitStats
from kzn.server.stats import HistoryCounts, PipelineStats
from kzn.server.topology import SourceState, why_waiting
from kzn.sinks.spool import SinkCounts
from kzn.topology.groups import WorkloadGroups, WorkloadName


@dataclass(frozen=True, slots=True, eq=False)
class ServerSnapshot:
    """State at one moment of the event loop, so that its numbers are consistent.

    ``taken`` is when the ledger and the node totals were copied.
    """

    taken: float
    ledger: LedgerSnapshot
    totals: tuple[NodeTotalsSnapshot, ...]
    now: float
    """On the clock of the pipeline, as `NodeTotalsSnapshot.touched`."""
    pipeline: PipelineStats
    held_flows: int
    receiver: ReceiveStats
    sources: tuple[SourceState, ...]
    flow_log: LogCounts
    security: SecurityState = SecurityState()
    state: CommitStats | None = None
    """None if the server has no state file."""
    instance: int = 0
    """The number of this ledger, by which agents know it."""
    coverage: ReportingCounts = ReportingCounts()
    batch_ages: BatchAges = BatchAges()
    """Seconds since the last batch of each node of the topology that should send some."""
    scrapes: int = 0
    created_lines: bool = True
    http: HttpStats = field(default_factory=HttpStats)
    price_reads: PriceReads = PriceReads()
    prices: PricesInUse = NO_PRICES
    opencost: OpenCostSnapshot | None = None
    """None without ``--opencost``."""
    history: HistoryCounts | None = None
    """None without a history."""
    budgets: tuple[BudgetState, ...] = ()
    cluster: str = ""
    """Its name or uid; empty if that is not known."""
    groups: Mapping[WorkloadName, str] | None = None
    """The teams of workloads, None if groups are not told (topology/groups.py)."""
    sinks: tuple[SinkCounts, ...] = ()
    advice: AdviceSums = AdviceSums()
    waiting: Waiting = Waiting()

    @property
    def why_not_ready(self) -> str:
        """The topology sources that are not synced yet, as text; empty if all are."""
        waiting = [source for source in self.sources if not source.is_ready]
        return "; ".join(map(why_waiting, waiting))


@dataclass(frozen=True, slots=True)
class Sources:
    """The objects that a snapshot copies from."""

    pipeline: Pipeline
    receiver: Callable[[], ReceiveStats]
    topology: Callable[[], tuple[SourceState, ...]]
    flow_log: Callable[[], LogCounts]
    security: Callable[[], SecurityState] = SecurityState
    state: Callable[[], CommitStats | None] = lambda: None
    created_lines: bool = True
    instance: int = 0
    opencost: OpenCostCounters | None = None
    http: Callable[[], HttpStats] = HttpStats
    prices: Callable[[], PriceReads] = PriceReads
    cluster: Callable[[], str] = str
    budgets: Callable[[], tuple[BudgetState, ...]] = tuple
    groups: WorkloadGroups = field(default_factory=WorkloadGroups)
    sinks: Callable[[], tuple[SinkCounts, ...]] = tuple
    advice: Callable[[], AdviceSums] = AdviceSums
    waiting: Callable[[], Waiting] = Waiting

    def snapshot(self, counted: AccountingSnapshot, now: float) -> ServerSnapshot:
        """A snapshot as of ``now``; ``counted`` may have been taken slightly earlier."""
        pipeline = self.pipeline
        return ServerSnapshot(
            taken=counted.taken,
            scrapes=pipeline.first_scrape.scrapes,
            created_lines=self.created_lines,
            ledger=counted.ledger,
            totals=counted.totals,
            now=now,
            pipeline=pipeline.stats.copy(),
            held_flows=pipeline.retry_queue.flows,
            coverage=pipeline.reporting.counts(now),
            batch_ages=pipeline.reporting.ages(now),
            receiver=self.receiver(),
            sources=self.topology(),
            flow_log=self.flow_log(),
            security=self.security(),
            state=self.state(),
            instance=self.instance,
            http=self.http(),
            price_reads=self.prices(),
            prices=counted.prices,
            history=counted.history,
            cluster=self.cluster(),
            budgets=self.budgets(),
            groups=self.groups.copy() if self.groups.is_used else None,
            sinks=self.sinks(),
            advice=self.advice(),
            waiting=self.waiting(),
            opencost=self.opencost.snapshot(pipeline.first_scrape.begun_before(now))
            if self.opencost is not None
            else None,
        )
