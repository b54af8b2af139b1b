"""kzn/client/http.py over loopback: every failure is one sentence with a hint."""

import gzip
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pki import Authority
from smallserver import serving

from kzn.cli import main
from kzn.client import http
from kzn.client.http import ApiClient
from kzn.daemon.http.body import PIECE
from kzn.daemon.tls import ServerTlsFiles
from kzn.errors import KznError, UsageError


def identity(answer: Any) -> Any:
    return answer


def test_an_answer_is_read_and_the_query_is_sent() -> None:
    asked = []

    def answers(topic: str, limit: str | None) -> tuple[int, bytes]:
        asked.append((topic, limit))
        return 200, b'{"of": 3}'

    with serving(answers) as url:
        client = ApiClient(f"{url}/")
        assert client.fetch("zones", lambda answer: answer["of"], [("limit", 7)]) == 3
        assert client.fetch("status", identity) == {"of": 3}
    assert asked == [("zones", "7"), ("status", None)]


BASES = {
    "http://h:8080": "http://h:8080",
    "http://h:8080/": "http://h:8080",
    "http://h:8080/#/": "http://h:8080",
    "http://h:8080/#/?range=1h": "http://h:8080",
    "http://h:8080#/nodes": "http://h:8080",
    "https://h/kzn/#/?range=1h&cell=a%3Eb": "https://h/kzn",
    "https://h/kzn#/w/shop/cart?kind=Deployment": "https://h/kzn",
    "https://h/kzn//#/pairs?src=zone&dst=zone": "https://h/kzn",
    "http://h:8080/?from=mail#/advice?open=same-zone%3Ashop%2Fcart": "http://h:8080",
    "http://h:8080/index.html#/explain?src=10.1.0.1&dst=::1": "http://h:8080",
    " http://[::1]:8080/#/\n": "http://[::1]:8080",
    "http://127.0.0.1:8001/api/v1/namespaces/kzn/services/kzn-server:http/proxy/#/w//node-1": (
        "http://127.0.0.1:8001/api/v1/namespaces/kzn/services/kzn-server:http/proxy"
    ),
}


@pytest.mark.parametrize("url", BASES)
def test_an_address_of_the_page_is_that_of_its_server(url: str) -> None:
    assert ApiClient(url).url == BASES[url]


def test_a_question_goes_to_the_server_of_the_page() -> None:
    with serving(lambda topic, limit: (200, json.dumps([topic, limit]).encode())) as url:
        client = ApiClient(f"{url}/#/w/shop/cart?range=1h&limit=3")
        assert client.fetch("zones", identity, [("limit", 7)]) == ["zones", "7"]


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (404, b"404: Not Found", "/api/v1/status: HTTP status 404: 404: Not Found"),
        (503, b"too many requests at once\n", "HTTP status 503: too many requests at once"),
        (503, b'{"error": "too many"}', "HTTP status 503: too many"),
        (503, b'["error"]', """HTTP status 503: ["error"]"""),
        (200, b"<html>", "/api/v1/status: unexpected answer: "),
        (200, b"[]", "/api/v1/status: unexpected answer: "),
        (200, b"[" * 100_000, "/api/v1/status: unexpected answer: RecursionError"),
        (200, b'{"version": "1"}', "/api/v1/status: unexpected answer: KeyError('bytes')"),
    ],
)
def test_an_unexpected_answer_is_one_sentence_with_the_url(
    status: int, body: bytes, sentence: str
) -> None:
    with (
        serving(lambda _topic, _limit: (status, body)) as url,
        pytest.raises(KznError) as caught,
    ):
        ApiClient(url).fetch("status", lambda answer: answer["bytes"])
    assert caught.value.message.startswith(url)
    assert sentence in caught.value.message
    assert caught.value.hint


def test_an_error_of_the_server_has_its_own_message_and_hint() -> None:
    refused = b'{"error": "limit x is not a number", "hint": "0 to 100000"}'
    for status, kind in ((400, UsageError), (421, KznError)):
        with serving(lambda *_, code=status: (code, refused)) as url, pytest.raises(kind) as caught:
            ApiClient(url).fetch("zones", identity)
        assert "limit x is not a number" in caught.value.message
        assert "{" not in caught.value.message
        assert caught.value.hint == "0 to 100000"


@pytest.mark.parametrize(
    "read", [lambda a: a["x"], lambda a: a.x, lambda a: a + 1, lambda _: int("x")]
)
def test_an_error_of_the_reader_is_an_unexpected_answer(read: Callable[[Any], Any]) -> None:
    with serving(lambda *_: (200, b"{}")) as url, pytest.raises(KznError, match="unexpected"):
        ApiClient(url).fetch("status", read)


def test_an_answer_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BYTES", 3)
    with serving(lambda *_: (200, b"1234")) as url:
        with pytest.raises(KznError, match="the answer is larger than"):
            ApiClient(url).fetch("status", identity)
        monkeypatch.setattr(http, "MAX_BYTES", 4)
        assert ApiClient(url).fetch("status", identity) == 1234


