"""The server's HTTP: /metrics, /healthz, /readyz and /api/v1; GET and HEAD only.

In: requests of Prometheus, kubelet, `kzn top` and people. Out: responses rendered from a snapshot
in worker threads. Never: reads a request body, renders on the event loop, or exceeds `HttpLimits`.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from aiohttp import web

from kzn.daemon.logs import RateLimited
from kzn.errors import UsageError
from kzn.server.http.addresses import parse_addresses
from kzn.server.http.api import TOPICS, answer, parse_limit
from kzn.server.metrics.render import render
from kzn.server.snapshot import ServerSnapshot

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_pause = partial(time.sleep, 0.003)
"""A renderer calls this every few milliseconds to leave the GIL to the event loop. Without it,
numpy calls of the event loop release the GIL to the renderer and wait to get it back; with it, acks
during a scrape of 200,000 series are sent ten times sooner."""


_SCRAPE_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
"""Sent by Prometheus and by the agents that scrape as it does."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Concurrent renders, requests that wait for one, and time limits in seconds."""

    renderers: int = 2
    waiting: int = 32
    seconds: float = 30.0
    keepalive: float = 75.0


class Scraped(Protocol):
    """Called when a scrape of the snapshot of the time ``taken`` was received."""

    def __call__(self, taken: float, *, is_prometheus: bool) -> None:
        """Not called for HEAD, or when the client left before it had read the body."""
        ...


class _Scrape(web.Response):
    """A response that reports that the client has read it, but for what sockets buffer."""

    on_sent: Callable[[], None] | None = None

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)  # waits until the client has read
        if self.on_sent is not None:
            self.on_sent()


class HttpApi:
    """Serves the routes; `take` copies the server's state for those that render it.

    ``owners`` returns the body for a list of addresses, ``explain`` that for a query of
    /api/v1/explain (UsageError: answered with 400). A route without its function answers 404.
    ``scraped`` is told of each scrape that was received.
    """

    def __init__(
        self,
        take: Callable[[], Awaitable[ServerSnapshot]],
        why_not_ready: Callable[[], str],
        limits: HttpLimits | None = None,
        owners: Callable[[list[str]], bytes] | None = None,
        explain: Callable[[Mapping[str, str]], bytes] | None = None,
        scraped: Scraped | None = None,
    ) -> None:
        self._take = take
        self._why_not_ready = why_not_ready
        self._owners = owners
        self._explain = explain
        self._scraped = scraped
        self._limits = limits or HttpLimits()
        self._threads = ThreadPoolExecutor(self._limits.renderers, "http-render")
        self._renderers = asyncio.Semaphore(self._limits.renderers)
        self._waiting = 0
        self._failures = RateLimited(_LOG)
        self._runner = web.AppRunner(
            self.application(),
            access_log=None,
            keepalive_timeout=self._limits.keepalive,
            shutdown_timeout=1.0,
        )

    def application(self) -> web.Application:
        """The aiohttp application. No route reads a request body, so its limit is 1 byte."""
        app = web.Application(middlewares=[self._limit_and_log], client_max_size=1)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get(f"/api/v1/{{topic:{'|'.join(TOPICS)}}}", self._api)
        app.router.add_get("/api/v1/addresses", self._addresses)
        app.router.add_get("/api/v1/explain", self._explanation)
        return app

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Accept requests on listening sockets; the server owns and closes them from now on."""
        await self._runner.setup()
        for sock in sockets:
            await web.SockSite(self._runner, sock).start()

    async def close(self) -> None:
        """Stop accepting; responses in progress have one second to finish."""
        await self._runner.cleanup()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        accept = request.headers.get("Accept", "")
        taken, (body, content_type) = await self._rendered(
            lambda snapshot: (snapshot.taken, render(snapshot, accept, _pause))
        )
        response = _Scrape(body=body, headers={"Content-Type": content_type})
        if self._scraped is not None and request.method == "GET":
            is_prometheus = _SCRAPE_HEADER in request.headers
            response.on_sent = partial(self._scraped, taken, is_prometheus=is_prometheus)
        return response

    async def _healthz(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.StreamResponse:
        why = self._why_not_ready()
        return web.Response(text=f"{why}\n", status=503) if why else web.Response(text="ok\n")

    async def _api(self, request: web.Request) -> web.StreamResponse:
        topic = request.match_info["topic"]
        try:
            limit = parse_limit(request.query.get("limit"))
        except UsageError as error:
            return _bad_request(error)
        body = await self._rendered(lambda snapshot: answer(topic, snapshot, limit))
        return web.Response(body=body, content_type="application/json")

    async def _addresses(self, request: web.Request) -> web.StreamResponse:
        if self._owners is None:
            raise web.HTTPNotFound
        try:
            asked = parse_addresses(request.query.getall("address", []))
        except UsageError as error:
            return _bad_request(error)
        return web.Response(body=self._owners(asked), content_type="application/json")

    async def _explanation(self, request: web.Request) -> web.StreamResponse:
        if self._explain is None:
            raise web.HTTPNotFound
        try:
            body = self._explain(request.query)
        except UsageError as error:
            return _bad_request(error)
        return web.Response(body=body, content_type="application/json")

    async def _rendered(self, work: Callable[[ServerSnapshot], _T]) -> _T:
        """Wait for a free renderer, take a snapshot, and run ``work`` on it in a thread."""
        if self._waiting >= self._limits.waiting:
            raise web.HTTPServiceUnavailable(text="too many requests at once\n")
        self._waiting += 1
        try:
            async with self._renderers:
                snapshot = await self._take()
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, work, snapshot)
        finally:
            self._waiting -= 1

    @web.middleware
    async def _limit_and_log(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Apply the time limit; log an unexpected error as one line, without its traceback."""
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await handler(request)
        except TimeoutError:
            return web.Response(text="took too long\n", status=503)
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 - a bug in a route must not end the server
            self._failures.warn(request.path, "HTTP request %s failed", request.path)
            _LOG.debug("%s failed", request.path, exc_info=True)
            return web.Response(text="internal error\n", status=500)


def _bad_request(error: UsageError) -> web.Response:
    return web.Response(text=f"{error}: {error.hint}\n", status=400)
