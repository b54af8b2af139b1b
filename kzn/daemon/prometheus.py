"""A daemon's own Prometheus registry, and the routes that show it and the daemon's health."""

from collections.abc import Callable, Iterator
from http import HTTPStatus

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kzn import __version__
from kzn.daemon.http import Request, Response, Route


class BuildInfo(Collector):
    """``kzn_build_info{component,version} 1``."""

    def __init__(self, component: str) -> None:
        self._component = component

    def collect(self) -> Iterator[Metric]:
        """The one sample."""
        family = GaugeMetricFamily(
            "kzn_build_info", "Which kzn this is; always 1.", labels=["component", "version"]
        )
        family.add_metric([self._component, __version__], 1.0)
        yield family


def new_registry(component: str) -> CollectorRegistry:
    """A registry with process metrics and build info of ``component`` (agent or server)."""
    registry = CollectorRegistry(auto_describe=True)
    registry.register(BuildInfo(component))
    ProcessCollector(registry=registry)
    return registry


def metrics_route(registry: CollectorRegistry) -> Route:
    """The registry in the text format that the client asks for."""

    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), content_type=content_type)

    return metrics


def health_route(unhealthy_reason: Callable[[], str]) -> Route:
    """200 while ``unhealthy_reason`` returns an empty string, else 503 with what it says."""

    def health(_request: Request) -> Response:
        ill = unhealthy_reason()
        if ill:
            return Response(f"{ill}\n".encode(), HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(b"ok\n")

    return health
