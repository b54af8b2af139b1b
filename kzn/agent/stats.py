"""What the agent counts about itself, and the Prometheus families made of it at scrape time."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kzn.agent.deliver.connection import ShipStats
from kzn.model.batch import Batch
from kzn.model.totals import Totals

BYTES = "L3 bytes on the wire (docs/accuracy.md)"


@dataclass(slots=True)
class AgentStats:
    """Running numbers of one agent process; the event loop alone writes them."""

    probe: str
    interval: float
    capacity: int = 0
    attached: tuple[str, ...] = ()
    uplinks: int = 0
    coverage: float | None = None
    """How much of what left by the uplinks the hook saw; None while that cannot be told."""
    uncounted_bytes: int = 0
    """Bytes that may be in no batch, because another probe gave way at the start."""
    batches: int = 0
    flows: int = 0
    last_flows: int = 0
    last_cut: float = 0.0
    """Wall-clock seconds of the last cut; 0 before the first."""
    cut_seconds: float = 0.0
    cut_failures: int = 0
    failing: str = ""
    """Why the last cut failed; empty when it did not."""
    mismatches: int = 0
    delivery: ShipStats = field(default_factory=ShipStats)
    packets: Counter[tuple[str, str]] = field(default_factory=Counter)
    bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind ("seen", "missed", "ignored") and reason."""

    def unhealthy_reason(self) -> str:
        """What is wrong with this agent, if anything; the server's absence is not its fault."""
        return f"cutting batches fails: {self.failing}" if self.failing else ""

    def fail(self, reason: str) -> None:
        """A cut failed."""
        self.cut_failures += 1
        self.failing = reason

    def add(self, batch: Batch, seconds: float, wall: float) -> None:
        """Count a batch, once, when it is first cut."""
        self.failing = ""
        self.batches += 1
        self.flows += len(batch.flows)
        self.last_flows = len(batch.flows)
        self.cut_seconds += seconds
        self.last_cut = wall
        self._add_totals(batch.totals)

    def _add_totals(self, totals: Totals) -> None:
        rows = [(("seen", ""), totals.seen)]
        rows += [(("missed", reason), counts) for reason, counts in totals.missed.items()]
        rows += [(("ignored", reason), counts) for reason, counts in totals.ignored.items()]
        for key, counts in rows:
            self.packets[key] += counts.packets
            self.bytes[key] += counts.bytes


class AgentCollector(Collector):
    """Families of `AgentStats`."""

    def __init__(self, stats: AgentStats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """All families, from the numbers of this moment."""
        stats = self._stats
        yield from self._traffic()
        yield _counter("kzn_agent_batches", "Batches cut from the kernel's buffers.", stats.batches)
        yield _counter("kzn_agent_flows", "Flows in all batches cut.", stats.flows)
        yield _counter("kzn_agent_cut_seconds", "Time spent on cutting batches.", stats.cut_seconds)
        yield _counter("kzn_agent_cut_failures", "Cuts that failed.", stats.cut_failures)
        yield _counter(
            "kzn_agent_mismatches",
            "Batches whose flows did not add up to their totals; not 0 is a defect of kzn.",
            stats.mismatches,
        )
        yield _gauge("kzn_agent_flows_last", "Flows in the last batch.", stats.last_flows)
        yield _gauge("kzn_agent_flows_capacity", "Flows that a buffer can hold.", stats.capacity)
        yield _gauge(
            "kzn_agent_last_cut_timestamp_seconds",
            "Unix time of the last cut, 0 before the first.",
            stats.last_cut,
        )
        yield _gauge("kzn_agent_interval_seconds", "Seconds between two cuts.", stats.interval)
        yield _gauge(
            "kzn_agent_uplinks",
            "Interfaces known to lead off this node; 0 while that is not certain.",
            stats.uplinks,
        )
        hooks = GaugeMetricFamily(
            "kzn_agent_hook_attached", "1 for each hook attached.", labels=["probe", "hook"]
        )
        for hook in stats.attached:
            hooks.add_metric([stats.probe, hook], 1)
        yield hooks
        yield _counter(
            "kzn_agent_switch_uncounted_bytes",
            f"{BYTES} that passed while another probe gave way to this one, at most.",
            stats.uncounted_bytes,
        )
        coverage = GaugeMetricFamily(
            "kzn_agent_hook_coverage_ratio",
            "Bytes that the hook saw leave by the uplinks, by what these sent;"
            " absent while that cannot be told.",
        )
        if stats.coverage is not None:
            coverage.add_metric([], stats.coverage)
        yield coverage
        yield from self._delivery()

    def _delivery(self) -> Iterator[Metric]:
        stats = self._stats.delivery
        yield _gauge("kzn_agent_connected", "1 while a server is connected.", stats.connected)
        yield _counter("kzn_agent_connects", "Connections that a server welcomed.", stats.connects)
        yield _counter("kzn_agent_sent", "Batches sent, each try counted.", stats.sent)
        yield _counter("kzn_agent_sent_bytes", "Bytes sent to the server.", stats.sent_bytes)
        yield _counter("kzn_agent_acked", "Batches that the server acknowledged.", stats.acked)
        yield _counter(
            "kzn_agent_duplicates",
            "Acknowledged batches that the server had applied before.",
            stats.duplicates,
        )
        yield _counter(
            "kzn_agent_failover_batches",
            "Batches sent to another server because the first one stayed away: perhaps doubled.",
            stats.failovers,
        )
        failures = CounterMetricFamily(
            "kzn_agent_delivery_failures", "Tries to deliver that failed.", labels=["reason"]
        )
        for reason, count in sorted(stats.failures.items()):
            failures.add_metric([reason], count)
        yield failures

    def _traffic(self) -> Iterator[Metric]:
        for kind, text in (
            ("seen", "that the hook saw"),
            ("missed", "that the hook saw and could not account, by reason"),
            ("ignored", "that the hook saw and that cannot cross a zone, by reason"),
        ):
            labels = [] if kind == "seen" else ["reason"]
            packets = CounterMetricFamily(
                f"kzn_agent_{kind}_packets", f"Packets {text}.", labels=labels
            )
            size = CounterMetricFamily(f"kzn_agent_{kind}_bytes", f"{BYTES} {text}.", labels=labels)
            for (its_kind, reason), count in sorted(self._stats.packets.items()):
                if its_kind == kind:
                    values = [reason] if labels else []
                    packets.add_metric(values, count)
                    size.add_metric(values, self._stats.bytes[its_kind, reason])
            yield packets
            yield size


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
