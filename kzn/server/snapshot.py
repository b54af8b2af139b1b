"""A copy of all that the server shows, taken on the event loop, read by any thread."""

from collections.abc import Callable
from dataclasses import dataclass

from kzn.model.totals import Counts
from kzn.server.desk import ReceiveStats
from kzn.server.families import LedgerSnapshot
from kzn.server.flowlog import LogCounts
from kzn.server.identity import BookRow
from kzn.server.pipeline import Pipeline
from kzn.server.stats import PipelineStats
from kzn.topology.source import TopologyStats


@dataclass(frozen=True, slots=True)
class SourceState:
    """One source of topology: ``kubernetes`` or ``static``."""

    name: str
    is_ready: bool
    stats: TopologyStats


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
    books: list[BookRow]
    nodes: list[NodeHeld]
    pipeline: PipelineStats
    held_flows: int
    receiver: ReceiveStats
    sources: tuple[SourceState, ...]
    flow_log: LogCounts

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

    def snapshot(self, now: float) -> ServerSnapshot:
        """Everything as of ``now``; some milliseconds at hundreds of thousands of series."""
        pipeline = self.pipeline
        return ServerSnapshot(
            ledger=pipeline.ledger.snapshot(),
            books=pipeline.books.rows(),
            nodes=[
                NodeHeld(node, book.held, max(0.0, now - book.touched))
                for node, book in pipeline.books.items()
            ],
            pipeline=pipeline.stats.copy(),
            held_flows=pipeline.hold.flows,
            receiver=self.receiver(),
            sources=self.topology(),
            flow_log=self.flow_log(),
        )


def why_waiting(source: SourceState) -> str:
    """What a source that is not ready is waiting for."""
    missing = [r.resource for r in source.stats.resources if not r.is_listed]
    what = f"the first full list of {', '.join(missing)}" if missing else "its first full list"
    return f"the {source.name} topology is waiting for {what}"
