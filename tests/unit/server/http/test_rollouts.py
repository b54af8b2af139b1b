"""/api/v1/rollouts: its fields are those of docs/api.md, and notes say what is not known."""

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from manifests import ROOT

from kzn.client.rollouts import RolloutsAnswer
from kzn.daemon.http.messages import Request, Response
from kzn.errors import UsageError
from kzn.server.http.rollouts import RolloutsPage
from kzn.topology.facts import OwnerFacts, OwnerRef
from kzn.topology.rollouts import Rollouts, Watched, between
from kzn.topology.routing import Routing
from kzn.topology.routing_facts import ControllerFacts

NOW = 1_700_000_000.0
WEB = ControllerFacts("u1", "Deployment", "shop", "web", 3, images=("app", "web:1"))


def routing() -> Routing:
    log = Rollouts(lambda: NOW - 3600)
    found = Routing(rollouts=log)
    log.put_replicaset(
        OwnerFacts("r", "web-5d8f", OwnerRef("Deployment", "web", "u1"), 0, "shop", NOW - 7200)
    )
    for one in (WEB, replace(WEB, images=("app", "web:2")), replace(WEB, images=("app", "web:3"))):
        found.put_controller(one)
    found.put_controller(replace(WEB, uid="u2", name="api"))
    found.put_controller(replace(WEB, uid="u2", name="api", replicas=9))
    return found


def get(of: Routing, **parameters: str) -> Any:
    page = RolloutsPage(of, lambda: NOW).routes()["/api/v1/rollouts"]
    request = Request("GET", "/", {name: (value,) for name, value in parameters.items()})

    async def run() -> Response:
        found = page.answer(request)
        assert not isinstance(found, Response)
        return await found

    response = asyncio.run(run())
    assert not isinstance(response.body, bytes)
    return json.loads(b"".join(response.body.pieces()))


def test_an_answer_has_the_fields_of_the_page_and_is_read_as_it_was() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    section = text.partition("\n### /api/v1/rollouts\n")[2].partition("\n### ")[0]
    tables = re.split(r"^\| field \| \|$", section, flags=re.MULTILINE)[1:]
    of_answer, of_row = (
        {
            name
            for cell in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
            for name in re.findall(r"`(\w+)`", cell)
        }
        for table in tables
    )
    of = routing()
    found = get(of)
    assert found.keys() == of_answer
    assert all(row.keys() == of_row for row in found["rollouts"])
    assert of.rollouts is not None
    read = RolloutsAnswer.from_json(found)
    assert read.rollouts == between(of.rollouts.all(), 0, NOW)
    assert (read.of, read.watched_from) == (4, NOW - 3600)


def test_sentences_say_what_changed() -> None:
    found = get(routing())
    assert [(row["workload"], row["text"]) for row in found["rollouts"]] == [
        ("api", "replicas 3 → 9"),
        ("web", "image web:1 → web:2"),
        ("web", "image web:2 → web:3"),
        ("web", "new ReplicaSet web-5d8f"),
    ]
    assert found["notes"] == [
        "before 2023-11-14T21:13:20Z, when a server began to watch, only creations are known"
    ]


def test_a_span_a_workload_and_a_limit_choose() -> None:
    of = routing()
    for parameters, texts in (
        ({"workload": "shop/api"}, ["replicas 3 → 9"]),
        ({"workload": "api", "namespace": "shop"}, ["replicas 3 → 9"]),
        ({"workload": "api", "namespace": "other"}, []),
        ({"from": "3h", "to": "90m"}, ["new ReplicaSet web-5d8f"]),
        ({"since": "30m"}, []),
        ({"limit": "1"}, ["replicas 3 → 9"]),
    ):
        assert [row["text"] for row in get(of, **parameters)["rollouts"]] == texts, parameters
    assert get(of, limit="0")["of"] == 4
    assert get(of, since="1h")["notes"] == []


def test_what_is_not_known_is_said() -> None:
    of = routing()
    of.missing["statefulsets"] = "the API server refuses to list them (forbidden)"
    of.missing["persistentvolumes"] = "of no concern here"
    assert get(of, since="30m")["notes"] == [
        "changes of statefulsets are not known: the API server refuses to list them (forbidden)"
    ]
    found = get(Routing())
    assert (found["rollouts"], found["notes"]) == ([], ["changes are known of Kubernetes alone"])


@pytest.mark.parametrize(
    "parameters",
    [{"limit": "-1"}, {"limit": "1001"}, {"since": "x"}, {"since": "1h", "from": "2h"}],
)
def test_what_cannot_be_asked_is_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        get(routing(), **parameters)


def test_times_without_a_server_are_said_with_what_is_known_of_them() -> None:
    log = Rollouts(lambda: NOW - 600)
    log.restore({}, Watched(NOW - 7200, NOW - 660, ((NOW - 3600, NOW - 3590.5),)))
    of = Routing(rollouts=log)
    of.missing = {}

    def told(since: str) -> list[str]:
        return [note for note in get(of, since=since)["notes"] if "watched" in note]

    assert told("30m") == [
        "for 60 s in all no server watched (restarts: 1), and of that time only creations are known"
    ]
    assert told("119m") == [
        "for 70 s in all no server watched (restarts: 2), and of that time only creations are known"
    ]
    assert told("5m") == []
    assert get(of)["watched_from"] == NOW - 7200
