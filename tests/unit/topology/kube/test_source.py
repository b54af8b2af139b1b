"""kzn/topology/kube/source.py, watch.py and client.py against an API server on loopback."""

import asyncio
import logging
import re
from typing import Any

import pytest
from aiohttp import web
from fake_api import FakeApi, line, node, pod, status
from source_session import cluster_of_two, ready, run, running

from kzn.errors import UsageError
from kzn.topology.kube.credentials import Access
from kzn.topology.source import TopologySource
from kzn.topology.zones import Zones


def test_a_cluster_is_listed_and_every_pod_has_its_workload_and_zone() -> None:
    async def test() -> None:
        async with running(cluster_of_two(), page_size=2) as session:
            source: TopologySource = session.source
            assert not source.ready
            await ready(session)
            web, backup = session.endpoint("10.0.0.1"), session.endpoint("10.0.0.2")
            bare, own = session.endpoint("10.0.0.3"), session.endpoint("192.0.2.2")
            assert web is not None
            assert backup is not None
            assert bare is not None
            assert own is not None
            assert (web.workload_kind, web.workload, web.zone) == ("Deployment", "web", "a")
            assert (backup.workload_kind, backup.workload) == ("CronJob", "backup")
            assert (bare.workload_kind, bare.workload, bare.zone) == ("Pod", "pod-p3", "b")
            assert (own.workload_kind, own.region) == ("Node", "r1")
            assert len([p for p in session.api.queries_of("pods") if "watch" not in p]) == 2
            assert source.stats().counts.pods == 3
            accepts = {path: h["Accept"] for path, _, h in session.api.requests}
            assert "PartialObjectMetadata" in accepts["/apis/batch/v1/jobs"]
            assert accepts["/api/v1/pods"] == "application/json"

    run(test())


def test_services_are_watched_and_readiness_does_not_wait_for_them() -> None:
    async def test() -> None:
        api = cluster_of_two()
        api.faults["services"].extend(web.Response(status=403) for _ in range(3))
        meta = {"uid": "s1", "name": "web", "namespace": "shop"}
        api.put("services", {"metadata": meta, "spec": {"clusterIP": "10.96.0.10"}})
        async with running(api) as session:
            await ready(session)
            await session.until(lambda: session.endpoint("10.96.0.10"))
            found = session.endpoint("10.96.0.10")
            assert found is not None
            assert (found.kind, found.namespace, found.workload) == ("Service", "shop", "web")
            assert session.failures("services") == {"forbidden": 3}
            session.api.delete("services", "s1")
            await session.until(lambda: session.endpoint("10.96.0.10") is None)

    run(test())


def test_zone_ids_of_some_nodes_name_the_zones_of_all() -> None:
    async def test() -> None:
        api = cluster_of_two()
        api.put("nodes", node("n3", "a", "192.0.2.3"))
        labels = api.objects["nodes"]["node-n3"]["metadata"]["labels"]
        labels["topology.k8s.aws/zone-id"] = "use1-az4"
        zones = Zones(use_ids=True)
        async with running(api, zones=zones) as session:
            await ready(session)
            found = [session.endpoint(ip) for ip in ("10.0.0.1", "192.0.2.3", "10.0.0.2")]
            assert [one.zone for one in found if one] == ["use1-az4", "use1-az4", ""]
            assert zones.failed == {("r1", "b")}

    run(test())


def test_nodes_and_controllers_are_listed_before_pods_so_that_each_pod_is_described_once() -> None:
    async def test() -> None:
        async with running(cluster_of_two()) as session:
            await ready(session)
            assert session.source.stats().counts.endpoints == 5

    run(test())


def test_changes_reach_the_index() -> None:
    async def test() -> None:
        async with running(cluster_of_two()) as session:
            api = (await ready(session)).api
            api.put("pods", pod("p4", "10.0.0.4", "n1"))
            await session.until(lambda: session.endpoint("10.0.0.4"))
            api.delete("pods", "p4")
            session.time.now += 1
            await session.until(lambda: session.source.index.pod("p4") is None)
            session.time.now += 1
            assert session.endpoint("10.0.0.4") is None
            api.put("nodes", node("n3", "c", "192.0.2.3"))
            await session.until(lambda: session.endpoint("192.0.2.3"))

    run(test())


