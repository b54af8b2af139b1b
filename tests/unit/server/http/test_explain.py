"""kzn/server/http/explain.py, alone and over a loopback connection."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from decisions import ELSEWHERE, HERE, TWO_OWNERS, World

from kzn.cli.explain import text_of
from kzn.client.explain import Explanation
from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.errors import UsageError
from kzn.model.ip import pack
from kzn.server.http.explain import Moment, answer
from kzn.server.http.server import HttpApi
from kzn.server.resolve.reporting import ReportingNodes
from kzn.server.snapshot import ServerSnapshot

FLOW = {"src": HERE, "dst": ELSEWHERE}


def explained(query: Mapping[str, str], world: World | None = None) -> bytes:
    world = world or World()
    now = Moment(world.clock.now(), world.clock.wall())
    return answer(query, world.index, ReportingNodes(world.index), now)


def found(**query: str) -> Any:
    return json.loads(explained(query))


def test_the_answer_has_the_verdict_and_the_owners() -> None:
    body = found(**FLOW)
    assert (body["verdict"], body["class"], body["reason"]) == ("cross_zone", "cross_zone", "")
    assert (body["node"], body["node_chosen_by"]) == ("n1", "source")
    assert (body["src"]["name"], body["src"]["zone"], body["src"]["side"]) == ("p1", "a", "here")
    assert (body["dst"]["name"], body["dst"]["zone"]) == ("p2", "b")
    assert body["time"] == "2001-09-09T02:06:40Z"


def test_an_address_that_only_its_nodes_agent_told_says_so() -> None:
    world = World()
    world.index.put_agent_addresses("n1", [pack("10.77.0.1"), pack(HERE)])
    body = json.loads(explained({"src": "10.77.0.1", "dst": ELSEWHERE}, world))
    assert (body["src"]["owner"], body["src"]["name"]) == ("node", "n1")
    assert (body["src"]["known_by"], body["dst"]["known_by"]) == ("agent", "")
    assert body["src"]["history"][0]["known_by"] == ""
    lines = text_of(Explanation.from_json(body)).splitlines()
    [source] = [at for at, line in enumerate(lines) if line.startswith("source")]
    assert lines[source].endswith(
        "node n1, zone a, region r, an address that the node's agent told"
    )
    assert lines[source + 1].strip() == "since an unknown time"
    assert json.loads(explained(FLOW, world))["src"]["known_by"] == ""


@pytest.mark.parametrize(
    ("at", "owner"), [("1m", "first"), ("2001-09-09T04:05:40+02:00", "first"), ("0s", "second")]
)
def test_a_past_time_is_answered_with_the_owner_at_that_time(at: str, owner: str) -> None:
    body = found(src=HERE, dst=TWO_OWNERS, at=at)
    assert body["dst"]["history"][-1]["until"] == ""
    assert owner in json.dumps(body["dst"]["history"])
    if owner == "first":
        assert body["dst"]["name"] == "first"
        assert body["time"] == "2001-09-09T02:05:40Z"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({}, "src is missing"),
        ({"src": HERE}, "dst is missing"),
        ({"src": "shop/web", "dst": HERE}, "'shop/web' is not an IP address"),
        (FLOW | {"at": "yesterday"}, "'yesterday' is not a time"),
        (FLOW | {"at": "2001-09-09T02:05:40"}, "is not a time"),
        (FLOW | {"at": "2033-01-01T00:00:00Z"}, "is in the future"),
        (FLOW | {"at": "31m"}, "owners are not known as of 2001-09-09T01:35:40Z"),
        (FLOW | {"at": "99999h"}, "owners are not known as of"),
        (FLOW | {"node": "n" * 300}, "the name of the node is too long"),
    ],
)
def test_a_wrong_query_is_a_usage_error(query: Mapping[str, str], reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        explained(query)
    assert reason in raised.value.message
    assert raised.value.hint


async def ask(query: Mapping[str, str], *, known: bool = True) -> tuple[int, str]:
    async def take(_families: frozenset[str]) -> ServerSnapshot:
        raise AssertionError("explaining does not need a snapshot")

    api = HttpApi(take, lambda: "", explain=explained if known else None)
    sockets = listen(HostPort("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound_port(sockets)}/api/v1/explain?{urlencode(query)}"
    await api.start(sockets)
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()
    finally:
        await api.close()


def test_the_route_answers_json() -> None:
    status, text = asyncio.run(ask(FLOW))
    assert status == 200
    assert json.loads(text) == found(**FLOW)


def test_an_invalid_query_is_answered_with_400_and_a_sentence() -> None:
    status, text = asyncio.run(ask({"src": HERE}))
    assert (status, text) == (
        400,
        '{"error": "dst is missing", "hint": "?src=ADDRESS&dst=ADDRESS"}\n',
    )


def test_a_route_without_its_function_answers_404() -> None:
    assert asyncio.run(ask(FLOW, known=False))[0] == 404
