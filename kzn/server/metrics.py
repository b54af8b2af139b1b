"""The server's metric families, built from a snapshot when they are scraped.

In: a snapshot. Out: families; docs/metrics.md is the contract, and a test compares the two.
Never: a global registry, a look at anything that the event loop may be changing.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate, chain

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from kzn.daemon.registry import new_registry
from kzn.server.selfmetrics import own
from kzn.server.snapshot import ServerSnapshot
from kzn.server.spec import Sample, Spec
from kzn.server.stats import Histogram
from kzn.server.traffic import traffic


class SnapshotCollector(Collector):
    """The families of one snapshot."""

    def __init__(self, snapshot: ServerSnapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not build all families once for their names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families with their samples."""
        for spec, samples in chain(traffic(self._snapshot), own(self._snapshot)):
            yield _family(spec, samples)
        yield _resolve_seconds(self._snapshot.pipeline.resolve_seconds)


def render(snapshot: ServerSnapshot, accept: str) -> tuple[bytes, str]:
    """The text of a scrape and its content type, by what the scraper accepts; for a thread."""
    registry = new_registry("server")
    registry.register(SnapshotCollector(snapshot))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _family(spec: Spec, samples: Iterable[Sample]) -> Metric:
    make = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
    family = make(spec.name, spec.help, labels=spec.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _resolve_seconds(histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(
        "kzn_server_resolve_seconds", "Time to apply a batch, from decoded flows to the ledger."
    )
    bounds = [*map(str, histogram.bounds), "+Inf"]
    counts = accumulate(histogram.counts)
    family.add_metric([], list(zip(bounds, counts, strict=True)), histogram.sum)
    return family
