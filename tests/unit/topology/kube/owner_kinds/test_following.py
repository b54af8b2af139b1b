"""kzn/topology/kube/owner_kinds: owners of kinds that only their references name."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial

import pytest
from aiohttp import web
from fake_api import FakeApi, owned, pod, status
from source_session import Session, cluster_of_two, ready, run, running

from kzn.topology.kube.owner_kinds.following import MAX_KINDS, RETRY_SECONDS, OwnerKinds

GITHUB = "actions.github.com/v1alpha1"


def runners() -> FakeApi:
    """A pod of a runner of a set of runners, and two of revisions of a DeploymentConfig."""
    api = cluster_of_two()
    api.serve_kind(GITHUB, "EphemeralRunner", "ephemeralrunners")
    api.serve_kind(GITHUB, "EphemeralRunnerSet", "ephemeralrunnersets")
    api.serve_kind(GITHUB, "AutoscalingRunnerSet", "autoscalingrunnersets")
    api.serve_kind("v1", "ReplicationController", "replicationcontrollers")
    api.serve_kind("apps.openshift.io/v1", "DeploymentConfig", "deploymentconfigs")
    api.put("autoscalingrunnersets", {"metadata": {"name": "ci", "uid": "ars"}})
    owner = ("AutoscalingRunnerSet", "ci", "ars", GITHUB)
    api.put("ephemeralrunnersets", owned("ers", "ci-abc", owner))
    owner = ("EphemeralRunnerSet", "ci-abc", "ers", GITHUB)
    api.put("ephemeralrunners", owned("er1", "ci-abc-runner-1", owner))
    api.put(
        "pods", pod("r1", "10.0.1.1", "n1", ("EphemeralRunner", "ci-abc-runner-1", "er1", GITHUB))
    )
    for revision in (3, 4):
        config = ("DeploymentConfig", "app", "dc", "apps.openshift.io/v1")
        api.put("replicationcontrollers", owned(f"rc{revision}", f"app-{revision}", config))
        owner = ("ReplicationController", f"app-{revision}", f"rc{revision}", "v1")
        api.put("pods", pod(f"a{revision}", f"10.0.2.{revision}", "n2", owner))
    api.put("deploymentconfigs", {"metadata": {"name": "app", "uid": "dc"}})
    return api


def workload(session: Session, address: str) -> tuple[str, str]:
    found = session.endpoint(address)
    return (found.workload_kind, found.workload) if found else ("", "")


def test_owners_of_any_kind_are_followed_to_the_end() -> None:
    async def test() -> None:
        async with running(runners()) as session:
            await ready(session)
            wanted = {
                "10.0.1.1": ("AutoscalingRunnerSet", "ci"),
                "10.0.2.3": ("DeploymentConfig", "app"),
                "10.0.2.4": ("DeploymentConfig", "app"),
                "10.0.0.1": ("Deployment", "web"),
                "10.0.0.2": ("CronJob", "backup"),
            }
            await session.until(
                lambda: wanted == {address: workload(session, address) for address in wanted}
            )
            accepts = {path: h["Accept"] for path, _, h in session.api.requests}
            path = f"/apis/{GITHUB}/ephemeralrunners"
            assert accepts[path].startswith("application/json;as=PartialObjectMetadata")
            owner = ("EphemeralRunnerSet", "ci-abc", "ers", GITHUB)
            session.api.put("ephemeralrunners", owned("er2", "ci-abc-runner-2", owner))
            owner = ("EphemeralRunner", "ci-abc-runner-2", "er2", GITHUB)
            session.api.put("pods", pod("r2", "10.0.1.2", "n2", owner))
            await session.until(
                lambda: workload(session, "10.0.1.2") == ("AutoscalingRunnerSet", "ci")
            )

    run(test())


def test_a_kind_of_another_group_is_not_that_of_kubernetes() -> None:
    async def test() -> None:
        api, group = cluster_of_two(), "batch.volcano.sh/v1alpha1"
        api.serve_kind(group, "Job", "vcjobs")
        api.serve_kind(group, "CronJob", "vccronjobs")
        api.put("vcjobs", owned("vj1", "train-28", ("CronJob", "train", "vc1", group)))
        api.put("vccronjobs", {"metadata": {"name": "train", "uid": "vc1"}})
        api.put("pods", pod("v1", "10.0.1.1", "n1", ("Job", "train-28", "vj1", group)))
        kruise = ("StatefulSet", "db", "k1", "apps.kruise.io/v1beta1")
        api.put("pods", pod("k1", "10.0.1.2", "n1", kruise))
        async with running(api) as session:
            await ready(session)
            wanted = {
                "10.0.1.1": ("CronJob", "train"),
                "10.0.1.2": ("StatefulSet", "db"),
                "10.0.0.2": ("CronJob", "backup"),
            }
            await session.until(
                lambda: wanted == {address: workload(session, address) for address in wanted}
            )

    run(test())


def test_without_the_right_each_owner_stays_the_last_known_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        api = runners()
        api.forbidden |= {"ephemeralrunnersets", "replicationcontrollers"}
        async with running(api) as session:
            await ready(session)
            wanted = {
                "10.0.1.1": ("EphemeralRunnerSet", "ci-abc"),
                "10.0.2.3": ("ReplicationController", "app-3"),
            }
            await session.until(
                lambda: wanted == {address: workload(session, address) for address in wanted}
            )
            await session.until(
                lambda: len(api.queries_of("ephemeralrunnersets")) > 3
            )  # tried again from time to time
            names = {r.resource for r in session.source.stats().resources}
            assert "ephemeralrunners.actions.github.com" in names

    with caplog.at_level(logging.INFO):
        run(test())
    lines = [r.getMessage() for r in caplog.records if "owners of kind" in r.getMessage()]
    assert sorted(line.split()[3].split(".")[0] for line in lines) == [
        "EphemeralRunnerSet",
        "ReplicationController",
    ]
    assert all("optional" in line and "forbidden" in line for line in lines)
    assert not any("cannot list" in r.getMessage() for r in caplog.records)


def test_a_right_that_is_granted_later_changes_the_workload_of_pods_that_exist() -> None:
    async def test() -> None:
        api = runners()
        api.forbidden.add("replicationcontrollers")
        async with running(api) as session:
            await ready(session)
            wanted = ("ReplicationController", "app-3")
            await session.until(lambda: workload(session, "10.0.2.3") == wanted)
            api.forbidden.clear()
            wanted = ("DeploymentConfig", "app")
            await session.until(lambda: workload(session, "10.0.2.3") == wanted)

    run(test())


@pytest.mark.parametrize(
    "answer",
    [
        partial(status, 429, "TooManyRequests", Retry_After="2"),
        partial(status, 503, "ServiceUnavailable", Retry_After="1"),
        partial(web.Response, body=b'{"kind": "APIResourceList", "resources": [{"na'),
        partial(web.Response, body=b"<html>one moment</html>"),
    ],
    ids=["throttled", "overloaded", "cut", "not JSON"],
)
def test_a_kind_is_asked_for_again_soon_if_the_answer_says_nothing(
    answer: Callable[[], web.Response], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        api = runners()
        api.faults["/api/v1"] = deque([answer()])
        api.faults["/apis/" + GITHUB] = deque([answer()])
        async with running(api) as session:
            await ready(session)
            wanted = {
                "10.0.1.1": ("AutoscalingRunnerSet", "ci"),
                "10.0.2.3": ("DeploymentConfig", "app"),
            }
            await session.until(
                lambda: wanted == {address: workload(session, address) for address in wanted}
            )
            assert RETRY_SECONDS not in session.time.slept

    with caplog.at_level(logging.INFO):
        run(test())
    assert "owners of kind" not in caplog.text


def test_pods_do_not_wait_for_ever_for_an_answer_about_their_owners_kind() -> None:
    async def test() -> None:
        api = runners()
        api.faults["/api/v1"] = deque(web.Response(body=b"{") for _ in range(1000))
        async with running(api) as session:
            await ready(session)
            wanted = ("ReplicationController", "app-3")
            await session.until(lambda: workload(session, "10.0.2.3") == wanted)
            assert api.faults["/api/v1"]
            api.faults["/api/v1"].clear()
            wanted = ("DeploymentConfig", "app")
            await session.until(lambda: workload(session, "10.0.2.3") == wanted)

    run(test())


def test_a_kind_that_is_not_served_is_a_workload_itself() -> None:
    async def test() -> None:
        api = cluster_of_two()
        api.put("pods", pod("s1", "10.0.3.1", "n1", ("Sandbox", "one", "sb", "example.com/v1")))
        async with running(api) as session:
            await ready(session)
            await session.until(lambda: workload(session, "10.0.3.1") == ("Sandbox", "one"))

    run(test())


def test_a_kind_with_too_many_objects_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("kzn.topology.kube.source.MAX_OWNERS", 3)

    async def test() -> None:
        api = runners()
        for number in range(5):
            api.put("ephemeralrunners", {"metadata": {"name": f"x{number}", "uid": f"x{number}"}})
        async with running(api) as session:
            await ready(session)
            await session.until(lambda: "more than" in caplog.text)
            names = {r.resource for r in session.source.stats().resources}
            assert "ephemeralrunners.actions.github.com" not in names

    with caplog.at_level(logging.INFO):
        run(test())


def test_kinds_are_bounded() -> None:
    kinds = OwnerKinds(clock=lambda: 0.0, sleep=asyncio.sleep)
    new = [kinds.met(f"Kind{number % 30}.v1.example.com") for number in range(90)]
    assert sum(new) == MAX_KINDS
    assert not kinds.met("StatefulSet")
