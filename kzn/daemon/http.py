"""A small HTTP server for the agent's /metrics and /healthz: GET and HEAD, no keep-alive.

The agent does not use aiohttp, as the server does, because it runs on every node and importing
aiohttp takes 9 MB there. The HTTP server of prometheus_client has no limits.

In: requests of Prometheus, kubelet and people. Out: the answers of the routes.
Never: reads a body, keeps a connection open, has more than `HttpLimits.connections` of them, or
serves one for more than `HttpLimits.seconds`.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from kzn.daemon.logs import RateLimited

_LOG = logging.getLogger(__name__)
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """Path and query of the target; header names in lower case, the last of equal ones."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """The answer of a route."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = TEXT


Route = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Connections at a time, bytes of a request's head, seconds for a connection."""

    connections: int = 32
    head: int = 8192
    seconds: float = 10.0


class HttpServer:
    """Serves ``routes`` (by exact path) on listening sockets until `close`."""

    def __init__(self, routes: Mapping[str, Route], limits: HttpLimits | None = None) -> None:
        self._routes = routes
        self._limits = limits or HttpLimits()
        self._open: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._faults = RateLimited(_LOG)

    async def start(self, sockets: list[socket.socket]) -> None:
        """Take requests on ``sockets``; this server closes them."""
        for sock in sockets:
            server = await asyncio.start_server(self._accept, sock=sock, limit=self._limits.head)
            self._servers.append(server)

    async def close(self) -> None:
        """Stop; requests in progress are aborted."""
        for server in self._servers:
            server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= self._limits.connections:
            writer.write(_message(_plain(HTTPStatus.SERVICE_UNAVAILABLE)))
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._limits.seconds):
                writer.write(await self._answer(reader))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client disconnected or was too slow
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _message(_plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        request = _parse(head)
        if request is None:
            return _message(_plain(HTTPStatus.BAD_REQUEST))
        return _message(self._respond(request), body=request.method != "HEAD")

    def _respond(self, request: Request) -> Response:
        route = self._routes.get(request.path)
        if route is None:
            return _plain(HTTPStatus.NOT_FOUND)
        if request.method not in ("GET", "HEAD"):
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            return route(request)
        except Exception:  # noqa: BLE001 - a bug in a route must not end the daemon
            self._faults.warn(request.path, "%s failed", request.path)
            _LOG.debug("%s failed", request.path, exc_info=True)
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)


def _parse(head: bytes) -> Request | None:
    first, *lines = head.decode("latin-1").split("\r\n")
    match first.split(" "):
        case [method, target, version] if version.startswith("HTTP/1.") and target[:1] == "/":
            pass
        case _:
            return None
    pairs = [line.partition(":") for line in lines if line]
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    return Request(method, parts.path, parts.query, headers)


def _plain(status: HTTPStatus) -> Response:
    return Response(f"{status.value} {status.phrase}\n".encode(), status)


def _message(response: Response, *, body: bool = True) -> bytes:
    allow = "Allow: GET, HEAD\r\n" if response.status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\n"
        f"Content-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\n"
        f"{allow}Connection: close\r\n\r\n"
    )
    return head.encode() + (response.body if body else b"")
