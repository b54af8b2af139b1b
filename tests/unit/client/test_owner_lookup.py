"""kzn/client/owner_lookup.py over loopback: limited requests, and a cache."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from kzn.client.api import MAX_ADDRESSES, AddressOwner
from kzn.client.http import ApiClient
from kzn.client.owner_lookup import KEEP_SECONDS, OwnerLookup
from kzn.errors import KznError


class Server:
    """Answers as a kzn server, or with ``body``; keeps the addresses of each request."""

    def __init__(self, body: bytes | None = None) -> None:
        self.body = body
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
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
            thread = threading.Thread(target=http.serve_forever)
            thread.start()
            self.url = f"http://127.0.0.1:{http.server_port}"
            try:
                yield self
            finally:
                http.shutdown()
                thread.join()


def test_an_owner_has_its_kubernetes_name() -> None:
    with Server().serving() as server:
        found = OwnerLookup(ApiClient(server.url)).owners(["10.0.0.1"])
    assert found == {"10.0.0.1": AddressOwner("10.0.0.1", "pod", "shop", "web-10.0.0.1")}


def test_many_addresses_are_looked_up_in_several_requests_each_once() -> None:
    addresses = [f"10.0.{n // 250}.{n % 250}" for n in range(MAX_ADDRESSES + 1)]
    with Server().serving() as server:
        found = OwnerLookup(ApiClient(server.url)).owners(addresses * 2)
    assert list(found) == addresses
    assert [len(asked) for asked in server.asked] == [MAX_ADDRESSES, 1]


def test_an_answer_is_cached_for_a_while() -> None:
    now = 0.0
    with Server().serving() as server:
        lookup = OwnerLookup(ApiClient(server.url), clock=lambda: now)
        lookup.owners(["10.0.0.1"])
        lookup.owners(["10.0.0.1", "10.0.0.2"])
        now = KEEP_SECONDS + 1
        lookup.owners(["10.0.0.1"])
    assert server.asked == [["10.0.0.1"], ["10.0.0.2"], ["10.0.0.1"]]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"addresses": [{"owner": "pod"}]}'])
def test_an_answer_of_another_shape_is_an_error_of_the_server(body: bytes) -> None:
    with Server(body).serving() as server, pytest.raises(KznError, match="unexpected answer"):
        OwnerLookup(ApiClient(server.url)).owners(["10.0.0.1"])
