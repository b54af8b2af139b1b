"""The connections of the HTTP server: requests in, answers out, each within limits.

In: listening sockets and routes. Out: the answers of the routes, and errors as JSON.
Never: a request body read; a connection, a head or an answer that lasts longer than `HttpLimits`
allows; more than one log line a minute about clients that exceed them.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Protocol

from kzn.daemon.accept import Acceptor, peer_address
from kzn.daemon.http.body import COMPRESSED_FROM, Body, body_of
from kzn.daemon.http.hosts import AllowedHosts
from kzn.daemon.http.messages import (
    BusyError,
    Request,
    Response,
    Route,
    Stream,
    coding_of,
    head_of,
    names_tag,
    parse,
    problem,
    quality_of,
)
from kzn.daemon.http.places import HttpLimits, Places
from kzn.daemon.http.stats import HttpStats
from kzn.daemon.logs import RateLimited
from kzn.daemon.tls import ServerTls
from kzn.daemon.tls_stream import TlsStream
from kzn.errors import KznError, UsageError

_LOG = logging.getLogger(__name__)

_READ = 1 << 12
_SEND_BYTES = 128 << 10
"""Send buffer of a connection in the kernel: what it holds, the server takes for read."""
_RESERVE = 24
"""Descriptors that HTTP leaves for files, the API server and the port for agents."""
PIECES_AT_ONCE = 16
"""Pieces of a body sent in one turn of the event loop: a mebibyte, in two or three milliseconds if
it has to be decompressed."""
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1 << 16
_NO_BODY = Body(0, b"", None)

Authorize = Callable[[Request], Awaitable[Response | None]]
"""The answer to a client that may not make a request; None if it may."""


class _Stream(Protocol):
    async def read(self, most: int, /) -> bytes: ...


class _Sink(Protocol):
    def write(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...
    async def wait_closed(self) -> None: ...


class HttpServer:
    """Serves ``routes`` (by exact path) on listening sockets until `close`.

    ``hosts``: the Host headers that are answered (None: all). ``tls``: serve HTTPS. ``authorize``
    is asked about each request of a page that is not open.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        limits: HttpLimits | None = None,
        *,
        hosts: AllowedHosts | None = None,
        tls: ServerTls | None = None,
        authorize: Authorize | None = None,
    ) -> None:
        self.stats = HttpStats()
        self.limits = limits or HttpLimits()
        self.is_closing = False
        self._routes = routes
        self._hosts = hosts
        self._tls = tls
        self._authorize = authorize
        self.places = Places(self.limits)
        self._open: dict[asyncio.Task[None], _Connection] = {}
        self._acceptor = Acceptor(
            "HTTP",
            self._accept,
            reserve=_RESERVE,
            read_buffer=self.limits.head_bytes,
            at_once=4,
            on_refused=lambda: self.count("descriptors"),
        )
        self._faults = RateLimited(_LOG)

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Take requests on ``sockets``; this server closes them."""
        listening = list(sockets)
        for sock in listening:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        self._acceptor.start(listening)

    async def close(self) -> None:
        """Stop; requests in progress have a second to end."""
        self._acceptor.close()
        self.is_closing = True
        answered = [task for task, one in self._open.items() if not self.places.is_waiting(one)]
        if answered:
            await asyncio.wait(answered, timeout=_LINGER_SECONDS)
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def count(self, reason: str) -> None:
        """Count a refused request or a connection that was cut."""
        self.stats.refused[reason] += 1

    def warn(self, condition: str, text: str, *arguments: object) -> None:
        """One log line a minute for each condition."""
        self._faults.warn(condition, text, *arguments)

    def limited(self, reason: str, address: str) -> None:
        """`count`, and one log line a minute for all such reasons."""
        self.count(reason)
        self._faults.warn(
            "limits",
            "HTTP: refused or cut a connection of %s (%s); see the metric of refused requests",
            address,
            reason,
        )

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        reason = self.places.enter(connection)
        if reason:
            self.limited(reason, connection.address)
            if self._tls is None:  # with TLS an answer would need a handshake first
                busy = problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
                writer.write(head_of(busy, len(busy.body)) + busy.body)  # type: ignore[arg-type,operator]
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(connection.run(self._tls))
        self._open[task] = connection
        self.stats.connections = len(self.places)
        task.add_done_callback(lambda done: self._ended(done, connection))

    def _ended(self, task: asyncio.Task[None], connection: "_Connection") -> None:
        self._open.pop(task, None)
        self.places.leave(connection)
        self.stats.connections = len(self.places)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fault("connection", error)

    def _fault(self, what: str, error: BaseException) -> None:
        self._faults.warn(what, "HTTP: %s failed: %s", what, type(error).__name__)
        _LOG.debug("HTTP: %s failed", what, exc_info=error)

    async def answer(self, request: Request) -> Response:
        """The answer to a request: of its route, or an error."""
        route = self._routes.get(request.path)
        refusal = self._refusal(route, request)
        if refusal is not None or route is None:
            return refusal or problem(HTTPStatus.NOT_FOUND, "there is no such page")
        try:
            async with asyncio.timeout(self.limits.answer):
                return await self._answer_of(route, request)
        except TimeoutError:
            self.count("answer_timeout")
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, "the answer took too long", "try again")
        except BusyError as error:
            self.count(error.reason)
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, error.message, error.hint)
        except UsageError as error:
            return problem(HTTPStatus.BAD_REQUEST, error.message, error.hint)
        except Exception as error:  # noqa: BLE001 - a bug in a route must not end the daemon
            self._fault(request.path, error)
            return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")

    def _refusal(self, route: Route | None, request: Request) -> Response | None:
        if (route is None or not route.is_open) and not self._knows_host(request):
            self.count("host")
            return problem(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this server is not known as {request.headers['host'][:80]}",
                "use its address, or allow the name with --http-host",
            )
        if route is not None and request.method not in ("GET", "HEAD"):
            return problem(HTTPStatus.METHOD_NOT_ALLOWED)
        if route is not None and request.has_body:
            return problem(HTTPStatus.BAD_REQUEST, "a request must not have a body")
        return None

    async def _answer_of(self, route: Route, request: Request) -> Response:
        if not route.is_open:
            refusal = await self._authorize(request) if self._authorize is not None else None
            if refusal is not None:
                return refusal
            for name in request.parameters:
                if name not in route.parameters:
                    known = ", ".join(sorted(route.parameters)) or "none"
                    raise UsageError(
                        f"unknown parameter {name[:40]!r}", hint=f"known here: {known}"
                    )
        found = route.answer(request)
        return found if isinstance(found, Response) else await found

    def _knows_host(self, request: Request) -> bool:
        return self._hosts is None or self._hosts.allows(request.headers.get("host"))


class _Connection:
    """One connection; `run` serves its requests one after the other."""

    def __init__(
        self, server: HttpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.address = peer_address(writer)
        self._server = server
        self._limits = server.limits
        self._transport = writer.transport
        self._stream: _Stream = reader
        self._sink: _Sink = writer
        self._streams = reader, writer
        self._buffer = b""
        self._is_cut = False

    def cut(self, reason: str) -> None:
        """Reset the connection, counted and logged under ``reason``."""
        if not self._is_cut:
            self._is_cut = True
            self._server.limited(reason, self.address)
            self._transport.abort()

    async def run(self, tls: ServerTls | None) -> None:
        """Serve until either side closes or a limit is exceeded."""
        # Each piece is sent before the next one is made.
        self._transport.set_write_buffer_limits(high=0)
        try:
            async with asyncio.timeout(self._limits.head):
                if tls is not None:
                    await self._handshake(tls)
                head = await self._head()
            while head and await self._serve(head):
                head = await self._next_head()
            await self._finish()
        except TimeoutError:
            self.cut("head_timeout")
        except (OSError, ssl.SSLError):
            pass  # the client has gone, or does not speak TLS
        finally:
            self._transport.abort()

    async def _handshake(self, tls: ServerTls) -> None:
        secure = TlsStream(*self._streams, tls.context())
        self._stream = self._sink = secure
        await secure.handshake()

    async def _next_head(self) -> bytes:
        if not self._buffer:
            try:
                async with asyncio.timeout(self._limits.keep_alive):
                    self._buffer = await self._stream.read(_READ)
            except TimeoutError:
                return b""  # idle for long: nothing to count
        async with asyncio.timeout(self._limits.head):
            return await self._head()

    async def _head(self) -> bytes:
        """The next head with its empty line; empty at the end of the connection."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > self._limits.head_bytes:
                return self._buffer
            data = await self._stream.read(_READ)
            if not data:
                return b""
            self._buffer += data
        head, self._buffer = self._buffer[: end + 4], self._buffer[end + 4 :]
        return head

    async def _serve(self, head: bytes) -> bool:
        """Answer one request; whether the connection stays open."""
        self._server.places.asks(self)
        request = parse(head, self.address) if head.endswith(b"\r\n\r\n") else None
        if request is None:
            self._server.count("malformed")
            long = len(head) > self._limits.head_bytes
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if long else HTTPStatus.BAD_REQUEST
            await self._send(problem(status), Request("GET", "/"), keep_alive=False)
            return False
        response = await self._server.answer(request)
        can_stay = self._limits.keep_alive > 0 and not self._server.is_closing
        keep = can_stay and request.keeps_alive and not request.has_body
        keep = keep and (response.stream is None or request.knows_chunks)
        await self._send(response, request, keep_alive=keep)
        self._server.places.waits(self)
        return keep

    async def _send(self, response: Response, request: Request, *, keep_alive: bool) -> None:
        if response.stream is not None:
            await self._send_stream(response, response.stream, request, keep_alive=keep_alive)
            return
        accepted = request.headers.get("accept-encoding", "")
        coding = coding_of(accepted)
        body = response.body
        if isinstance(body, bytes):
            compress = coding and len(body) >= COMPRESSED_FROM
            body = body_of([body], coding=coding) if compress else Body(len(body), body, None)
        headers = response.headers
        is_known = body.tag != "" and names_tag(request.headers.get("if-none-match", ""), body.tag)
        if body.tag:
            headers = (*headers, ("ETag", body.tag))
            if is_known:
                response = Response(b"", HTTPStatus.NOT_MODIFIED, response.content_type)
                body = _NO_BODY
        if body.form(coding) is None:
            coding = "gzip" if body.gzip is not None and quality_of(accepted, "gzip") else ""
        length = len(body.form(coding) or b"") if coding else body.size
        received = response.received if response.status is HTTPStatus.OK else None
        response = Response(b"", response.status, response.content_type, headers)
        # The length of an answer with 304 would be that of the body that is not sent.
        length_told = None if is_known else length
        head = head_of(response, length_told, encoding=coding, keep_alive=keep_alive)
        self._sink.write(head)
        if request.method == "HEAD":
            body = _NO_BODY
        await self._write(body, coding if body.form(coding) is not None else "")
        if received is not None and request.method == "GET":
            received()

    async def _send_stream(
        self,
        response: Response,
        stream: Stream,
        request: Request,
        *,
        keep_alive: bool,
    ) -> None:
        """Send pieces as they come; the next is asked for when the client has taken the last."""
        chunked = request.knows_chunks
        async with aclosing(stream):
            self._sink.write(head_of(response, None, keep_alive=keep_alive, chunked=chunked))
            try:
                await self._drain()
                if request.method == "HEAD":
                    return
                async for piece in stream:
                    self._sink.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                    await self._drain()
                if chunked:
                    self._sink.write(b"0\r\n\r\n")
                    await self._drain()
            except TimeoutError:
                self.cut("write_timeout")
                raise ConnectionAbortedError from None
            except KznError as error:
                self._server.count("cut_short")
                self._server.warn("stream", "HTTP: %s was cut short: %s", request.path, error)
                raise ConnectionAbortedError from error

    async def _write(self, body: Body, coding: str) -> None:
        self._server.places.sends(self, body)
        try:
            async with asyncio.timeout(self._limits.whole_write):
                await self._drain()
                for number, piece in enumerate(body.pieces(coding), 1):
                    self._sink.write(piece)
                    await self._drain()
                    if number % PIECES_AT_ONCE == 0:
                        await asyncio.sleep(0)  # draining waits for no client that reads as fast
        except TimeoutError:
            self.cut("write_timeout")
            raise ConnectionAbortedError from None
        finally:
            self._server.places.sent(self)

    async def _drain(self) -> None:
        async with asyncio.timeout(self._limits.write):
            await self._sink.drain()

    async def _finish(self) -> None:
        """Close after the last answer; a client that still sends is read for a moment.

        Closing with unread data resets the connection, and the answer may be lost.
        """
        with suppress(OSError):  # TimeoutError included
            async with asyncio.timeout(_LINGER_SECONDS):
                if self._streams[1].can_write_eof() and self._stream is self._streams[0]:
                    self._streams[1].write_eof()
                    left = _LINGER_BYTES
                    while left > 0 and (data := await self._stream.read(_READ)):
                        left -= len(data)
                self._sink.close()
                await self._sink.wait_closed()
