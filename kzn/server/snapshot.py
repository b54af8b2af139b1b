"""A copy of all that the server shows, taken on the event loop, read by any thread."""

from collections.abc import Callable
from dataclasses import dataclass

from kzn.model.totals import Counts
from kzn.server.auth.authenticator import SecurityState
from kzn.server.flows.queue import LogCounts
from kzn.server.ledger.family import LedgerSnapshot
from kzn.server.ledger.node_totals import NodeTotalRow
from kzn.server.pipeline import AccountingSnapshot, Pipeline
from kzn.server.receive.stats import ReceiveStats
from kzn.server.resolve.reporting import ReportingCounts
from kzn.server.state.group_commit import CommitStats
from kzn.server.stats import PipelineStats
from kzn.server.topology import SourceState, why_waiting


@dataclass(frozen=True, slots=True)
class NodeHeld:
    """What a node has on hold, and how long ago its last batch came (seconds)."""

    node: str
    held: Counts
    age: float


@dataclass(frozen=True, slots=True, eq=False)
class ServerSnapshot:
    """Everything at one moment of the event loop, so that all numbers fit together."""

    ledger: LedgerSnapshot
    node_totals: list[NodeTotalRow]
    nodes: list[NodeHeld]
    pipeline: PipelineStats
    held_flows: int
    receiver: ReceiveStats
    sources: tuple[SourceState, ...]
    flow_log: LogCounts
    security: SecurityState = SecurityState()
    state: CommitStats | None = None
    """None without a state file."""
    coverage: ReportingCounts = ReportingCounts()

    @property
    def why_not_ready(self) -> str:
        """Why the topology cannot be trusted yet; empty when it can."""
        waiting = [source for source in self.sources if not source.is_ready]
        return "; ".join(map(why_waiting, waiting))


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a snapshot is taken from."""

    pipeline: Pipeline
    receiver: Callable[[], ReceiveStats]
    topology: Callable[[], tuple[SourceState, ...]]
    flow_log: Callable[[], LogCounts]
    security: Callable[[], SecurityState] = SecurityState
    state: Callable[[], CommitStats | None] = lambda: None

    def snapshot(self, counted: AccountingSnapshot, now: float) -> ServerSnapshot:
        """Everything as of ``now``, but for what is counted: that may be of a moment ago."""
        pipeline = self.pipeline
        return ServerSnapshot(
            ledger=counted.ledger,
            node_totals=counted.node_totals,
            nodes=[
                NodeHeld(node, held, max(0.0, now - touched))
                for node, held, touched in counted.nodes
            ],
            pipeline=pipeline.stats.copy(),
            held_flows=pipeline.retry_queue.flows,
            coverage=pipeline.reporting.counts(now),
            receiver=self.receiver(),
            sources=self.topology(),
            flow_log=self.flow_log(),
            security=self.security(),
            state=self.state(),
        )
