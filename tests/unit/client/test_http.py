"""kzn/client/http.py over loopback: every failure is one sentence with a hint."""

from collections.abc import Callable
from typing import Any

import pytest
from smallserver import serving

from kzn.cli import main
from kzn.client import http
from kzn.client.http import ApiClient
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


def test_a_server_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda *_: (200, b"{}")) as url:
        pass
    assert main.run(["top", "--once", "--url", url]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"kzn: {url}: Connection refused"
    assert "port-forward" in second


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
        "http://h?x",
        "file:///etc/passwd",
    ],
)
def test_text_that_is_not_an_http_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="URL") as caught:
        ApiClient(url)
    assert caught.value.hint == "write http://HOST:PORT"
