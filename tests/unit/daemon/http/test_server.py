"""kzn/daemon/http/server.py and prometheus.py: answers, and limits for misbehaving clients."""

import asyncio
import gzip
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import pytest
import zstandard
from pki import Authority

from kzn.daemon.http.body import body_of
from kzn.daemon.http.hosts import AllowedHosts
from kzn.daemon.http.messages import BusyError, Request, Response, Route, problem
from kzn.daemon.http.places import HttpLimits
from kzn.daemon.http.server import HttpServer
from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.daemon.prometheus import health_route, metrics_route, new_registry
from kzn.daemon.tls import ServerTls, ServerTlsFiles
from kzn.errors import KznError, UsageError

LARGE = b"".join(b'kzn_zone_traffic_bytes_total{src_zone="a"} %d\n' % n for n in range(400_000))
ONE = HttpLimits(keep_alive=0.0)
"""One request for each connection, as the agent serves."""


def broken(_request: Request) -> Response:
    raise RuntimeError("a bug")


def busy(_request: Request) -> Response:
    raise BusyError("too many requests at once")


async def wrong(request: Request) -> Response:
    await asyncio.sleep(0)
    raise UsageError(f"x is {request.one('x')}", hint="leave it out")


ROUTES = {
    "/": Route(
        lambda request: Response(f"{request.path}?{request.one('a')}\n".encode()), frozenset({"a"})
    ),
    "/metrics": Route(metrics_route(new_registry("test"))),
    "/healthz": Route(health_route(lambda: ""), is_open=True),
    "/ill": Route(health_route(lambda: "no drain for 60 s")),
    "/broken": Route(broken),
    "/busy": Route(busy),
    "/wrong": Route(wrong, frozenset({"x"})),
    "/large": Route(lambda _request: Response(body_of([LARGE]))),
}
Client = Callable[[int], Awaitable[None]]


def serve(
    client: Client, limits: HttpLimits = ONE, made: Callable[[HttpLimits], HttpServer] | None = None
) -> HttpServer:
    """Run ``client`` with the port of a server; the server, closed."""

    async def run() -> HttpServer:
        sockets = listen(HostPort("127.0.0.1", 0))
        server = made(limits) if made is not None else HttpServer(ROUTES, limits)
        await server.start(sockets)
        async with asyncio.timeout(20):
            try:
                await client(bound_port(sockets))
            finally:
                await server.close()
        return server

    return asyncio.run(run())


def ask(
    request: bytes,
    limits: HttpLimits = ONE,
    made: Callable[[HttpLimits], HttpServer] | None = None,
) -> bytes:
    answer = b""

    async def client(port: int) -> None:
        nonlocal answer
        answer = await answer_of(port, request)

    serve(client, limits, made)
    return answer


