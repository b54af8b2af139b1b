"""kzn open: what passes to the server, and for whom."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from threading import Thread

import pytest
from smallserver import serving

from kzn.cli import main
from kzn.client.http import ApiClient
from kzn.client.relay import Relay
from kzn.errors import KznError


@contextmanager
def relaying(url: str) -> Iterator[tuple[Relay, list[str]]]:
    said: list[str] = []
    relay = Relay(ApiClient(url), report=said.append)
    thread = Thread(target=relay.run)
    thread.start()
    try:
        yield relay, said
    finally:
        relay.stop()
        thread.join()


def ask(relay: Relay, path: str, *, host: str = "", method: str = "GET") -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", relay.port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{relay.port}")
    connection.endheaders()
    return connection.getresponse()


def test_it_listens_on_loopback_alone_and_passes_paths_on() -> None:
    asked = []

    def answer(topic: str, limit: str | None) -> tuple[int, bytes]:
        asked.append((topic, limit))
        return 200, b"{}"

    with serving(answer) as url, relaying(url) as (relay, said):
        assert relay.url == f"http://127.0.0.1:{relay.port}/"
        response = ask(relay, "/api/v1/zones?limit=3")
        assert (response.status, response.read()) == (200, b"{}")
        assert ask(relay, "/", host=f"localhost:{relay.port}").status == 200
    assert asked == [("zones", "3"), ("/", None)]
    assert said == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1", "evil.example:{port}"])
def test_another_name_is_refused(host: str) -> None:
    with serving(lambda *_: (200, b"{}")) as url, relaying(url) as (relay, _):
        assert ask(relay, "/", host=host.format(port=relay.port)).status == 421


@pytest.mark.parametrize(
    "path",
    [
        "http://other/",
        "/" + "x" * 9000,
        "/../../api/v1/secrets",
        "/api/v1/pods/x",
        "/a/b",
        "/%2e%2e/",
    ],
)
def test_another_target_is_refused(path: str) -> None:
    with serving(lambda *_: (200, b"{}")) as url, relaying(url) as (relay, _):
        assert ask(relay, path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_only_get_is_answered(method: str) -> None:
    with serving(lambda *_: (200, b"{}")) as url, relaying(url) as (relay, _):
        assert ask(relay, "/", method=method).status == 501


def test_an_error_of_the_server_is_passed_on() -> None:
    with (
        serving(lambda *_: (503, b'{"error": "not ready", "hint": "wait"}')) as url,
        relaying(url) as (relay, said),
    ):
        response = ask(relay, "/api/v1/status")
        assert response.status == 503
        assert b"not ready" in response.read()
    assert said == []


def test_a_server_that_is_away_is_told_to_the_page_and_on_the_terminal() -> None:
    with serving(lambda *_: (200, b"{}")) as url:
        pass
    with relaying(url) as (relay, said):
        assert ask(relay, "/api/v1/status").status == 502
    assert len(said) == 1


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with serving(lambda *_: (200, b"{}")) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(KznError, match=f"cannot listen on 127.0.0.1:{port}"):
            Relay(ApiClient(url), port)


def test_the_command_says_first_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda *_: (200, b"{}")) as url:
        pass
    assert main.run(["open", "--no-browser", "--url", url]) == 1
    assert f"kzn: {url}: Connection refused" in capsys.readouterr().err
