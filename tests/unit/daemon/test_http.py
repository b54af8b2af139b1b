"""kzn/daemon/http.py and prometheus.py: answers, and limits for misbehaving clients."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import pytest

from kzn.daemon.http import HttpLimits, HttpServer, Request, Response
from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.daemon.prometheus import health_route, metrics_route, new_registry


def broken(_request: Request) -> Response:
    raise RuntimeError("a bug")


ROUTES = {
    "/": lambda request: Response(f"{request.path}?{request.query}\n".encode()),
    "/metrics": metrics_route(new_registry("test")),
    "/healthz": health_route(lambda: ""),
    "/ill": health_route(lambda: "no drain for 60 s"),
    "/broken": broken,
}
Client = Callable[[int], Awaitable[None]]


def serve(client: Client, limits: HttpLimits | None = None) -> None:
    async def run() -> None:
        sockets = listen(HostPort("127.0.0.1", 0))
        server = HttpServer(ROUTES, limits)
        await server.start(sockets)
        async with asyncio.timeout(20):
            try:
                await client(bound_port(sockets))
            finally:
                await server.close()

    asyncio.run(run())


def ask(request: bytes, limits: HttpLimits | None = None) -> bytes:
    answer = b""

    async def client(port: int) -> None:
        nonlocal answer
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()

    serve(client, limits)
    return answer


def test_bytes_of_an_answer() -> None:
    assert ask(b"GET /?a=b HTTP/1.1\r\nHost: x\r\n\r\n") == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 6\r\nConnection: close\r\n\r\n/?a=b\n"
    )


def test_head_is_answered_without_a_body() -> None:
    answer = ask(b"HEAD /healthz HTTP/1.1\r\n\r\n")
    assert b"Content-Length: 3\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /none HTTP/1.1\r\n\r\n", HTTPStatus.NOT_FOUND),
        (b"POST /metrics HTTP/1.1\r\n\r\n", HTTPStatus.METHOD_NOT_ALLOWED),
        (b"GET /broken HTTP/1.1\r\n\r\n", HTTPStatus.INTERNAL_SERVER_ERROR),
        (b"GET /ill HTTP/1.1\r\n\r\n", HTTPStatus.SERVICE_UNAVAILABLE),
        (b"nonsense\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET //[ HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),
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
    assert b'kzn_build_info{component="test",version="' in plain
    assert b"process_resident_memory_bytes" in plain
    wanted = b"Accept: application/openmetrics-text; version=1.0.0\r\n"
    other = ask(b"GET /metrics HTTP/1.1\r\n" + wanted + b"\r\n")
    assert b"Content-Type: application/openmetrics-text" in other
    assert other.endswith(b"# EOF\n")


def test_a_silent_client_is_disconnected() -> None:
    assert ask(b"GET / HT", HttpLimits(seconds=0.05)) == b""


def test_a_client_beyond_the_limit_gets_503_until_another_leaves() -> None:
    async def client(port: int) -> None:
        held, idle = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        writer.close()
        idle.write(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert (await held.read()).endswith(b"ok\n")
        idle.close()
        while not await answered(port):
            pass  # serve() has a deadline

    serve(client, HttpLimits(connections=1))


def test_closing_does_not_wait_for_a_slow_client() -> None:
    held = []

    async def client(port: int) -> None:
        held.append(await asyncio.open_connection("127.0.0.1", port))
        while not await answered(port):
            pass  # the slow client came first, so by now it has its place

    begin = time.monotonic()
    serve(client, HttpLimits(seconds=3600.0))
    assert time.monotonic() - begin < 10.0


async def answered(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.endswith(b"ok\n")
