"""The metrics that OpenCost reads, with its names and labels (``--opencost``).

In: a snapshot of the counters. Out: samples. Never: a metric that OpenCost emits itself.
"""

from collections.abc import Generator, Iterator

import numpy as np

from kzn.daemon.metrics import BYTE, Metric, MetricSamples, Sample
from kzn.server.cost.opencost import CLASSES, EGRESS, INGRESS, OpenCostSnapshot
from kzn.server.metrics.text import head, lines
from kzn.server.resolve import verdict as v

LABELS = ("pod_name", "namespace", "uid", "internet", "same_zone", "same_region")
_PODS_A_PIECE = 2048
_PLACES = {
    v.CROSS_ZONE: ("false", "false", "true"),
    v.CROSS_REGION: ("false", "false", "false"),
    v.EXTERNAL_CLASS: ("true", "false", "false"),
}
"""internet, same_zone and same_region of each class."""
_METRICS = {
    EGRESS: Metric(
        "kubecost_pod_network_egress_bytes_total",
        "counter",
        LABELS,
        f"Bytes that the pod sent out of its zone, for OpenCost ({BYTE}).",
    ),
    INGRESS: Metric(
        "kubecost_pod_network_ingress_bytes_total",
        "counter",
        LABELS,
        f"Bytes that the pod was sent from outside of its zone, for OpenCost ({BYTE}).",
    ),
}
_DROPPED = Metric(
    "kzn_server_opencost_dropped_bytes_total",
    "counter",
    (),
    f"Bytes in no counter for OpenCost: of pods beyond the limit, or late ones of an ended pod"
    f" whose name another has ({BYTE}).",
)


def opencost_metrics(found: OpenCostSnapshot | None) -> Iterator[MetricSamples | None]:
    """Both counters of each pod; nothing without ``--opencost``."""
    if found is None:
        return
    for direction, metric in _METRICS.items():
        samples, created = yield from _of(found, direction)
        yield MetricSamples(metric, samples, created)
    yield MetricSamples(_DROPPED, [((), found.dropped)])


def opencost_text(found: OpenCostSnapshot) -> Iterator[bytes]:
    """Both counters alone, as text that every exporter of OpenCost's is read as.

    An empty piece is work without a line.
    """
    for one in opencost_metrics(found):
        if one is None:
            yield b""
        elif one.metric is not _DROPPED:
            yield head(one.metric, openmetrics=False)
            yield from lines(one.metric, one.samples)


def _of(
    found: OpenCostSnapshot, direction: int
) -> Generator[None, None, tuple[list[Sample], list[float]]]:
    samples: list[Sample] = []
    created: list[float] = []
    shown = np.where(found.exposed, found.bytes, np.uint64(0))[:, direction].tolist()
    began = found.created[:, direction].tolist()
    for number, (pod, row, since) in enumerate(zip(found.pods, shown, began, strict=True), 1):
        if pod is not None:
            for kind, cls in enumerate(CLASSES):
                if since[kind]:
                    samples.append(((*pod, *_PLACES[cls]), row[kind]))
                    created.append(since[kind])
        if number % _PODS_A_PIECE == 0:
            yield None
    return samples, created
