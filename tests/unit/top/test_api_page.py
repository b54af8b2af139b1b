"""docs/api.md says which fields each answer of the server has, no more and no less."""

import json
import re
from typing import Any

import numpy as np
import pytest
from manifests import ROOT
from smallserver import real

from kzn.model.endpoint import EXTERNAL, I32, POD, Endpoint, EndpointColumns
from kzn.model.flows import U8
from kzn.server import addresses
from kzn.server.api import TOPICS

PAGE = ROOT / "docs" / "api.md"
SOMETIMES = {"ignored_by_reason", "unresolved_by_reason"}
"""Absent where there is nothing to tell."""


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
    assert set(headings) == {*TOPICS, "addresses"}


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


class OnePod:
    """An index in which the first address is a pod's and the others are outside."""

    def lookup(self, rows: U8, _opened: float, _closed: float) -> I32:
        return np.array([0] + [EXTERNAL] * (len(rows) - 1), np.int32)

    def endpoint(self, _endpoint_id: int) -> Endpoint:
        return Endpoint(POD, "shop", "web-1", "Deployment", "web", "n1", "a", "r")

    @property
    def columns(self) -> EndpointColumns:
        raise NotImplementedError

    def node_code(self, _node: str) -> int:
        raise NotImplementedError

    def node_endpoint(self, _node: str) -> int:
        raise NotImplementedError

    def lives(self, _endpoint: Endpoint) -> bool:
        raise NotImplementedError


def test_owners_of_addresses_have_the_fields_of_the_page() -> None:
    body = json.loads(addresses.answer(OnePod(), ["10.0.0.1", "192.0.2.1"], 0.0))
    pod, outside = body["addresses"]
    assert pod.keys() == documented("addresses")
    assert outside == {"address": "192.0.2.1", "owner": "external"}
