"""The pipeline's counters: plain numbers, read by each scrape."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kzn.model.settled import ByClass, Sum, added

PARTS = ("ledger", "totals", "reporting", "retry", "flow_log", "history", "opencost")
"""The parts of the server that take a batch; the last three are sinks."""
APPLY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Upper bounds in seconds; a batch of 10,000 flows takes about one millisecond."""


@dataclass(slots=True)
class Histogram:
    """Observations by bucket, not cumulative; the last bucket has those above all bounds."""

    bounds: tuple[float, ...] = APPLY_BUCKETS
    counts: list[int] = field(default_factory=lambda: [0] * (len(APPLY_BUCKETS) + 1))
    sum: float = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def copy(self) -> "Histogram":
        """A copy that later observations do not change."""
        return Histogram(self.bounds, list(self.counts), self.sum)


class AssumedBytes(NamedTuple):
    """Bytes of flows; a flow is in one of them at most.

    ``from_no_node``: a tunnel delivered them from an address that no node has. They are transit, as
    if a node had encapsulated and counted them (an egress gateway's answers); from a VPN whose far
    end is outside the cluster no node counts them.
    ``far_end_unknown``: a tunnel of the node carries them to an address without an owner. They
    count as going to the inner destination; to a collector of mirrors that the topology does not
    know they do not.
    """

    from_no_node: int = 0
    far_end_unknown: int = 0

    def plus(self, other: "AssumedBytes") -> "AssumedBytes":
        """The sums."""
        return AssumedBytes(
            self.from_no_node + other.from_no_node, self.far_end_unknown + other.far_end_unknown
        )


@dataclass(slots=True)
class PipelineStats:
    """Counts since the server started."""

    batches: int = 0
    flows: int = 0
    retry_overflow_flows: int = 0
    mismatched_batches: int = 0
    mismatched_bytes: int = 0
    apply_seconds: Histogram = field(default_factory=Histogram)
    assumed: AssumedBytes = AssumedBytes()
    errors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    """Batches that a part of the server failed to take."""

    def copy(self) -> "PipelineStats":
        """A copy that later batches do not change."""
        return PipelineStats(
            self.batches,
            self.flows,
            self.retry_overflow_flows,
            self.mismatched_batches,
            self.mismatched_bytes,
            self.apply_seconds.copy(),
            self.assumed,
            dict(self.errors),
        )


@dataclass(frozen=True, slots=True)
class HistoryCounts:
    """The books at one moment; sums by class."""

    ledger: ByClass = field(default_factory=dict)
    recorded: ByClass = field(default_factory=dict)
    dropped: Mapping[str, ByClass] = field(default_factory=dict)
    lost: ByClass = field(default_factory=dict)
    open: ByClass = field(default_factory=dict)
    lost_before: ByClass = field(default_factory=dict)
    """Of the server before this one, whose ledger ended with it."""
    segments: int = 0
    write_seconds: float = 0.0
    writer_starts: int = 0
    until: int = 0
    """All flows of before this time are written, dropped or lost."""
    failed_merges: Mapping[str, int] = field(default_factory=dict)
    """By reason."""

    def missing(self) -> ByClass:
        """By which each class does not add up; empty, or there is a defect."""
        parts = added(self.recorded, *self.dropped.values(), self.lost, self.open)
        names = self.ledger.keys() | parts.keys()
        found = {n: self.ledger.get(n, Sum()).minus(parts.get(n, Sum())) for n in names}
        return {name: amount for name, amount in found.items() if amount != Sum()}
