"""An API server that goes away and comes back: when a new pod is known, in virtual time."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from statistics import median
from typing import Any, cast

import pytest
from virtual import play

from kzn.daemon.logs import RateLimited
from kzn.topology.kube.api_server.availability import Availability
from kzn.topology.kube.client import KubeClient
from kzn.topology.kube.errors import KubeError, reason_of
from kzn.topology.kube.list_watch import ListWatch, Sink
from kzn.topology.kube.resources import (
    JOB_RESOURCE,
    NODE_RESOURCE,
    POD_RESOURCE,
    REPLICASET_RESOURCE,
    SERVICE_RESOURCE,
)
from kzn.topology.kube.watch import Reports, follow

RESOURCES = (
    POD_RESOURCE,
    NODE_RESOURCE,
    REPLICASET_RESOURCE,
    JOB_RESOURCE,
    SERVICE_RESOURCE,
)
KILLED = 100.0


class Server:
    """Answers until KILLED, and again from ``ready`` on; refuses by 403 for ``warm_up`` after that.

    Its watch cache is lost: old watches are answered with 410.
    """

    def __init__(self, ready: float, warm_up: float) -> None:
        self.ready = ready
        self.warm_up = warm_up
        self.requests = 0
        self.probes = 0

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def answers(self) -> bool:
        self.probes += 1
        await asyncio.sleep(0.002)
        return not KILLED <= self.now < self.ready

    async def page(self, path: str, _parameters: Mapping[str, str], _accept: str) -> bytes:
        await self._check(path)
        names = ["old"] + ["new"] * (self.now >= self.ready)
        items = [{"metadata": {"name": name, "uid": f"{path}/{name}"}} for name in names]
        version = "2" if self.now >= self.ready else "1"
        return json.dumps({"metadata": {"resourceVersion": version}, "items": items}).encode()

    @asynccontextmanager
    async def stream(
        self, path: str, parameters: Mapping[str, str], _accept: str
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        await self._check(path)
        if self.now >= self.ready and parameters["resourceVersion"] == "1":
            raise KubeError("too old", reason="expired", status=410)
        yield self._until_killed()

    async def _until_killed(self) -> AsyncIterator[bytes]:
        if self.now < KILLED:
            await asyncio.sleep(KILLED - self.now)
            raise KubeError("reset by peer", reason="connection")
        await asyncio.sleep(3600)
        yield b""

    async def _check(self, path: str) -> None:
        self.requests += 1
        await asyncio.sleep(0.002)
        if KILLED <= self.now < self.ready:
            raise KubeError("refused", reason="connection")
        if self.ready <= self.now < self.ready + self.warm_up:
            raise KubeError(f"GET {path}", reason=reason_of(403), status=403, hint="grant rights")


def known_after(server: Server, seed: int, watched: float = 60.0) -> dict[str, float]:
    """Seconds from ``ready`` until the new object of each resource is known."""
    found: dict[str, float] = {}

    async def run() -> None:
        loop, rng, listings = asyncio.get_running_loop(), Random(seed), count(1)
        availability = Availability(server.answers, sleep=asyncio.sleep, rng=rng)
        warnings = RateLimited(logging.getLogger("kzn.test"), clock=loop.time)
        tasks = [asyncio.create_task(availability.run())]
        for resource in RESOURCES:

            def put(item: Any, _listing: int, name: str = resource.name) -> None:
                if item.uid.endswith("/new"):
                    found.setdefault(name, loop.time() - server.ready)

            one = ListWatch[Any, Any](
                resource, Sink(put, lambda _: None), clock=loop.time, rng=rng, listings=listings
            )
            client = cast(KubeClient, server)
            reports = Reports()
            tasks.append(
                asyncio.create_task(
                    follow(
                        one, client, availability=availability, warnings=warnings, reports=reports
                    )
                )
            )
        await asyncio.sleep(server.ready + watched)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    play(run())
    assert found.keys() == {resource.name for resource in RESOURCES}
    return found


@pytest.mark.parametrize("warm_up", [0.0, 1.5])
@pytest.mark.parametrize("away", [0.4, 3.0, 30.0, 600.0])
def test_a_new_pod_is_known_in_seconds_after_an_outage_of_any_length(
    away: float, warm_up: float
) -> None:
    worst = []
    for seed in range(12):
        found = known_after(Server(KILLED + away, warm_up), seed)
        worst.append(max(found.values()))
    assert median(worst) <= 3.0
    assert max(worst) <= 6.0


def test_an_absent_server_is_probed_about_once_a_second_and_hardly_asked() -> None:
    server = Server(KILLED + 600.0, 0.0)
    known_after(server, 1)
    assert server.probes < 600
    assert server.requests < 250


def test_a_refusal_while_rbac_warms_up_is_told_as_such(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        known_after(Server(KILLED + 3.0, 1.5), 1)
    lines = [record.getMessage() for record in caplog.records]
    refused = [line for line in lines if "/api/v1/pods" in line]
    assert len(refused) == 1
    assert "come back" in refused[0]
    assert "grant rights" not in refused[0]


def test_absence_is_one_line_and_refusals_are_one_for_each_resource(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        known_after(Server(KILLED + 30.0, 1.5), 1)
    lines = [record.getMessage() for record in caplog.records]
    assert (
        sum("re" in line and "refused" in line for line in lines)
        + sum("reset" in line for line in lines)
        == 1
    )
    assert sum("GET /" in line for line in lines) == len(RESOURCES)


def test_a_rights_problem_that_lasts_is_told_with_its_hint_and_backs_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(KILLED + 3.0, 300.0)
    with caplog.at_level(logging.WARNING):
        found = known_after(server, 1, watched=400.0)
    assert min(found.values()) > 300.0
    assert any("grant rights" in record.getMessage() for record in caplog.records)
    assert server.requests < 600


def test_a_server_that_answers_the_first_probe_was_not_away() -> None:
    async def run() -> bool:
        async def answers() -> bool:
            return True

        availability = Availability(answers, sleep=asyncio.sleep, rng=Random(1))
        probing = asyncio.create_task(availability.run())
        availability.missed()
        was_away = await availability.pause(10.0)
        probing.cancel()
        return was_away or asyncio.get_running_loop().time() < 10.0

    assert play(run()) is False
