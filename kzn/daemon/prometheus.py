"""A daemon's own prometheus_client registry, and HTTP routes for its metrics and its health."""

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from kzn import __version__
from kzn.daemon.http.messages import Answer, Request, Response
from kzn.daemon.metrics import Metric, MetricSamples


class MetricCollector(Collector):
    """Counters and gauges for a registry; ``take`` is called at each scrape."""

    def __init__(self, take: Callable[[], Iterable[MetricSamples]]) -> None:
        self._take = take

    def collect(self) -> Iterator[Family]:
        """The families of prometheus_client, whose encoders write their text."""
        for metric, samples, _ in self._take():
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(metric.name, metric.help, labels=metric.labels)
            for values, value in samples:
                family.add_metric(values, value)
            yield family


def new_registry(component: str, cluster: str = "") -> CollectorRegistry:
    """A registry with process metrics and build info of ``component`` (agent or server).

    ``cluster`` is a name or a uid, empty where it is not known.
    """
    build = MetricSamples(
        Metric(
            "kzn_build_info",
            "gauge",
            ("component", "version", "cluster"),
            "Component, version and cluster of this kzn; always 1.",
        ),
        [((component, __version__, cluster), 1.0)],
    )
    registry = CollectorRegistry(auto_describe=True)
    registry.register(MetricCollector(lambda: [build]))
    ProcessCollector(registry=registry)
    return registry


def metrics_route(registry: CollectorRegistry) -> Answer:
    """The registry in the text format that the client asks for."""

    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), content_type=content_type)

    return metrics


def health_route(unhealthy_reason: Callable[[], str]) -> Answer:
    """200 while ``unhealthy_reason`` returns an empty string, else 503 with the reason."""

    def health(_request: Request) -> Response:
        reason = unhealthy_reason()
        if reason:
            return Response(f"{reason}\n".encode(), HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(b"ok\n")

    return health
