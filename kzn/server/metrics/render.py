"""The text of /metrics, built from a snapshot at each scrape; docs/metrics.md is the contract.

In: a snapshot. Out: the text of all metrics, in pieces. Never: a global registry, or a read of
state that the event loop may be changing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector

from kzn.daemon.metrics import Metric
from kzn.daemon.prometheus import new_registry
from kzn.server.ledger.family import FAMILIES
from kzn.server.metrics.budgets import budget_metrics
from kzn.server.metrics.groups import group_metrics
from kzn.server.metrics.opencost import opencost_metrics
from kzn.server.metrics.prices import price_metrics
from kzn.server.metrics.server import server_metrics
from kzn.server.metrics.text import LabelTexts, MetricColumns, column_lines, head, lines, series
from kzn.server.metrics.traffic import FAMILY_METRICS, age_metrics, node_metrics
from kzn.server.snapshot import ServerSnapshot
from kzn.server.stats import Histogram

_APPLY_SECONDS = Metric(
    "kzn_server_apply_seconds",
    "histogram",
    (),
    "Time to apply a batch, from decoded flows to the ledger.",
)


@dataclass(frozen=True, slots=True)
class TextFormat:
    """One of the two formats that every version of Prometheus reads."""

    openmetrics: bool
    content_type: str


TEXT = TextFormat(openmetrics=False, content_type="text/plain; version=0.0.4; charset=utf-8")
OPENMETRICS = TextFormat(
    openmetrics=True, content_type="application/openmetrics-text; version=1.0.0; charset=utf-8"
)


def format_of(accept: str) -> TextFormat:
    """The format for a header Accept."""
    _, content_type = choose_encoder(accept)
    return OPENMETRICS if content_type.startswith("application/openmetrics-text") else TEXT


def render(snapshot: ServerSnapshot, accept: str) -> tuple[bytes, str]:
    """The text of a scrape and its content type, by header Accept."""
    wanted = format_of(accept)
    return b"".join(pieces(snapshot, wanted)), wanted.content_type


def pieces(
    snapshot: ServerSnapshot, wanted: TextFormat, texts: LabelTexts | None = None
) -> Iterator[bytes]:
    """The text of a scrape in pieces, some of them empty; each is made in a few milliseconds.

    ``texts`` are the labels of the last scrape.
    """
    registry = new_registry("server", snapshot.cluster)
    registry.register(_ApplySeconds(snapshot.pipeline.apply_seconds))
    yield from _families(snapshot, texts or LabelTexts(), openmetrics=wanted.openmetrics)
    # The registry's text comes last: OpenMetrics ends with a line of its own.
    encode, _ = choose_encoder(wanted.content_type)
    yield encode(registry)


def _families(snapshot: ServerSnapshot, texts: LabelTexts, *, openmetrics: bool) -> Iterator[bytes]:
    has_created = openmetrics and snapshot.created_lines
    for family in (FAMILIES[name] for name in snapshot.ledger.views):
        metric = FAMILY_METRICS[family.name]
        yield head(metric, openmetrics=openmetrics)
        yield from series(snapshot.ledger, family, metric, created=has_created, texts=texts)
    for found in chain(
        price_metrics(snapshot),
        group_metrics(snapshot.ledger, snapshot.groups),
        opencost_metrics(snapshot.opencost),
        node_metrics(snapshot),
        age_metrics(snapshot),
        budget_metrics(snapshot.budgets),
        server_metrics(snapshot),
    ):
        if found is None:
            yield b""
            continue
        yield head(found.metric, openmetrics=openmetrics)
        created = found.created if has_created else ()
        if isinstance(found, MetricColumns):
            yield from column_lines(found.metric, found.labels, found.numbers, created)
        else:
            yield from lines(found.metric, found.samples, created)


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
