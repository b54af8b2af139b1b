"""The server's metric families, built from a snapshot when they are scraped.

In: a snapshot. Out: the text of all families; docs/metrics.md is the contract, and a test compares
the two. Never: a global registry, a look at anything that the event loop may be changing.
"""

from collections.abc import Callable, Iterator
from itertools import accumulate, chain

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kzn.daemon.prometheus import new_registry
from kzn.server.ledger.family import FAMILIES
from kzn.server.metrics.server import own
from kzn.server.metrics.text import head, lines, series
from kzn.server.metrics.traffic import FAMILY_SPECS, books
from kzn.server.snapshot import ServerSnapshot
from kzn.server.stats import Histogram

_LONG = 1 << 16
"""Bytes of a piece after which there is a pause: all but those of small families."""


def render(
    snapshot: ServerSnapshot, accept: str, pause: Callable[[], object] = lambda: None
) -> tuple[bytes, str]:
    """The text of a scrape and its content type, by what the scraper accepts; for a thread.

    ``pause`` is called after each piece that took a while, to let others have the interpreter.
    """
    registry = new_registry("server")
    registry.register(_Histograms(snapshot))
    encode, content_type = choose_encoder(accept)
    openmetrics = content_type.startswith("application/openmetrics-text")
    pieces = []
    for piece in _families(snapshot, openmetrics=openmetrics):
        pieces.append(piece)
        if len(piece) > _LONG:
            pause()
    # The registry's text comes last: OpenMetrics ends with a line of its own.
    return b"".join([*pieces, encode(registry)]), content_type


def _families(snapshot: ServerSnapshot, *, openmetrics: bool) -> Iterator[bytes]:
    for family in FAMILIES.values():
        spec = FAMILY_SPECS[family.name]
        yield head(spec, openmetrics=openmetrics)
        yield from series(snapshot.ledger, family, spec)
    for spec, samples in chain(books(snapshot), own(snapshot)):
        yield head(spec, openmetrics=openmetrics)
        yield from lines(spec, samples)


class _Histograms(Collector):
    def __init__(self, snapshot: ServerSnapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield _apply_seconds(self._snapshot.pipeline.apply_seconds)


def _apply_seconds(histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(
        "kzn_server_apply_seconds", "Time to apply a batch, from decoded flows to the ledger."
    )
    bounds = [*map(str, histogram.bounds), "+Inf"]
    counts = accumulate(histogram.counts)
    family.add_metric([], list(zip(bounds, counts, strict=True)), histogram.sum)
    return family