async def answer_of(port: int, request: bytes) -> bytes:
    """All bytes that come after ``request``."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


def test_bytes_of_an_answer() -> None:
    assert ask(b"GET /?a=b HTTP/1.1\r\nHost: x\r\n\r\n") == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 4\r\nVary: Accept, Accept-Encoding\r\nCache-Control: no-store\r\n"
        b"X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n/?b\n"
    )


def test_head_is_answered_without_a_body() -> None:
    answer = ask(b"HEAD /healthz HTTP/1.1\r\n\r\n")
    assert b"Content-Length: 3\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_one_connection_serves_many_requests_even_if_they_come_at_once() -> None:
    one = b"GET /?a=%d HTTP/1.1\r\n\r\n"
    last = b"GET /?a=3 HTTP/1.1\r\nConnection: close\r\n\r\n"
    answer = ask(one % 1 + one % 2 + last, HttpLimits())
    bodies = [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"/?1\n", b"/?2\n", b"/?3\n"]
    assert answer.count(b"Connection: keep-alive") == 2


def body_and_head(answer: bytes) -> tuple[bytes, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return body, head


def test_a_large_answer_is_the_same_plain_and_compressed() -> None:
    body, head = body_and_head(ask(b"GET /large HTTP/1.1\r\n\r\n"))
    assert (body == LARGE, b"Content-Length: %d\r\n" % len(LARGE) in head) == (True, True)
    assert b"Content-Encoding" not in head
    body, head = body_and_head(ask(b"GET /large HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n"))
    assert b"Content-Encoding: gzip\r\n" in head
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert len(body) * 4 < len(LARGE)
    assert gzip.decompress(body) == LARGE


def test_a_client_that_prefers_zstd_gets_it_where_there_is_such_a_form() -> None:
    asked = b"GET %s HTTP/1.1\r\nAccept-Encoding: gzip;q=0.5, zstd\r\n\r\n"
    routes = {
        "/long": Route(lambda _request: Response(LARGE)),
        "/gzip": Route(lambda _request: Response(body_of([LARGE]))),
    }

    def server(limits: HttpLimits) -> HttpServer:
        return HttpServer(routes, limits)

    body, head = body_and_head(ask(asked % b"/long", made=server))
    assert b"Content-Encoding: zstd\r\n" in head
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert zstandard.ZstdDecompressor().decompressobj().decompress(body) == LARGE
    body, head = body_and_head(ask(asked % b"/gzip", made=server))
    assert b"Content-Encoding: gzip\r\n" in head
    assert gzip.decompress(body) == LARGE


def test_metrics_are_compressed_from_4_kib_on() -> None:
    zipped = b"GET %s HTTP/1.1\r\nAccept-Encoding: gzip, deflate\r\n\r\n"
    assert b"Content-Encoding" not in ask(zipped % b"/metrics")  # of the process alone: 2 KiB
    routes = {"/long": Route(lambda _request: Response(LARGE[:5000]))}
    body, head = body_and_head(
        ask(zipped % b"/long", made=lambda limits: HttpServer(routes, limits))
    )
    assert b"Content-Encoding: gzip" in head
    assert gzip.decompress(body) == LARGE[:5000]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/none", {"error": "there is no such page"}),
        (b"/broken", {"error": "internal error"}),
        (b"/busy", {"error": "too many requests at once"}),
        (b"/wrong?x=1", {"error": "x is 1", "hint": "leave it out"}),
        (b"/?b=1", {"error": "unknown parameter 'b'", "hint": "known here: a"}),
    ],
)
def test_an_error_is_json(path: bytes, found: dict[str, str]) -> None:
    body, head = body_and_head(ask(b"GET " + path + b" HTTP/1.1\r\n\r\n"))
    assert json.loads(body) == found
    assert b"Content-Type: application/json\r\n" in head


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /none HTTP/1.1\r\n\r\n", HTTPStatus.NOT_FOUND),
        (b"POST /metrics HTTP/1.1\r\n\r\n", HTTPStatus.METHOD_NOT_ALLOWED),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", HTTPStatus.METHOD_NOT_ALLOWED),
        (b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", HTTPStatus.BAD_REQUEST),
        (b"GET /wrong HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET /busy HTTP/1.1\r\n\r\n", HTTPStatus.SERVICE_UNAVAILABLE),
        (b"GET /broken HTTP/1.1\r\n\r\n", HTTPStatus.INTERNAL_SERVER_ERROR),
        (b"GET /ill HTTP/1.1\r\n\r\n", HTTPStatus.SERVICE_UNAVAILABLE),
        (b"nonsense\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET //x/metrics HTTP/1.1\r\n\r\n", HTTPStatus.NOT_FOUND),
        (b"\xff\x00\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    ],
)
def test_every_other_request_gets_its_status(request_: bytes, status: HTTPStatus) -> None:
    assert ask(request_).startswith(b"HTTP/1.1 %d " % status)


def test_health_answers_503_with_the_reason() -> None:
    assert ask(b"GET /ill HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nno drain for 60 s\n")


def test_metrics_have_the_requested_format() -> None:
    plain = ask(b"GET /metrics HTTP/1.1\r\n\r\n")
    assert b"Content-Type: text/plain; version=" in plain
    assert b'kzn_build_info{cluster="",component="test",version="' in plain
    assert b"process_resident_memory_bytes" in plain
    wanted = b"Accept: application/openmetrics-text; version=1.0.0\r\n"
    other = ask(b"GET /metrics HTTP/1.1\r\n" + wanted + b"\r\n")
    assert b"Content-Type: application/openmetrics-text" in other
    assert other.endswith(b"# EOF\n")


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nX: y\r\n"])
def test_a_client_that_does_not_finish_its_request_is_disconnected(sent: bytes) -> None:
    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await reader.read() == b""
        writer.close()

    server = serve(client, HttpLimits(head=0.05))
    assert server.stats.refused == {"head_timeout": 1}


def test_a_client_that_asks_no_more_is_disconnected_and_not_counted() -> None:
    assert ask(b"GET /healthz HTTP/1.1\r\n\r\n", HttpLimits(keep_alive=0.05)).endswith(b"ok\n")


def test_a_client_that_does_not_read_is_cut() -> None:
    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        writer.write(b"GET /large HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        while servers[0].stats.refused["write_timeout"] < 1:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
        writer.close()

    def made(limits: HttpLimits) -> HttpServer:
        servers.append(HttpServer(ROUTES, limits))
        return servers[0]

    servers: list[HttpServer] = []
    server = serve(client, HttpLimits(write=0.1), made)
    assert server.places.unsent_bytes == 0


def test_clients_that_send_nothing_do_not_keep_out_one_that_asks() -> None:
    async def client(port: int) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]
        for _ in range(3):
            assert (await answer_of(port, b"GET /healthz HTTP/1.1\r\n\r\n")).endswith(b"ok\n")
        for _, writer in idle:
            writer.close()

    server = serve(client, HttpLimits(connections=4, connections_per_address=4, keep_alive=0.0))
    assert server.stats.refused["evicted"] >= 26
    assert set(server.stats.refused) <= {"evicted", "head_timeout"}


def test_a_thousand_cut_connections_are_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async def client(port: int) -> None:
        for _ in range(1000):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        await answer_of(port, b"GET /healthz HTTP/1.1\r\n\r\n")
        for _, writer in idle:
            writer.close()

    with caplog.at_level(logging.DEBUG, "kzn"):
        serve(client, HttpLimits(connections_per_address=2, keep_alive=0.0))
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


def test_beyond_the_limit_the_answer_is_503_while_all_others_are_answered() -> None:
    async def client(port: int) -> None:
        waiting = asyncio.create_task(answer_of(port, b"GET /wait HTTP/1.1\r\n\r\n"))
        await asked.wait()
        found = await answer_of(port, b"GET /healthz HTTP/1.1\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 503 ")
        assert json.loads(body_and_head(found)[0]) == {"error": "too many connections"}
        go.set()
        assert (await waiting).endswith(b"late\n")
        while b" 503 " in await answer_of(port, b"GET /healthz HTTP/1.1\r\n\r\n"):
            pass  # serve() has a deadline

    async def wait(_request: Request) -> Response:
        asked.set()
        await go.wait()
        return Response(b"late\n")

    asked, go = asyncio.Event(), asyncio.Event()
    routes = {**ROUTES, "/wait": Route(wait)}
    limits = HttpLimits(connections=1, keep_alive=0.0)
    server = serve(client, limits, lambda limits: HttpServer(routes, limits))
    assert server.stats.refused["connections"] >= 1


def test_a_host_that_kzn_cannot_have_is_refused_except_by_open_pages() -> None:
    def made(limits: HttpLimits) -> HttpServer:
        return HttpServer(ROUTES, limits, hosts=AllowedHosts(["kzn.example"]))

    request = b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n"
    for path in (b"/metrics", b"/", b"/none"):
        answer = ask(request % (path, b"evil.example"), made=made)
        assert answer.startswith(b"HTTP/1.1 421 "), path
        assert "--http-host" in json.loads(body_and_head(answer)[0])["hint"]
    assert ask(request % (b"/healthz", b"evil.example"), made=made).endswith(b"ok\n")
    assert ask(request % (b"/", b"kzn.example:80"), made=made).endswith(b"/?None\n")
    assert ask(request % (b"/", b"127.0.0.1"), made=made).endswith(b"/?None\n")


def test_every_page_that_is_not_open_asks_for_authorization() -> None:
    async def authorize(request: Request) -> Response | None:
        if request.headers.get("authorization") == "Bearer good":
            return None
        return problem(HTTPStatus.UNAUTHORIZED, "a bearer token is required")

    def made(limits: HttpLimits) -> HttpServer:
        return HttpServer(ROUTES, limits, authorize=authorize)

    request = b"GET %s HTTP/1.1\r\nAuthorization: Bearer %s\r\n\r\n"
    for path, route in ROUTES.items():
        refused = ask(request % (path.encode(), b"bad"), made=made).startswith(b"HTTP/1.1 401 ")
        assert refused is not route.is_open, path
    assert ask(request % (b"/", b"good"), made=made).endswith(b"/?None\n")


def test_tls_and_its_reload(tmp_path: Path) -> None:
    first, second = Authority(tmp_path / "1"), Authority(tmp_path / "2")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"

    def use(authority: Authority) -> None:
        for made, file in zip(authority.issue("server", "IP:127.0.0.1"), (cert, key), strict=True):
            made.replace(file)

    async def get(port: int, authority: Authority) -> bytes:
        context = ssl.create_default_context(cafile=str(authority.ca))
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return body_and_head(answer)[0]

    async def client(port: int) -> None:
        assert await get(port, first) == LARGE
        use(second)
        assert await get(port, second) == LARGE
        with pytest.raises(ssl.SSLCertVerificationError):
            await get(port, first)
        assert b"HTTP" not in await answer_of(port, b"GET / HTTP/1.1\r\n\r\n")

    use(first)
    tls = ServerTls(ServerTlsFiles(cert, key))
    serve(client, HttpLimits(), lambda limits: HttpServer(ROUTES, limits, tls=tls))


def test_closing_does_not_wait_for_a_client_without_a_request() -> None:
    async def client(port: int) -> None:
        await asyncio.open_connection("127.0.0.1", port)
        assert (await answer_of(port, b"GET /healthz HTTP/1.1\r\n\r\n")).endswith(b"ok\n")

    serve(client, HttpLimits(head=3600.0, keep_alive=0.0))


def test_closing_lets_an_answer_in_progress_end() -> None:
    async def client(port: int) -> None:
        tasks.append(asyncio.create_task(answer_of(port, b"GET /wait HTTP/1.1\r\n\r\n")))
        await asked.wait()
        asyncio.get_running_loop().call_soon(go.set)

    async def wait(_request: Request) -> Response:
        asked.set()
        await go.wait()
        return Response(b"late\n")

    async def run() -> bytes:
        sockets = listen(HostPort("127.0.0.1", 0))
        server = HttpServer({"/wait": Route(wait)}, HttpLimits())
        await server.start(sockets)
        await client(bound_port(sockets))
        await server.close()
        return await tasks[0]

    asked, go = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[bytes]] = []
    assert asyncio.run(run()).endswith(b"late\n")


class Pieces:
    """A stream of pieces; an exception among them is raised."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces
        self.taken = self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.taken += 1
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self) -> None:
        self.closed += 1


