"""Counters of the HTTP server, and their metrics."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from kzn.daemon.metrics import Metric, MetricSamples, single


@dataclass(slots=True)
class HttpStats:
    """Open connections; requests refused and connections cut since the start, by reason."""

    connections: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def copy(self) -> "HttpStats":
        """A copy that does not change."""
        return HttpStats(self.connections, Counter(self.refused))


def http_metrics(component: str, stats: HttpStats) -> Iterator[MetricSamples]:
    """The metrics of a component's port for HTTP (agent or server)."""
    yield single(
        f"kzn_{component}_http_connections", "gauge", "Open HTTP connections.", stats.connections
    )
    yield MetricSamples(
        Metric(
            f"kzn_{component}_http_refused_total",
            "counter",
            ("reason",),
            "HTTP requests refused and connections cut, by reason.",
        ),
        [((reason,), number) for reason, number in sorted(stats.refused.items())],
    )
