"""The client against the server's own answers, and against what is no server of kzn."""

import pytest
from smallserver import WEB, real, serving

from kzn.cli import main
from kzn.client.api import Pair, Workload, ZonePair
from kzn.client.http import Client
from kzn.errors import KznError, UsageError


def test_a_look_is_what_the_server_has() -> None:
    with serving(real) as url:
        look = Client(f"{url}/", clock=lambda: 12.0).look()
    assert look.at == 12.0
    assert look.status.seen == 90
    assert look.status.missed == 10
    assert look.zones == {
        ZonePair("a", "b", "cross_zone"): 33,
        ZonePair("a", "a", "same_zone"): 7,
    }
    assert look.workloads == {
        Workload(*WEB): {"sent": 34, "egress_same_zone": 7, "ingress_external": 5}
    }
    assert look.cut == 0


def test_a_pair_is_one_whoever_opened_its_connections() -> None:
    with serving(real) as url:
        assert Client(url).look().pairs == {Pair("shop", "web", "a", "shop", "db", "b"): 33}


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b"404: Not Found", "answered 404: 404: Not Found"),
        (503, b"too many requests at once\n", "answered 503: too many requests at once"),
        (200, b"<html>", "answers something else"),
        (200, b"[]", "answers something else"),
        (200, b'{"version": "1"}', "answers something else: KeyError('bytes')"),
    ],
)
def test_what_is_no_server_of_kzn_is_told_in_a_sentence(
    status: int, body: bytes, said: str
) -> None:
    with (
        serving(lambda _topic, _limit: (status, body)) as url,
        pytest.raises(KznError) as caught,
    ):
        Client(url).look()
    assert said in caught.value.message
    assert "port-forward" in caught.value.hint


def test_nobody_there_is_told_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(real) as url:
        pass
    assert main.run(["top", "--once", "--server", url]) == 1
    shown = capsys.readouterr()
    assert shown.err.splitlines()[0] == f"kzn: {url}: Connection refused"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "kzn:8080",
        "ftp://kzn",
        "http://",
        "http://h:x",
        "http://h:0",
        "http://h/?q",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_http_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"URL|has more than"):
        Client(url)


def test_one_look_prints_a_page_or_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(real) as url:
        assert main.run(["top", "--once", "--server", url]) == 0
        page = capsys.readouterr().out
        assert main.run(["top", "--once", "--json", "--server", url]) == 0
        document = capsys.readouterr().out
    assert "shop/web  a     shop/db  b        -   33 B" in page
    assert '"pairs": [{"src_namespace": "shop"' in document
    assert document.count("\n") == 1


def test_the_agents_variable_is_not_taken_for_the_address_of_http(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(real) as url:
        monkeypatch.setenv("KZN_SERVER", "kzn:7070")
        monkeypatch.setenv("KZN_URL", url)
        assert main.run(["top", "--once"]) == 0
