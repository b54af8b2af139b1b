"""An exporter for OpenCost without Prometheus: a server's counters where OpenCost looks for them.

In: requests for /metrics. Out: what the server answers to /metrics/opencost, or 503 while it does
not answer: OpenCost takes a lower sum for the end of a counter. Never: another page of the server.
"""

import asyncio
import logging
import socket
from collections.abc import Iterable
from http import HTTPStatus

from kzn.client.http import ApiClient
from kzn.daemon.http.body import body_of
from kzn.daemon.http.messages import BusyError, Request, Response, Route
from kzn.daemon.http.places import HttpLimits
from kzn.daemon.http.server import HttpServer
from kzn.daemon.logs import RateLimited
from kzn.errors import KznError

_LOG = logging.getLogger(__name__)

LIMITS = HttpLimits(connections=16, connections_per_address=8)
PAGE = "/metrics/opencost"
MAX_BYTES = 256 << 20
"""Of the page, as plain text: 138 MB at 100,000 pods, the most that a server has. It is held
compressed, a twentieth of that."""


class OpenCostExporter:
    """Passes the counters of one server on."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._asking = asyncio.Lock()
        self._warnings = RateLimited(_LOG)
        routes = {
            "/metrics": Route(self._metrics),
            "/healthz": Route(lambda _request: Response(b"ok\n")),
        }
        self._server = HttpServer(routes, LIMITS)

    async def run(self, sockets: Iterable[socket.socket], stop: asyncio.Event) -> None:
        """Serve on listening sockets until ``stop``."""
        await self._server.start(sockets)
        try:
            await stop.wait()
        finally:
            await self._server.close()

    async def _metrics(self, _request: Request) -> Response:
        async with self._asking:  # one question at a time: the server's limits are for all
            try:
                status, body, headers = await asyncio.to_thread(
                    self._client.take, PAGE, body_of, MAX_BYTES
                )
            except KznError as error:
                raise self._failed(error.message) from error
        if status == HTTPStatus.NOT_FOUND:
            raise self._failed(f"{self._client.url}{PAGE} is not there: set kzn server --opencost")
        if status != HTTPStatus.OK:
            raise self._failed(f"{self._client.url}{PAGE} answered with status {status}")
        self._warnings.resolved_all()
        return Response(body, content_type=headers.get("Content-Type", "text/plain"))

    def _failed(self, why: str) -> BusyError:
        self._warnings.warn("opencost", "no counters for OpenCost: %s", why)
        return BusyError(why)
