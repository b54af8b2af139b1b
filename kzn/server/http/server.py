"""The server's routes: the page at /, /metrics, /healthz, /readyz and /api/v1.

In: requests of Prometheus, kubelet, `kzn top` and people. Out: responses rendered from a snapshot,
one rendering for all that ask within a second, in slices of the event loop. Never: an event loop
that is held by a rendering, or a thread that holds the interpreter lock instead.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Protocol

from kzn.client import openapi
from kzn.daemon.http.body import Body, BodyMaker
from kzn.daemon.http.hosts import AllowedHosts
from kzn.daemon.http.messages import JSON, BusyError, Request, Response, Route, coding_of
from kzn.daemon.http.places import HttpLimits
from kzn.daemon.http.server import Authorize, HttpServer
from kzn.daemon.http.slices import Slices
from kzn.daemon.http.stats import HttpStats
from kzn.daemon.tls import ServerTls
from kzn.server.http import page
from kzn.server.http.addresses import parse_addresses
from kzn.server.http.api import FAMILIES_OF, TOPICS, answer, parse_limit
from kzn.server.http.shared import SharedAnswers, SharedSnapshots, Take, shared_page
from kzn.server.ledger.family import FAMILIES, FamilyName
from kzn.server.metrics.opencost import opencost_text
from kzn.server.metrics.render import TEXT, format_of, pieces
from kzn.server.metrics.text import LabelTexts
from kzn.server.snapshot import ServerSnapshot

_ALL = frozenset(FAMILIES)
_LISTS = frozenset({"limit"})
_EXPLAIN = frozenset({"src", "dst", "node", "at", "via"})


_SCRAPE_HEADER = "x-prometheus-scrape-timeout-seconds"
"""Sent by Prometheus and by the agents that scrape as it does."""


@dataclass(frozen=True, slots=True)
class RenderLimits:
    """Concurrent renderings, and renderings that wait for one to end."""

    renderers: int = 2
    waiting: int = 32


class Scraped(Protocol):
    """Called when a scrape of the snapshot of the time ``taken`` was received at address ``by``."""

    def __call__(self, taken: float, *, is_prometheus: bool, by: str) -> None:
        """Not called for HEAD, or when the client left before it had read the body."""
        ...


class HttpApi:
    """Serves the pages; `take` copies the server's state for those that render it.

    ``owners`` returns the body for a list of addresses, ``explain`` that for a query of
    /api/v1/explain (UsageError: answered with 400), ``prices`` that of /api/v1/prices. A page
    without its function answers 404.
    ``pages`` are further ones. ``scraped`` is told of each scrape of /metrics that was received.
    With ``opencost`` there is /metrics/opencost, too, of whose scrapes that is told.
    ``opened`` is called when a browser asks for the page.
    """

    def __init__(
        self,
        take: Take,
        why_not_ready: Callable[[], str],
        limits: HttpLimits | None = None,
        owners: Callable[[list[str]], bytes] | None = None,
        explain: Callable[[Mapping[str, str]], bytes] | None = None,
        prices: Callable[[], bytes] | None = None,
        *,
        scraped: Scraped | None = None,
        rendering: RenderLimits | None = None,
        hosts: AllowedHosts | None = None,
        tls: ServerTls | None = None,
        authorize: Authorize | None = None,
        pages: Mapping[str, Route] | None = None,
        opencost: Scraped | None = None,
        opened: Callable[[], None] = lambda: None,
    ) -> None:
        self._opened = opened
        self._opencost_scraped = opencost
        self._pages = pages or {}
        self._why_not_ready = why_not_ready
        self._owners = owners
        self._explain = explain
        self._prices = prices
        self._scraped = scraped
        self._limits = rendering or RenderLimits()
        self._threads = ThreadPoolExecutor(self._limits.renderers, "http-render")
        self._slices = Slices(self._threads)
        self._texts = LabelTexts()
        self._scraping = asyncio.Lock()
        """Two scrapes at once would hold the texts of new labels twice."""
        self._renderers = asyncio.Semaphore(self._limits.renderers)
        self._waiting = 0
        self._is_stopping = False
        self._snapshots = SharedSnapshots(take)
        self._bodies: SharedAnswers[tuple[float, Body]] = SharedAnswers()
        self._server = HttpServer(self._routes(), limits, hosts=hosts, tls=tls, authorize=authorize)

    @property
    def stats(self) -> HttpStats:
        """Counters of the connections; live."""
        return self._server.stats

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Accept requests on listening sockets; the server owns and closes them from now on."""
        await self._server.start(sockets)

    def stop_scrapes(self) -> None:
        """Answer /metrics with 503: a successor may be scraped under the same name from now on.

        Prometheus would take counters of both for one counter that is reset again and again.
        """
        self._is_stopping = True

    async def close(self) -> None:
        """Stop accepting; responses in progress have one second to finish."""
        await self._server.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _routes(self) -> dict[str, Route]:
        routes = page.routes(opened=self._opened) | {
            "/metrics": Route(self._metrics),
            "/healthz": Route(lambda _request: Response(b"ok\n"), is_open=True),
            "/readyz": Route(self._readyz, is_open=True),
        }
        if self._opencost_scraped is not None:
            routes["/metrics/opencost"] = Route(self._opencost)
        for topic in TOPICS:
            known = frozenset() if topic == "status" else _LISTS
            routes[f"/api/v1/{topic}"] = Route(partial(self._api, topic), known)
        if self._owners is not None:
            routes["/api/v1/addresses"] = Route(self._addresses, frozenset({"address"}))
        if self._explain is not None:
            routes["/api/v1/explain"] = Route(self._explanation, _EXPLAIN)
        if self._prices is not None:
            prices = self._prices
            page_of_prices = shared_page(lambda _: Response(prices(), content_type=JSON))
            routes["/api/v1/prices"] = Route(page_of_prices)
        document = openapi.text().encode()
        routes["/api/v1/openapi.json"] = Route(lambda _: Response(document, content_type=JSON))
        return routes | dict(self._pages)

    async def _metrics(self, request: Request) -> Response:
        if self._is_stopping:
            raise BusyError("the server is stopping")
        wanted = format_of(request.headers.get("accept", ""))

        async def make(snapshot: ServerSnapshot, coding: str) -> Body:
            async with self._scraping:
                text = pieces(snapshot, wanted, self._texts)
                return await self._slices.body(text, BodyMaker(coding=coding))

        taken, body = await self._shared(request, wanted, _ALL, make)
        received = _received(self._scraped, request, taken)
        return Response(body, content_type=wanted.content_type, received=received)

    async def _opencost(self, request: Request) -> Response:
        """The two counters that OpenCost reads: what OpenCost without Prometheus scrapes."""
        if self._is_stopping:
            raise BusyError("the server is stopping")

        async def make(snapshot: ServerSnapshot, coding: str) -> Body:
            found = snapshot.opencost
            text = opencost_text(found.alone()) if found is not None else iter(())
            return await self._slices.body(text, BodyMaker(coding=coding))

        taken, body = await self._shared(request, "opencost", frozenset(), make)
        received = _received(self._opencost_scraped, request, taken)
        return Response(body, content_type=TEXT.content_type, received=received)

    def _readyz(self, _request: Request) -> Response:
        why = self._why_not_ready()
        if why:
            return Response(f"{why}\n".encode(), HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(b"ok\n")

    async def _api(self, topic: str, request: Request) -> Response:
        limit = parse_limit(request.one("limit"))

        async def make(snapshot: ServerSnapshot, coding: str) -> Body:
            rows = answer(topic, snapshot, limit)
            return await self._slices.body(rows, BodyMaker(tagged=True, coding=coding))

        _, body = await self._shared(request, (topic, limit), FAMILIES_OF[topic], make)
        return Response(body, content_type=JSON)

    def _addresses(self, request: Request) -> Response:
        asked = parse_addresses(request.parameters.get("address", ()))
        assert self._owners is not None  # noqa: S101 - else the page does not exist
        return Response(self._owners(asked), content_type=JSON)

    def _explanation(self, request: Request) -> Response:
        query = {name: request.one(name) or "" for name in request.parameters}
        assert self._explain is not None  # noqa: S101 - else the page does not exist
        return Response(self._explain(query), content_type=JSON)

    async def _shared(
        self,
        request: Request,
        key: object,
        families: frozenset[FamilyName],
        make: Callable[[ServerSnapshot, str], Awaitable[Body]],
    ) -> tuple[float, Body]:
        """A body that was begun within the last second, or a new one; the time of its snapshot."""
        # One form for nearly all clients; a second rendering for those that want zstd.
        is_zstd = coding_of(request.headers.get("accept-encoding", "")) == "zstd"
        coding = "zstd" if is_zstd else "gzip"

        async def render() -> tuple[float, Body]:
            if self._waiting >= self._limits.waiting:
                raise BusyError("too many requests at once")
            self._waiting += 1
            try:
                async with self._renderers:
                    snapshot = await self._snapshots.get(families)
                    return snapshot.taken, await make(snapshot, coding)
            finally:
                self._waiting -= 1

        return await self._bodies.get((key, coding), render)


def _received(scraped: Scraped | None, request: Request, taken: float) -> Callable[[], None] | None:
    """What to call once the body, of the time ``taken``, was received."""
    if scraped is None or request.method != "GET":
        return None
    is_prometheus = _SCRAPE_HEADER in request.headers
    return partial(scraped, taken, is_prometheus=is_prometheus, by=request.address)
