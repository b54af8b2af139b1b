"""kzn/top/reading.py against the answers of a real server."""

import pytest
from smallserver import WEB, real, serving

from kzn.cli import main
from kzn.client.http import ApiClient
from kzn.errors import KznError
from kzn.top.reading import Pair, Workload, ZonePair, take_reading


def test_a_reading_has_the_sums_of_the_server() -> None:
    with serving(real) as url:
        reading = take_reading(ApiClient(url), clock=lambda: 12.0)
    assert reading.at == 12.0
    assert reading.status.bytes.seen == 90
    assert reading.status.bytes.missed == 10
    assert reading.zones == {
        ZonePair("a", "b", "cross_zone"): 33,
        ZonePair("a", "a", "same_zone"): 7,
    }
    assert reading.workloads == {
        Workload(*WEB): {"sent": 34, "egress_same_zone": 7, "ingress_external": 5}
    }
    assert reading.cut == 0


def test_rows_of_a_pair_are_added_up_over_initiators() -> None:
    with serving(real) as url:
        pairs = take_reading(ApiClient(url)).pairs
    assert pairs == {Pair("shop", "web", "a", "shop", "db", "b"): 33}


def test_a_value_of_another_type_is_an_error_of_the_server() -> None:
    def answers(topic: str, limit: str | None) -> tuple[int, bytes]:
        status, body = real(topic, limit)
        return status, body.replace(b'"bytes": 33', b'"bytes": "many"')

    with serving(answers) as url, pytest.raises(KznError, match="zones: unexpected answer"):
        take_reading(ApiClient(url))


def test_one_reading_prints_a_page_or_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(real) as url:
        assert main.run(["top", "--once", "--url", url]) == 0
        page = capsys.readouterr().out
        assert main.run(["top", "--once", "--json", "--url", url]) == 0
        document = capsys.readouterr().out
    assert "shop/web  a     shop/db  b        -   33 B" in page
    assert '"pairs": [{"src_namespace": "shop"' in document
    assert document.count("\n") == 1


def test_the_url_comes_from_kzn_url_and_not_from_the_agents_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(real) as url:
        monkeypatch.setenv("KZN_SERVER", "kzn:7070")
        monkeypatch.setenv("KZN_URL", url)
        assert main.run(["top", "--once"]) == 0
