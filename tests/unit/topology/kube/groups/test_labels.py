"""Labels and annotations that name groups, as the API server has them and as a source follows."""

import json
from typing import Any

import pytest
from aiohttp import web
from fake_api import FakeApi, node, owned, pod
from source_session import REPLICASET, Session, ready, run, running

from kzn.topology.groups import MAX_VALUE, WorkloadGroups
from kzn.topology.kube.decode import ApiStatus
from kzn.topology.kube.groups.labels import GroupLabels

KEYS = ("team", "example.com/product")
STATUS = "k8s.v1.cni.cncf.io/network-status"


def namespace(uid: str, name: str, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "name": name, **meta}}


def labelled(uid: str, address: str, meta: dict[str, Any], started: str = "") -> dict[str, Any]:
    made = pod(uid, address, "n1", REPLICASET)
    made["metadata"] |= meta
    if started:
        made["metadata"]["creationTimestamp"] = started
        made["status"]["startTime"] = started
    return made


def groups_of(meta: dict[str, Any], keys: tuple[str, ...] = KEYS) -> tuple[str, ...]:
    line = json.dumps({"type": "ADDED", "object": labelled("p", "10.0.0.1", meta)}).encode()
    event = GroupLabels(keys).pods(lambda _stamp: None).line(line)
    assert not isinstance(event, ApiStatus)
    assert event.item is not None
    return event.item.groups


@pytest.mark.parametrize(
    ("meta", "groups"),
    [
        ({}, ()),
        ({"labels": None, "annotations": None}, ()),
        ({"labels": {"app": "web"}}, ()),
        ({"labels": {"team": "blue"}}, ("blue", "")),
        ({"annotations": {"team": "blue"}}, ("blue", "")),
        ({"labels": {"team": "blue"}, "annotations": {"team": "red"}}, ("blue", "")),
        ({"labels": {"team": ""}, "annotations": {"team": "red"}}, ("red", "")),
        ({"labels": {"example.com/product": "shop"}}, ("", "shop")),
        ({"annotations": {"team": "  Team Blue \n"}}, ("Team Blue", "")),
        ({"annotations": {"team": "a\tb\x00c\u2028"}}, ("abc", "")),
        ({"annotations": {"team": "x" * 5000}}, ("x" * MAX_VALUE, "")),
        ({"annotations": {"team": "\x00"}}, ()),
    ],
)
def test_of_each_key_the_label_or_else_the_annotation_is_read(
    meta: dict[str, Any], groups: tuple[str, ...]
) -> None:
    assert groups_of(meta) == groups


def test_a_key_that_is_read_for_another_purpose_can_be_a_group_too() -> None:
    status = json.dumps([{"ips": ["10.9.0.1"]}])
    assert groups_of({"annotations": {STATUS: status}}, (STATUS,)) == (status,)
    assert groups_of({"labels": {STATUS: "odd"}}, (STATUS, "team")) == ("odd", "")


def shop(api: FakeApi) -> FakeApi:
    api.put("nodes", node("n1", "a", "192.0.2.1"))
    api.put("replicasets", owned("rs1", "web-5d8f", ("Deployment", "web", "d1")))
    return api


def group(session: Session, address: str) -> str | None:
    found = session.endpoint(address)
    return found.group if found is not None else None


def with_groups() -> WorkloadGroups:
    return WorkloadGroups(KEYS)


def test_groups_of_pods_and_namespaces_are_followed_while_they_change() -> None:
    async def test() -> None:
        api = shop(FakeApi())
        api.put("namespaces", namespace("ns1", "shop", labels={"team": "blue"}))
        api.put("pods", labelled("p1", "10.0.0.1", {}))
        async with running(api, groups=with_groups()) as session:
            await ready(session)
            await session.until(lambda: group(session, "10.0.0.1") == "blue")
            api.put("namespaces", namespace("ns1", "shop", annotations={"team": "green"}))
            await session.until(lambda: group(session, "10.0.0.1") == "green")
            api.put("pods", labelled("p1", "10.0.0.1", {"labels": {"team": "red"}}))
            await session.until(lambda: group(session, "10.0.0.1") == "red")
            api.put("namespaces", namespace("ns1", "shop"))
            api.put("pods", labelled("p1", "10.0.0.1", {}))
            await session.until(lambda: group(session, "10.0.0.1") == "")
            headers = {path: h["Accept"] for path, _, h in api.requests}
            assert "PartialObjectMetadata" in headers["/api/v1/namespaces"]

    run(test())


def test_the_newest_pod_decides_for_all_of_its_workload() -> None:
    async def test() -> None:
        api = shop(FakeApi())
        old = labelled("p1", "10.0.0.1", {"labels": {"team": "old"}}, "2026-01-01T00:00:00Z")
        new = labelled("p2", "10.0.0.2", {"labels": {"team": "new"}}, "2026-01-02T00:00:00Z")
        api.put("pods", old)
        async with running(api, groups=with_groups()) as session:
            await ready(session)
            assert group(session, "10.0.0.1") == "old"
            api.put("pods", new)
            await session.until(lambda: group(session, "10.0.0.2") == "new")
            assert group(session, "10.0.0.1") == "new"
            api.delete("pods", "p2")
            await session.until(lambda: group(session, "10.0.0.1") == "old")

    run(test())


def test_without_keys_no_namespace_is_asked_for() -> None:
    async def test() -> None:
        api = shop(FakeApi())
        api.put("pods", labelled("p1", "10.0.0.1", {"labels": {"team": "red"}}))
        async with running(api) as session:
            await ready(session)
            assert group(session, "10.0.0.1") == ""
            assert not api.queries_of("namespaces")

    run(test())


def test_namespaces_are_listed_before_pods_so_that_each_pod_is_described_once() -> None:
    async def test() -> None:
        api = shop(FakeApi())
        for number in range(5):
            name = namespace(f"ns{number}", f"shop{number or ''}", labels={"team": "blue"})
            api.put("namespaces", name)
        api.put("pods", labelled("p1", "10.0.0.1", {}))
        async with running(api, groups=with_groups(), page_size=1) as session:
            await ready(session)
            assert group(session, "10.0.0.1") == "blue"
            paths = [path for path, query, _ in api.requests if "watch" not in query]
            assert paths.index("/api/v1/pods") > max(
                at for at, path in enumerate(paths) if path == "/api/v1/namespaces"
            )
            assert session.source.stats().counts.endpoints == 2

    run(test())


def test_without_the_right_to_list_namespaces_pods_have_their_own_groups() -> None:
    async def test() -> None:
        api = shop(FakeApi())
        api.faults["namespaces"].extend(web.Response(status=403) for _ in range(3))
        api.put("namespaces", namespace("ns1", "shop", labels={"team": "blue"}))
        api.put("pods", labelled("p1", "10.0.0.1", {"labels": {"team": "red"}}))
        bare = pod("p3", "10.0.0.3", "n1")
        api.put("pods", bare)
        async with running(api, groups=with_groups()) as session:
            await ready(session)
            assert group(session, "10.0.0.1") == "red"
            await session.until(lambda: group(session, "10.0.0.3") == "blue")
            assert session.failures("namespaces") == {"forbidden": 3}

    run(test())