def test_a_part_of_an_answer_is_not_taken_for_the_whole() -> None:
    with (
        serving(lambda *_: (200, b"1234"), missing=1) as url,
        pytest.raises(KznError, match="cut off"),
    ):
        ApiClient(url).fetch("status", identity)


TEXT = b"a{} 1\n" * 100_000
GZIP = {"Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [(TEXT, {}), (gzip.compress(TEXT), GZIP), (b"", {}), (gzip.compress(b""), GZIP)],
)
def test_a_long_answer_is_taken_in_pieces(body: bytes, headers: dict[str, str]) -> None:
    with serving(lambda *_: (200, body), headers) as url:
        status, pieces, _ = ApiClient(url).take("metrics", list, len(TEXT))
    assert status == 200
    assert b"".join(pieces) == (TEXT if len(body) > 100 else b"")
    assert max(map(len, pieces), default=0) <= PIECE


@pytest.mark.parametrize(
    ("body", "headers", "missing", "reason"),
    [
        (TEXT, {}, 1, "cut off"),
        (gzip.compress(TEXT), GZIP, 1, "cut off"),
        (gzip.compress(TEXT)[:-1], GZIP, 0, "cut off"),
        (TEXT, GZIP, 0, "not gzip"),
        (TEXT + b"b", {}, 0, "larger than"),
        (gzip.compress(TEXT + b"b"), GZIP, 0, "larger than"),
    ],
)
def test_a_long_answer_is_whole_or_an_error(
    body: bytes, headers: dict[str, str], missing: int, reason: str
) -> None:
    with (
        serving(lambda *_: (200, body), headers, missing) as url,
        pytest.raises(KznError, match=reason),
    ):
        ApiClient(url).take("metrics", list, len(TEXT))


@pytest.mark.parametrize("host", ["a..example", ".example", f"{'a' * 64}.example"])
def test_a_host_that_dns_cannot_have_is_one_sentence(host: str) -> None:
    client = ApiClient(f"http://{host}:8080")
    with pytest.raises(KznError, match=f"{host}:8080: the host is not a name that DNS can have"):
        client.fetch("prices", lambda found: found)


def test_a_server_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda *_: (200, b"{}")) as url:
        pass
    assert main.run(["top", "--once", "--url", url]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"kzn: {url}: Connection refused"
    assert "kubeconfig" in second


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/",
        "kzn:8080",
        "http:h",
        "ftp://kzn",
        "http://",
        "http://h:x",
        "http://h:0",
        "http://h/?q",
        "#/nodes",
        "h:8080/#/",
        "http:///#/",
        "http://h:0/#/",
        "http://h?x",
        "file:///etc/passwd",
    ],
)
def test_text_that_is_not_an_http_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="URL") as caught:
        ApiClient(url)
    assert caught.value.hint == "write http://HOST:PORT"


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers of the request, or with a redirect."""

    location = ""

    def do_GET(self) -> None:
        """Answer a request."""
        self.send_response(302 if self.location else 200)
        if self.location:
            self.send_header("Location", self.location)
        self.end_headers()
        self.wfile.write(json.dumps(dict(self.headers)).encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def echoing(location: str = "", tls: ServerTlsFiles | None = None) -> Iterator[str]:
    handler = type("Handler", (Echo,), {"location": location})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.context().wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        server.shutdown()


def authorization(client: ApiClient) -> str | None:
    found: str | None = client.fetch("status", lambda answer: answer.get("Authorization"))
    return found


def test_the_token_of_a_file_is_sent_and_read_again(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with echoing() as url:
        client = ApiClient(url, token_file=token)
        with pytest.raises(UsageError, match="No such file"):
            authorization(client)
        for text in ("first", "second\n"):
            token.write_text(text)
            assert authorization(client) == f"Bearer {text.strip()}"
        for bad in ("", " \n", "a\nb", "\x00"):
            token.write_text(bad)
            with pytest.raises(UsageError, match="has no token"):
                authorization(client)
        assert authorization(ApiClient(url)) is None


def test_a_token_can_come_by_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_text, args=("secret",), daemon=True).start()
    with echoing() as url:
        client = ApiClient(url, token_file=pipe)
        assert [authorization(client) for _ in range(2)] == ["Bearer secret"] * 2


def test_a_redirect_is_an_error_so_that_the_token_goes_nowhere_else(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    with (
        echoing() as other,
        echoing(location=f"{other}/x") as url,
        pytest.raises(KznError, match="HTTP status 302"),
    ):
        authorization(ApiClient(url, token_file=token))


def test_https_is_verified_by_the_given_authority(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    files = ServerTlsFiles(*authority.issue("server", "IP:127.0.0.1"))
    with echoing(tls=files) as url:
        assert authorization(ApiClient(url, ca=authority.ca)) is None
        for client in (ApiClient(url, ca=other.ca), ApiClient(url)):
            with pytest.raises(KznError, match="certificate"):
                authorization(client)
    with pytest.raises(UsageError, match="cannot be used"):
        ApiClient("https://127.0.0.1", ca=tmp_path / "none.pem")
