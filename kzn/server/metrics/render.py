"""The text of /metrics, built from a snapshot at each scrape; docs/metrics.md is the contract.

In: a snapshot. Out: the text of all metrics, in pieces. Never: a global registry, or a read of
state that the event loop may be changing.
"""

from collections.abc import Callable, Iterator
from itertools import accumulate, chain

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector

from kzn.daemon.metrics import Metric
from kzn.daemon.prometheus import new_registry
from kzn.server.ledger.family import FAMILIES
from kzn.server.metrics.server import server_metrics
from kzn.server.metrics.text import head, lines, series
from kzn.server.metrics.traffic import FAMILY_METRICS, age_metrics, node_metrics
from kzn.server.snapshot import ServerSnapshot
from kzn.server.stats import Histogram

_APPLY_SECONDS = Metric(
    "kzn_server_apply_seconds",
    "histogram",
    (),
    "Time to apply a batch, from decoded flows to the ledger.",
)
_LONG = 1 << 16
"""A pause follows each piece of more bytes; the pieces of small families have fewer."""


def render(
    snapshot: ServerSnapshot, accept: str, pause: Callable[[], object] = lambda: None
) -> tuple[bytes, str]:
    """The text of a scrape and its content type, by header Accept; to be called in a thread.

    ``pause`` is called after each long piece, so that other threads get the interpreter lock.
    """
    registry = new_registry("server")
    registry.register(_ApplySeconds(snapshot.pipeline.apply_seconds))
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
    has_created = openmetrics and snapshot.created_lines
    for family in FAMILIES.values():
        metric = FAMILY_METRICS[family.name]
        yield head(metric, openmetrics=openmetrics)
        yield from series(snapshot.ledger, family, metric, created=has_created)
    for metric, samples, created in chain(
        node_metrics(snapshot), age_metrics(snapshot), server_metrics(snapshot)
    ):
        yield head(metric, openmetrics=openmetrics)
        yield from lines(metric, samples, created if has_created else ())


class _ApplySeconds(Collector):
    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram

    def collect(self) -> Iterator[HistogramMetricFamily]:
        histogram = self._histogram
        family = HistogramMetricFamily(_APPLY_SECONDS.name, _APPLY_SECONDS.help)
        bounds = [*map(str, histogram.bounds), "+Inf"]
        counts = accumulate(histogram.counts)
        family.add_metric([], list(zip(bounds, counts, strict=True)), histogram.sum)
        yield family
