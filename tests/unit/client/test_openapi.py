"""docs/openapi.json: every page with its parameters, and answers of a server as it says."""

import http.client
import json
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import schemathesis
from historic import CLUSTER, DB, STORE, WEB1
from hypothesis import HealthCheck, Phase, given, settings
from live_server import Running, server
from manifests import ROOT
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from kzn.client.openapi import EXPORT, PAGES, PREFIX, document, text
from kzn.daemon.http.messages import problem
from kzn.server.app import Server
from kzn.server.config import ServerConfig
from kzn.server.topology import open_topology

CHECKS: list[CheckFunction] = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SLOW = {EXPORT}
"""A process for each answer."""
VALID = {
    "addresses": f"address={WEB1}&address=8.8.8.8",
    "explain": f"src={WEB1}&dst={DB}",
    "traffic": "since=24h&by=src_pod,dst_zone,port&points=5&compare=previous&where=zone:a",
    "export": "since=24h&by=src_pod,port",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a history that has flows."""
    root = tmp_path_factory.mktemp("server")
    with server(root, "--cluster", "east") as first:
        first.ship((1, DB, 100), (2, STORE, 200), (3, "8.8.8.8", 3))
        first.end(15)  # writes the open minute
    (root / "budgets.yaml").write_text(
        "budgets:\n  - {name: shop, amount: 500, currency: USD, namespace: shop}\n"
    )
    with server(root, "--cluster", "east", "--budgets", str(root / "budgets.yaml")) as second:
        second.ship((4, DB, 100))
        yield second


def test_the_file_is_that_of_this_version() -> None:
    assert (ROOT / "docs" / "openapi.json").read_text() == text()


def test_every_page_of_the_api_and_every_parameter_is_in_the_document(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    config = ServerConfig(topology=tmp_path / "cluster.yaml")
    routes = Server(config, open_topology(config), None)._http._routes()
    found = {path: route.parameters for path, route in routes.items() if path.startswith(PREFIX)}
    said = {PREFIX + name: {one.name for one in page.parameters} for name, page in PAGES.items()}
    assert found == said


def test_every_error_has_the_shape_that_is_documented() -> None:
    schema = document()["components"]["schemas"]["Error"]
    for page in document()["paths"].values():
        for status in page["get"]["responses"].keys() - {"200", "304"}:
            body = problem(HTTPStatus(int(status)), "what is wrong", "what to do").body
            assert isinstance(body, bytes)
            jsonschema.validate(json.loads(body), schema)


def ask(
    running: Running, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", running.http, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    connection.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_answers_and_errors_of_each_page_are_as_documented(running: Running, name: str) -> None:
    path = PREFIX + name
    operation = document()["paths"][path]["get"]
    query = VALID.get(name, "")
    status, headers, body = ask(running, f"{path}?{query}" if query else path)
    assert status == 200, body
    content = operation["responses"]["200"]["content"]
    assert headers["content-type"] in content
    if name != EXPORT:
        schema = content["application/json"]["schema"]
        jsonschema.Draft202012Validator(schema).validate(json.loads(body))
    error = document()["components"]["schemas"]["Error"]
    wrong: list[tuple[str, str, dict[str, str], int]] = [
        ("GET", f"{path}?no-such-parameter=1", {}, 400),
        ("POST", path, {}, 405),
        ("GET", path, {"Host": "other.example.com"}, 421),
        ("GET", f"{path}?a={'x' * 20_000}", {}, 431),
    ]
    for method, target, extra, expected in wrong:
        status, _, body = ask(running, target, method, **extra)
        assert status == expected, (method, target[:80], body)
        assert str(status) in operation["responses"]
        jsonschema.validate(json.loads(body), error)


def test_an_export_has_what_was_sent(running: Running) -> None:
    status, headers, body = ask(
        running, "/api/v1/export?since=24h&by=cluster,dst_workload&where=src_workload:shop/web"
    )
    assert (status, headers["kzn-rows"], headers["kzn-source"]) == (200, "3", "hours")
    lines = body.decode().splitlines()
    assert lines[0] == "cluster,dst_workload,packets,bytes"
    assert sorted(lines[1:]) == ['east,"",1,3', "east,db,1,100", "east,store,1,200"]
    status, _, body = ask(running, "/api/v1/export?since=24h&by=dst_workload&limit=2")
    assert status == 400
    assert "there are 3 rows" in json.loads(body)["error"]


@pytest.mark.parametrize("name", PAGES)
def test_which_pages_have_a_tag_and_know_it_again(running: Running, name: str) -> None:
    path = PREFIX + name
    operation = document()["paths"][path]["get"]
    query = VALID.get(name, "")
    _, headers, _ = ask(running, f"{path}?{query}" if query else path)
    documented = operation["responses"]["200"].get("headers", {})
    assert {one for one in ("etag",) if one in headers} == {one.lower() for one in documented}
    names = {one["name"] for one in operation["parameters"] if one["in"] == "header"}
    assert ("If-None-Match" in names) == ("304" in operation["responses"]) == PAGES[name].has_tag
    if PAGES[name].has_tag:
        status, again, body = ask(running, path, **{"If-None-Match": "*"})
        assert (status, body, "etag" in again) == (304, b"", True)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_any_query_is_answered_as_documented(running: Running, name: str) -> None:
    url = f"http://127.0.0.1:{running.http}/api/v1/openapi.json"
    schema: Any = schemathesis.openapi.from_url(url)
    operation = schema[PREFIX + name]["GET"]

    @settings(
        max_examples=3 if name in SLOW else 12,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    check()
