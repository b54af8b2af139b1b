"""docs/api.md lists exactly the fields of each answer of the server."""

import json
import re
from typing import Any

import pytest
from decisions import HERE, SERVICE, World
from manifests import ROOT
from smallserver import real

from kzn.client.openapi import PAGES
from kzn.model import ip
from kzn.server.http import addresses, explain
from kzn.server.http.api import TOPICS
from kzn.server.http.explain import Moment
from kzn.server.resolve.reporting import ReportingNodes
from kzn.server.resolve.rules import SIDES
from kzn.topology.facts import PodFacts, Workload
from kzn.topology.index import AddressIndex

PAGE = ROOT / "docs" / "api.md"
SOMETIMES = {"ignored_by_reason", "unresolved_by_reason"}
"""Fields that are absent if they would be empty."""


def documented(topic: str) -> set[str]:
    """Fields in the first column of the table below the heading of a topic."""
    _, found, rest = PAGE.read_text().partition(f"\n### /api/v1/{topic}\n")
    assert found, topic
    table = re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def answered(topic: str) -> Any:
    status, body = real(topic, None)
    assert status == 200
    return json.loads(body)


def test_every_page_of_the_api_is_documented() -> None:
    headings = re.findall(r"^### /api/v1/(\w+)$", PAGE.read_text(), re.MULTILINE)
    assert set(headings) == PAGES.keys() - {"openapi.json"}


@pytest.mark.parametrize("topic", sorted(set(TOPICS) - {"status"}))
def test_rows_have_the_fields_of_the_page(topic: str) -> None:
    answer = answered(topic)
    assert answer.keys() == {topic, "of"}
    assert answer["of"] == len(answer[topic]) > 0
    fields = set().union(*answer[topic])
    assert fields == documented(topic) - (SOMETIMES - fields)


def test_the_status_has_the_fields_of_the_page() -> None:
    answer = answered("status")
    assert answer.keys() == documented("status")
    text = PAGE.read_text()
    assert all(f"`{name}`" in text for name in answer["bytes"])
    assert all(f"`{name}`" in text for source in answer["topology"] for name in source)


def test_owners_of_addresses_have_the_fields_of_the_page() -> None:
    index = AddressIndex(clock=lambda: 100.0, wall=lambda: 1000.0)
    facts = PodFacts("p", "shop", "web-1", node="n1", addresses=(ip.pack("10.1.0.7"),))
    index.put_pod(facts, Workload("Deployment", "web"))
    body = json.loads(addresses.answer(index, ["10.1.0.7", "8.8.8.8"], 100.0))
    pod, outside = body["addresses"]
    assert pod.keys() == documented("addresses")
    assert outside == {"address": "8.8.8.8", "owner": "external"}


def test_an_explanation_has_the_fields_of_the_page() -> None:
    world = World()
    now = Moment(world.clock.now(), world.clock.wall())
    query = {"src": HERE, "dst": SERVICE}
    body = json.loads(explain.answer(query, world.index, ReportingNodes(world.index), now))
    assert body.keys() == documented("explain")
    text = PAGE.read_text()
    ends = {*body["src"], *body["src"]["history"][0]} - documented("addresses")
    assert ends
    assert all(f"`{name}`" in text for name in ends)
    assert all(f"`{side}`" in text for side in SIDES)
