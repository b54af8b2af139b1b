"""Names asked of a server: over real HTTP on loopback, in portions, and not again and again."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from kzn.client.owner_lookup import AT_ONCE, KEEP_SECONDS, Owner, OwnerLookup, parse_server
from kzn.errors import KznError, UsageError
from kzn.server.http.addresses import MAX_ADDRESSES


class Server:
    """Answers as a kzn server, or as told; remembers what it was asked for."""

    def __init__(self, body: bytes | None = None, status: int = 200) -> None:
        self.body = body
        self.status = status
        self.asked: list[list[str]] = []
        self.url = ""

    def answer(self, path: str) -> bytes:
        parts = urlsplit(path)
        assert parts.path == "/api/v1/addresses"
        self.asked.append(parse_qs(parts.query)["address"])
        rows = [
            {"address": address, "owner": "pod", "namespace": "shop", "name": f"web-{address}"}
            for address in self.asked[-1]
        ]
        return json.dumps({"addresses": rows}).encode() if self.body is None else self.body

    @contextmanager
    def serving(self) -> Iterator["Server"]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = server.answer(self.path)
                self.send_response(server.status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
            thread = threading.Thread(target=http.serve_forever)
            thread.start()
            self.url = f"http://127.0.0.1:{http.server_port}"
            try:
                yield self
            finally:
                http.shutdown()
                thread.join()


def test_an_owner_has_the_name_that_kubernetes_gives_it() -> None:
    with Server().serving() as server:
        found = OwnerLookup(server.url + "/").of(["10.0.0.1"])
    assert found == {"10.0.0.1": Owner("pod", "shop", "web-10.0.0.1")}
    assert found["10.0.0.1"].label == "shop/web-10.0.0.1"
    assert Owner("node", "", "n1").label == "n1"
    assert Owner("external").label == ""


def test_many_are_asked_for_in_portions_and_each_once() -> None:
    addresses = [f"10.0.{n // 250}.{n % 250}" for n in range(AT_ONCE + 1)]
    with Server().serving() as server:
        assert len(OwnerLookup(server.url).of(addresses * 2)) == AT_ONCE + 1
    assert [len(asked) for asked in server.asked] == [AT_ONCE, 1]
    assert AT_ONCE <= MAX_ADDRESSES


def test_an_answer_is_remembered_for_a_while() -> None:
    now = 0.0
    with Server().serving() as server:
        names = OwnerLookup(server.url, clock=lambda: now)
        names.of(["10.0.0.1"])
        names.of(["10.0.0.1", "10.0.0.2"])
        now = KEEP_SECONDS + 1
        names.of(["10.0.0.1"])
    assert server.asked == [["10.0.0.1"], ["10.0.0.2"], ["10.0.0.1"]]


@pytest.mark.parametrize(
    ("server", "sentence"),
    [
        (Server(b"<html>"), "does not answer as a kzn server"),
        (Server(b"[]"), "does not answer as a kzn server"),
        (Server(b'{"addresses": [{"owner": "pod"}]}'), "does not answer as a kzn server"),
        (Server(b"", 404), "404 Not Found"),
        (Server(b"too many requests at once", 503), "503 Service Unavailable"),
    ],
)
def test_another_answer_is_one_sentence(server: Server, sentence: str) -> None:
    with server.serving(), pytest.raises(KznError, match=sentence) as raised:
        OwnerLookup(server.url).of(["10.0.0.1"])
    assert server.url in str(raised.value)


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(KznError, match="Connection refused") as raised:
        OwnerLookup("http://127.0.0.1:1").of(["10.0.0.1"])
    assert "HTTP port" in raised.value.hint


@pytest.mark.parametrize("text", ["", "h:8080", "ftp://h", "http://", "http://h?x", "/", "http:h"])
def test_what_is_no_url_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="no URL of a server"):
        parse_server(text)
