"""Metrics as plain values: a declaration, and its samples at the moment of a scrape.

In: numbers. Out: `MetricSamples`, for the text writer of the server (server/metrics/text.py) and
the registry of the agent (prometheus.py). Never: an import of prometheus_client.

To add a metric: yield a `single(…)` or `MetricSamples(…)` beside the others of its daemon, and add
a row to docs/metrics.md; a test compares the two.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

BYTE = "L3 bytes on the wire, docs/accuracy.md"
"""For the help of every metric that counts traffic in bytes."""

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family; ``name`` as in PromQL, with ``_total`` for a counter."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


Sample = tuple[tuple[str, ...], float]
"""Label values and the value."""


class MetricSamples(NamedTuple):
    """A metric and its samples; there may be none.

    ``created`` is when each of the samples began, in Unix time, 0 where that is unknown; it may be
    left out.
    """

    metric: Metric
    samples: Iterable[Sample]
    created: Sequence[float] = ()


def single(name: str, kind: Kind, text: str, value: float) -> MetricSamples:
    """A metric without labels, and its one sample."""
    return MetricSamples(Metric(name, kind, (), text), [((), value)])