def streaming(pieces: Pieces) -> Callable[[HttpLimits], HttpServer]:
    route = Route(lambda _request: Response(b"", stream=pieces))
    return lambda limits: HttpServer({"/stream": route, **ROUTES}, limits)


def test_a_stream_is_sent_in_chunks_and_the_connection_stays_open() -> None:
    pieces = Pieces(b"first\n", b"x" * 300)
    sent = b"GET /stream HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"
    answer = ask(sent, HttpLimits(), streaming(pieces))
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert b"Content-Length" not in head
    body, _, second = rest.partition(b"0\r\n\r\n")
    assert body == b"6\r\nfirst\n\r\n12c\r\n" + b"x" * 300 + b"\r\n"
    assert second.endswith(b"ok\n")
    assert pieces.closed == 1


def test_an_old_client_gets_a_stream_until_the_connection_ends() -> None:
    pieces = Pieces(b"first", b"second")
    sent = b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    head, _, body = ask(sent, HttpLimits(), streaming(pieces)).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == b"firstsecond"


def test_head_of_a_stream_takes_no_piece_and_closes_it() -> None:
    pieces = Pieces(b"first")
    assert ask(b"HEAD /stream HTTP/1.1\r\n\r\n", ONE, streaming(pieces)).endswith(b"\r\n\r\n")
    assert (pieces.taken, pieces.closed) == (0, 1)


def test_a_stream_that_breaks_is_visibly_incomplete(caplog: pytest.LogCaptureFixture) -> None:
    pieces = Pieces(b"first", KznError("the disk is gone"), b"second")
    answers: list[bytes] = []

    async def client(port: int) -> None:
        with suppress(ConnectionResetError):
            answers.append(await answer_of(port, b"GET /stream HTTP/1.1\r\n\r\n"))

    server = serve(client, ONE, streaming(pieces))
    assert not any(answer.endswith(b"0\r\n\r\n") for answer in answers)
    assert server.stats.refused == {"cut_short": 1}
    assert "the disk is gone" in caplog.text
    assert pieces.closed == 1


def test_a_client_that_goes_or_does_not_read_ends_a_stream() -> None:
    pieces = Pieces(*[b"x" * 65_536] * 1000)

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        writer.write(b"GET /stream HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        while not pieces.closed:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
        writer.close()

    serve(client, HttpLimits(write=0.1), streaming(pieces))
    assert pieces.closed == 1
    assert pieces.taken < 200  # what sockets buffer, and no more