def test_an_annotation_that_is_too_deep_ends_nothing() -> None:
    async def test() -> None:
        async with running(cluster_of_two()) as session:
            api = (await ready(session)).api
            deep = pod("p4", "10.0.0.4", "n1")
            status = '[{"x": ' + "[" * 9_000 + "]" * 9_000 + "}]"
            deep["metadata"]["annotations"] = {"k8s.v1.cni.cncf.io/network-status": status}
            api.put("pods", deep)
            await session.until(lambda: session.endpoint("10.0.0.4"))
            api.expire_watches()
            api.put("pods", pod("p5", "10.0.0.5", "n1"))
            await session.until(lambda: session.endpoint("10.0.0.5"))
            assert session.endpoint("10.0.0.4")

    run(test())


def test_after_an_expired_watch_a_new_list_drops_what_was_deleted_meanwhile() -> None:
    async def test() -> None:
        async with running(cluster_of_two()) as session:
            api = (await ready(session)).api
            del api.objects["pods"]["p3"]
            api.expire_watches()
            await session.until(lambda: session.source.index.pod("p3") is None)
            assert session.failures("pods") == {"expired": 1}
            assert session.source.stats().counts.pods == 2

    run(test())


def test_a_watch_refused_as_expired_causes_a_new_list() -> None:
    async def test() -> None:
        api = cluster_of_two()
        api.faults["pods"].extend([None, status(410, "Expired")])
        async with running(api) as session:
            await session.until(lambda: session.failures("pods") == {"expired": 1})
            api.put("pods", pod("p4", "10.0.0.4", "n1"))
            await session.until(lambda: session.endpoint("10.0.0.4"))
            assert len([p for p in api.queries_of("pods") if "watch" not in p]) == 2

    run(test())


FAULTS = [
    (status(500, "InternalError"), "server_error"),
    (status(503, "ServiceUnavailable"), "server_error"),
    (status(403, "Forbidden"), "forbidden"),
    (b"", None),
    (line("ADDED", pod("p9", "10.0.0.9", "n1"))[:40], "bad_line"),
    (b'{"type": "ADDED", "object": {]}\n', "bad_line"),
    (line("ERROR", {"code": 500, "message": "etcd is away"}), "server_error"),
]


@pytest.mark.parametrize(("fault", "reason"), FAULTS)
def test_no_event_is_missed_after_a_failed_watch(fault: Any, reason: str | None) -> None:
    async def test() -> None:
        api = cluster_of_two()
        api.faults["pods"].extend([None, fault])
        async with running(api) as session:
            await ready(session)
            api.put("pods", pod("p4", "10.0.0.4", "n1"))
            await session.until(lambda: session.endpoint("10.0.0.4"))
            assert session.failures("pods") == ({reason: 1} if reason else {})
            assert session.time.slept  # it waited before the retry

    run(test())


def test_a_throttled_request_waits_for_retry_after() -> None:
    async def test() -> None:
        api = cluster_of_two()
        api.faults["pods"].append(status(429, "TooManyRequests", Retry_After="7"))
        async with running(api) as session:
            await ready(session)
            assert session.failures("pods") == {"throttled": 1}
            assert any(7 <= seconds <= 8 for seconds in session.time.slept)

    run(test())


def test_rejected_credentials_are_reloaded() -> None:
    async def test() -> None:
        api = cluster_of_two()
        api.token = "Bearer stale"  # noqa: S105 - a fake's
        api.faults["nodes"].append(status(401, "Unauthorized"))
        async with running(api) as session:
            await ready(session)
            assert session.failures("nodes") == {"unauthorized": 1}
            tokens = [h["Authorization"] for path, _, h in api.requests if path.endswith("pods")]
            assert tokens[0] == "Bearer fresh"

    run(test())


