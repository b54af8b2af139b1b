"""kzn/top/reading.py against the answers of a real server."""

import json

import pytest
from smallserver import WEB, Answers, real, serving

from kzn.cli import main
from kzn.client.http import ApiClient
from kzn.errors import KznError, UsageError
from kzn.top.reading import Pair, Workload, ZonePair, take_reading


def test_a_reading_has_the_sums_of_the_server() -> None:
    with serving(real) as url:
        reading = take_reading([ApiClient(url)], clock=lambda: 12.0)
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
        pairs = take_reading([ApiClient(url)]).pairs
    assert pairs == {Pair("shop", "web", "a", "shop", "db", "b"): 33}


def test_a_value_of_another_type_is_an_error_of_the_server() -> None:
    def answers(topic: str, limit: str | None) -> tuple[int, bytes]:
        status, body = real(topic, limit)
        return status, body.replace(b'"bytes":33', b'"bytes":"many"')

    with serving(answers) as url, pytest.raises(KznError, match="zones: unexpected answer"):
        take_reading([ApiClient(url)])


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


def instance(number: int, **changed: int) -> Answers:
    """The answers of a server with a ledger of its own, with fields of its status replaced."""

    def answers(topic: str, limit: str | None) -> tuple[int, bytes]:
        code, body = real(topic, limit)
        if topic == "status":
            found = json.loads(body) | {"instance": f"{number:08x}"} | changed
            body = json.dumps(found).encode()
        return code, body

    return answers


def test_several_servers_are_added_up() -> None:
    one = instance(1, nodes_known=6, nodes_reporting=2, agents=2, batches=10, proposals=3)
    two = instance(2, nodes_known=6, nodes_reporting=3, agents=3, batches=5)
    with serving(one) as first, serving(two) as second:
        reading = take_reading([ApiClient(first), ApiClient(second)])
    assert reading.zones == {
        ZonePair("a", "b", "cross_zone"): 66,
        ZonePair("a", "a", "same_zone"): 14,
    }
    assert reading.workloads == {
        Workload(*WEB): {"sent": 68, "egress_same_zone": 14, "ingress_external": 10}
    }
    assert reading.pairs == {Pair("shop", "web", "a", "shop", "db", "b"): 66}
    found = reading.status
    assert (found.bytes.seen, found.bytes.missed) == (180, 20)
    assert (found.agents, found.batches, found.nodes) == (5, 15, 2)
    assert (found.nodes_known, found.nodes_reporting) == (6, 5)
    assert (found.proposals, found.saving_per_month) == (None, {})
    assert [status.batches for status in reading.servers] == [10, 5]


def test_one_server_by_two_names_is_refused() -> None:
    with serving(instance(7)) as first, serving(instance(7)) as second:
        with pytest.raises(UsageError, match="are the same server"):
            take_reading([ApiClient(first), ApiClient(second)])
        assert main.run(["top", "--once", "--url", first, "--url", second]) == 2


def test_the_page_says_which_part_of_the_cluster_it_shows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = instance(1, nodes_known=6, nodes_reporting=2, nodes_without_agent=1)
    two = instance(2, nodes_known=6, nodes_reporting=3, nodes_without_agent=1)
    with serving(one) as first, serving(two) as second:
        assert main.run(["top", "--once", "--url", first]) == 0
        assert "2 of 6 nodes report" in capsys.readouterr().out
        monkeypatch.setenv("KZN_URL", f"{first} {second}")
        assert main.run(["top", "--once"]) == 0
        page = capsys.readouterr().out
        assert "at 2 servers" in page
        assert "5 of 6 nodes report" in page
        assert main.run(["top", "--once", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
    assert (document["nodes_known"], document["nodes_reporting"]) == (6, 5)


def test_a_server_of_another_version_without_these_fields_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    new = {"instance", "nodes_known", "nodes_reporting", "nodes_without_agent"}

    def answers(topic: str, limit: str | None) -> tuple[int, bytes]:
        code, body = real(topic, limit)
        found = {key: value for key, value in json.loads(body).items() if key not in new}
        return code, json.dumps(found).encode()

    with serving(answers) as url:
        assert main.run(["top", "--once", "--url", url]) == 0
    assert "1 nodes" in capsys.readouterr().out


def priced(number: int, provider: str, currency: str, cost: float) -> Answers:
    """A server whose own list prices its bytes."""

    def answers(topic: str, limit: str | None) -> tuple[int, bytes]:
        code, body = instance(number)(topic, limit)
        found = json.loads(body)
        if topic == "status":
            row = {"provider": provider, "list": provider, "currency": currency}
            found["prices"] = [row | {"valid_from": "2026-01-01", "date": f"2026-0{number}-01"}]
        if topic == "zones":
            for one in found["zones"]:
                one |= {"cost": cost, "currency": currency, "unpriced_bytes": 0}
        return code, json.dumps(found).encode()

    return answers


def test_servers_with_prices_of_their_own_keep_each_its_list_and_its_currency() -> None:
    one, two = priced(1, "aws", "USD", 2.0), priced(2, "gcp", "EUR", 3.0)
    with serving(one) as first, serving(two) as second, serving(instance(3)) as third:
        # The first of them has no prices.
        reading = take_reading([ApiClient(url) for url in (third, first, second)])
    lists = [(row.list, row.currency, row.date) for row in reading.status.prices]
    assert lists == [("aws", "USD", "2026-01-01"), ("gcp", "EUR", "2026-02-01")]
    cost = reading.zone_costs[ZonePair("a", "b", "cross_zone")]
    assert cost.by_currency == {"USD": 2.0, "EUR": 3.0}
    assert cost.unpriced == 33


def test_a_list_that_all_servers_use_is_named_once() -> None:
    with serving(priced(1, "aws", "USD", 2.0)) as first:
        reading = take_reading([ApiClient(first)])
        assert len(reading.status.prices) == 1
    same = priced(1, "aws", "USD", 2.0)

    def other(topic: str, limit: str | None) -> tuple[int, bytes]:
        code, body = same(topic, limit)
        return code, body.replace(b'"00000001"', b'"00000002"')

    with serving(same) as first, serving(other) as second:
        reading = take_reading([ApiClient(first), ApiClient(second)])
    assert len(reading.status.prices) == 1
    assert reading.zone_costs[ZonePair("a", "b", "cross_zone")].by_currency == {"USD": 4.0}
