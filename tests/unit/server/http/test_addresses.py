"""kzn/server/http/addresses.py, alone and over a loopback connection."""

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from kzn.client.api import MAX_ADDRESSES
from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.errors import UsageError
from kzn.model import ip
from kzn.server.http.addresses import answer, parse_addresses
from kzn.server.http.server import HttpApi
from kzn.server.snapshot import ServerSnapshot
from kzn.topology.facts import NodeFacts, PodFacts, Workload
from kzn.topology.index import AddressIndex


def index() -> AddressIndex:
    found = AddressIndex(clock=lambda: 100.0, wall=lambda: 1000.0)
    found.put_node(
        NodeFacts(uid="n", name="n1", zone="z", region="r", addresses=(ip.pack("10.0.0.2"),))
    )
    pod = PodFacts("p", "shop", "web-1", node="n1", addresses=(ip.pack("10.1.0.7"),))
    found.put_pod(pod, Workload("Deployment", "web"))
    return found


def owners(asked: list[str]) -> bytes:
    return answer(index(), asked, 100.0)


def test_owners_are_in_the_order_of_the_query() -> None:
    found = json.loads(owners(["8.8.8.8", "10.1.0.7", "10.0.0.2", "10.9.9.9"]))["addresses"]
    assert [(row["address"], row["owner"]) for row in found] == [
        ("8.8.8.8", "external"),
        ("10.1.0.7", "pod"),
        ("10.0.0.2", "node"),
        ("10.9.9.9", "unknown"),
    ]
    assert found[1] == {
        "address": "10.1.0.7",
        "owner": "pod",
        "namespace": "shop",
        "name": "web-1",
        "workload_kind": "Deployment",
        "workload": "web",
        "node": "n1",
        "zone": "z",
        "region": "r",
        "known_by": "",
    }


def test_an_address_that_only_its_nodes_agent_told_says_so() -> None:
    told = index()
    told.put_agent_addresses("n1", [ip.pack("10.0.0.2"), ip.pack("10.5.0.1"), ip.pack("10.1.0.7")])
    asked = ["10.0.0.2", "10.5.0.1", "10.1.0.7"]
    found = json.loads(answer(told, asked, 100.0))["addresses"]
    assert [(row["owner"], row["name"], row["known_by"]) for row in found] == [
        ("node", "n1", ""),  # its Node object has it as well
        ("node", "n1", "agent"),
        ("pod", "web-1", ""),
    ]


def test_addresses_are_normalized_to_their_shortest_form() -> None:
    assert parse_addresses(["::ffff:10.0.0.1", "2001:DB8::0:1"]) == ["10.0.0.1", "2001:db8::1"]


@pytest.mark.parametrize(
    "texts", [[], ["10.0.0.1"] * (MAX_ADDRESSES + 1), ["10.0.0"], ["10.0.0.1", "x" * 1000]]
)
def test_a_query_without_valid_addresses_is_a_usage_error(texts: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        parse_addresses(texts)
    assert len(str(raised.value)) < 100
    assert raised.value.hint


async def ask(query: str, *, known: bool = True) -> tuple[int, str]:
    async def take(_families: frozenset[str]) -> ServerSnapshot:
        raise AssertionError("addresses do not need a snapshot")

    api = HttpApi(take, lambda: "", owners=owners if known else None)
    sockets = listen(HostPort("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound_port(sockets)}/api/v1/addresses?{query}"
    await api.start(sockets)
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()
    finally:
        await api.close()


def test_the_maximum_number_of_addresses_fits_into_one_request() -> None:
    longest = "fd6b:7a6e:aaaa:bbbb:cccc:dddd:eeee:1"
    query = urlencode([("address", f"{longest}{n:03x}") for n in range(MAX_ADDRESSES)])
    status, text = asyncio.run(ask(query))
    found: list[Any] = json.loads(text)["addresses"]
    assert (status, len(found)) == (200, MAX_ADDRESSES)


@pytest.mark.parametrize("query", ["", "address=", "address=shop/web", "limit=5"])
def test_an_invalid_query_is_answered_with_400_and_a_sentence(query: str) -> None:
    status, text = asyncio.run(ask(query))
    assert status == 400
    assert text.endswith("\n")
    assert "Traceback" not in text


def test_a_route_without_its_function_answers_404() -> None:
    assert asyncio.run(ask("address=10.0.0.1", known=False))[0] == 404
