"""/api/v1/advice: its fields are those of docs/api.md, its sums those of its proposals."""

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from advice_history import Store, sources_of
from manifests import ROOT

from kzn.daemon.http.messages import Request, Response
from kzn.errors import UsageError
from kzn.server.advice import FRESH_SECONDS, Adviser
from kzn.server.http.advice import AdvicePage, filtered
from kzn.topology.routing_facts import ServiceRouting


def get(**parameters: str) -> Any:
    return asked(Store(), parameters)


def asked(store: Store, parameters: dict[str, str]) -> Any:
    page = AdvicePage(Adviser(sources_of(store))).routes()["/api/v1/advice"]

    async def run() -> Response:
        found = page.answer(
            Request("GET", "/", {name: (value,) for name, value in parameters.items()})
        )
        assert not isinstance(found, Response)
        return await found

    response = asyncio.run(run())
    assert not isinstance(response.body, bytes)
    return json.loads(b"".join(response.body.pieces()))


def test_an_answer_has_the_fields_of_the_page() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    section = text.partition("\n### /api/v1/advice\n")[2].partition("\n### ")[0]
    tables = re.split(r"^\| field \| \|$", section, flags=re.MULTILINE)[1:]
    of_answer, of_proposal = (
        {
            name
            for cell in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
            for name in re.findall(r"`(\w+)`", cell)
        }
        for table in tables
    )
    found = get()
    assert found.keys() == of_answer
    proposal = found["proposals"][0]
    assert proposal.keys() == of_proposal
    inner = [
        found["window"],
        found["rules"][0],
        *found["missing"][:1],
        proposal["measured"],
        proposal["workloads"][0],
        proposal["prices"][0],
        proposal["change"],
        proposal["window"],
        proposal["pairs"][0],
        proposal["pairs"][0]["client"],
        proposal["zones"][0],
    ]
    assert all(f"`{name}`" in section for one in inner for name in one)


def test_the_saving_is_what_crosses_at_both_ends_of_a_month() -> None:
    found = get()
    (one,) = found["proposals"]
    assert one["id"] == "same-zone:shop/cart"
    assert one["measured"] == {
        "bytes": 900 << 20,
        "crossing_bytes": 600 << 20,
        "cost": {"USD": pytest.approx(0.02 * 600 / 1024)},
        "unpriced_bytes": 0,
    }
    # 600 MiB in 600 seconds with data, at 0.02 a GiB.
    month = 600 / 1024 * 0.02 * 730 * 3600 / 600
    assert found["window"]["seconds"] == 600
    assert one["saving_per_month"] == {"USD": pytest.approx(month)}
    assert found["saving_per_month"] == {"USD": pytest.approx(month)}
    assert [zone["endpoints_after"] for zone in one["zones"]] == [2, 2, 2]


def test_filters_leave_sums_of_what_they_leave() -> None:
    assert get(service="cart")["of"] == get(service="shop/cart")["of"] == 1
    assert get(workload="shop/web", rule="same-zone")["of"] == 1
    for nothing in ({"service": "web"}, {"rule": "dns"}, {"min_saving": "1000000"}):
        found = get(**nothing)
        assert (found["of"], found["saving_per_month"], found["proposals"]) == (0, {}, [])
    limited = get(limit="0")
    assert (limited["of"], limited["proposals"]) == (1, [])


def test_one_proposal_is_found_by_its_id_and_remembered_when_it_is_made_no_more() -> None:
    store, now = Store(), [1000.0]
    adviser = Adviser(replace(sources_of(store), clock=lambda: now[0]))
    page = AdvicePage(adviser).routes()["/api/v1/advice"]

    def one(identity: str) -> Any:
        async def run() -> Response:
            found = page.answer(Request("GET", "/", {"id": (identity,)}))
            assert not isinstance(found, Response)
            return await found

        body = asyncio.run(run()).body
        assert not isinstance(body, bytes)
        return json.loads(b"".join(body.pieces()))

    first = one("same-zone:shop/cart")
    assert (first["of"], first["proposals"][0]["id"]) == (1, "same-zone:shop/cart")
    assert one("same-zone:shop/nothing")["proposals"] == []
    (service,) = store.routing.view().services
    changed = replace(service, routing=ServiceRouting(distribution="PreferSameZone"))
    store.routing.put_service(changed)
    now[0] += FRESH_SECONDS
    later = one("same-zone:shop/cart")
    assert later["proposals"] == first["proposals"]
    assert later["notes"][-1].startswith("this proposal is not made any more, the last time 2023-")
    assert later["saving_per_month"] == first["saving_per_month"]


def test_amounts_of_two_currencies_do_not_add_up_to_the_least_saving() -> None:
    adviser = Adviser(sources_of(Store()))
    advice = asyncio.run(adviser.advice())
    two = replace(advice.proposals[0], saving_per_month={"USD": 6.0, "EUR": 6.0})
    advice = replace(advice, proposals=(two,))
    asked = {"service": "", "workload": "", "rule": ""}
    assert filtered(advice, **asked, min_saving=6.0).proposals == (two,)
    assert filtered(advice, **asked, min_saving=7.0).proposals == ()


@pytest.mark.parametrize(
    "wrong", [{"since": "x"}, {"limit": "1.5"}, {"limit": "-1"}, {"min_saving": "nan"}]
)
def test_what_is_wrong_is_an_error_for_400(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        get(**wrong)


def test_a_missing_right_is_named() -> None:
    store = Store()
    store.routing.missing["persistentvolumes"] = "the API server refuses to list them (forbidden)"
    found = asked(store, {})
    assert found["missing"] == [
        {
            "fact": "persistentvolumes",
            "why": "the API server refuses to list them (forbidden)",
        }
    ]
    assert "persistentvolumes" in found["notes"][0]
