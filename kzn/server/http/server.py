"""The server's HTTP: /metrics, /healthz, /readyz and /api/v1, for GET and HEAD alone.

In: requests of Prometheus, kubelet, `kzn top` and people. Out: a snapshot, rendered in a thread.
Never: reads a body, renders on the event loop, or renders more than a few answers at a time.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

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
"""Every few milliseconds of a long answer. The event loop lends the interpreter to a renderer with
each array that it works on, and has to ask for it back; in a pause it works undisturbed, and acks
beside the scrape of 200,000 series come ten times sooner."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Answers rendered at once, answers that wait for their turn, seconds for one in all."""

    renderers: int = 2
    waiting: int = 32
    seconds: float = 30.0
    keepalive: float = 75.0


class HttpApi:
    """Routes over `take`, which copies the server's state, and cheap ones.

    ``owners`` gives the body for a list of addresses, ``explain`` for a query of /api/v1/explain
    (UsageError: it is wrong). Without them these pages do not exist.
    """

    def __init__(
        self,
        take: Callable[[], Awaitable[ServerSnapshot]],
        why_not_ready: Callable[[], str],
        limits: HttpLimits | None = None,
        owners: Callable[[list[str]], bytes] | None = None,
        explain: Callable[[Mapping[str, str]], bytes] | None = None,
    ) -> None:
        self._take = take
        self._why_not_ready = why_not_ready
        self._owners = owners
        self._explain = explain
        self._limits = limits or HttpLimits()
        self._threads = ThreadPoolExecutor(self._limits.renderers, "http-render")
        self._turn = asyncio.Semaphore(self._limits.renderers)
        self._waiting = 0
        self._faults = RateLimited(_LOG)
        self._runner = web.AppRunner(
            self.application(),
            access_log=None,
            keepalive_timeout=self._limits.keepalive,
            shutdown_timeout=1.0,
        )

    def application(self) -> web.Application:
        """The routes; a request's body is never read, so none is allowed."""
        app = web.Application(middlewares=[self._guard], client_max_size=1)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get(f"/api/v1/{{topic:{'|'.join(TOPICS)}}}", self._api)
        app.router.add_get("/api/v1/addresses", self._addresses)
        app.router.add_get("/api/v1/explain", self._explanation)
        return app

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Take requests on listening sockets, which belong to this server from now on."""
        await self._runner.setup()
        for sock in sockets:
            await web.SockSite(self._runner, sock).start()

    async def close(self) -> None:
        """Stop; answers under way have a second."""
        await self._runner.cleanup()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        accept = request.headers.get("Accept", "")
        body, content_type = await self._rendered(lambda snapshot: render(snapshot, accept, _pause))
        return web.Response(body=body, headers={"Content-Type": content_type})

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
        """``work`` on a snapshot, in a thread, when its turn comes."""
        if self._waiting >= self._limits.waiting:
            raise web.HTTPServiceUnavailable(text="too many requests at once\n")
        self._waiting += 1
        try:
            async with self._turn:
                snapshot = await self._take()
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, work, snapshot)
        finally:
            self._waiting -= 1

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """A time limit for all, and one log line instead of a traceback for each fault."""
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await handler(request)
        except TimeoutError:
            return web.Response(text="took too long\n", status=503)
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 - a route's bug must not end the daemon beside it
            self._faults.warn(request.path, "%s failed", request.path)
            _LOG.debug("%s failed", request.path, exc_info=True)
            return web.Response(text="internal error\n", status=500)


def _bad_request(error: UsageError) -> web.Response:
    return web.Response(text=f"{error}: {error.hint}\n", status=400)