def test_a_watch_without_data_is_resumed(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with running(cluster_of_two(), idle=0.05) as session:
            await ready(session)
            await session.until(lambda: session.failures("pods").get("timeout", 0) >= 2)
            session.api.put("pods", pod("p4", "10.0.0.4", "n1"))
            await session.until(lambda: session.endpoint("10.0.0.4"))
            lists = [p for p in session.api.queries_of("pods") if "watch" not in p]
            assert len(lists) == 1

    with caplog.at_level(logging.WARNING):
        run(test())
    assert re.search(r"cannot watch \w+ .*timed out.*; using the \w+ known \d+ s ago", caplog.text)


class Unreachable:
    """Credentials of an unreachable server, or credentials that fail to load."""

    def __init__(self, error: UsageError | None = None) -> None:
        self.error = error

    def access(self) -> Access:
        if self.error is not None:
            raise self.error
        return Access(host="http://127.0.0.1:1")

    def reload(self) -> None:
        """Nothing to reload."""


def test_an_unreachable_server_is_retried_and_logged_once_an_interval(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async with running(FakeApi(), Unreachable()) as session:
            await session.until(lambda: session.failures("nodes").get("connection", 0) > 20)
            assert not session.source.ready
            elapsed = session.time.now - 1000.0
            lines = [r for r in caplog.records if "cannot list" in r.getMessage()]
            assert 1 <= len(lines) <= 1 + elapsed / 60
            assert "127.0.0.1:1" in lines[0].getMessage()
            assert "check the address" in lines[0].getMessage()
            assert re.search(r"no complete list of \w+ yet$", lines[0].getMessage())

    with caplog.at_level(logging.WARNING):
        run(test())


def test_unreadable_credentials_are_counted_and_retried() -> None:
    async def test() -> None:
        async with running(FakeApi(), Unreachable(UsageError("no kubeconfig"))) as session:
            await session.until(lambda: session.failures("jobs").get("credentials", 0) > 3)

    run(test())


def test_a_response_that_is_not_from_an_api_server_is_a_bad_page() -> None:
    async def test() -> None:
        from aiohttp import web

        api = cluster_of_two()
        api.faults["nodes"].append(web.Response(text="<html>hello</html>"))
        async with running(api) as session:
            await ready(session)
            assert session.failures("nodes") == {"bad_page": 1}

    run(test())


def test_cancelling_ends_all_watches() -> None:
    async def test() -> None:
        async with running(cluster_of_two()) as session:
            await ready(session)
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not names & {"pods", "nodes", "replicasets", "jobs"}

    run(test())


def test_a_cluster_that_is_followed_again_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        api = cluster_of_two()
        async with running(api) as session:
            await ready(session)
            await session.until(lambda: all(r.watches for r in session.source.stats().resources))
            for name in ("pods", "nodes", "replicasets"):
                api.faults[name].extend(status(503, "ServiceUnavailable") for _ in range(2))
            api.is_ready = False
            api.expire_watches()
            await session.until(lambda: api.probes > 3)
            api.is_ready = True
            await session.until(lambda: "followed again" in caplog.text)
            lines = [r.getMessage() for r in caplog.records if "followed again" in r.getMessage()]
            assert len(lines) == 1
            assert lines[0].endswith("nodes, pods, replicasets")

    with caplog.at_level(logging.INFO):
        run(test())


def test_only_a_refusal_is_told_as_one_while_rbac_warms_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        api = cluster_of_two()
        async with running(api) as session:
            await ready(session)
            await session.until(lambda: all(r.watches for r in session.source.stats().resources))
            api.faults["pods"].extend([status(403, "Forbidden"), status(429, "TooManyRequests")])
            api.expire_watches()
            await session.until(lambda: session.failures("pods").get("throttled"))
            api.put("pods", pod("p4", "10.0.0.4", "n1"))
            await session.until(lambda: session.endpoint("10.0.0.4"))

    with caplog.at_level(logging.WARNING):
        run(test())
    told = {r.getMessage().partition("HTTP ")[2][:3]: r.getMessage() for r in caplog.records}
    assert "it allowed this before" in told["403"]
    assert "throttles" in told["429"]
    assert "it allowed this before" not in told["429"]


def test_the_creation_of_a_pod_bounds_when_it_has_its_address() -> None:
    async def test() -> None:
        api = cluster_of_two()
        async with running(api) as session:
            await ready(session)
            source = session.source
            ahead = source._api_clock.ahead_at_most()
            assert ahead is not None
            assert -0.1 < ahead < 1.2

    run(test())
