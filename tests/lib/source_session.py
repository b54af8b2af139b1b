"""A KubernetesSource that follows a fake API server on loopback, with its index.

In: a `FakeApi`. Out: a running source, look-ups, a condition that is waited for with a deadline.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fake_api import FakeApi, node, owned, pod

from kzn.model.endpoint import Endpoint
from kzn.model.ip import pack
from kzn.topology.groups import WorkloadGroups
from kzn.topology.index import AddressIndex
from kzn.topology.kube.credentials import Credentials
from kzn.topology.kube.source import KubernetesSource
from kzn.topology.zones import Zones

REPLICASET = ("ReplicaSet", "web-5d8f", "rs1")


def cluster_of_two() -> FakeApi:
    api = FakeApi()
    api.put("nodes", node("n1", "a", "192.0.2.1"))
    api.put("nodes", node("n2", "b", "192.0.2.2"))
    api.put("replicasets", owned("rs1", "web-5d8f", ("Deployment", "web", "d1")))
    api.put("jobs", owned("j1", "backup-28", ("CronJob", "backup", "c1")))
    api.put("pods", pod("p1", "10.0.0.1", "n1", REPLICASET))
    api.put("pods", pod("p2", "10.0.0.2", "n2", ("Job", "backup-28", "j1")))
    api.put("pods", pod("p3", "10.0.0.3", "n2"))
    return api


class Time:
    """A clock that only `sleep` advances; a sleep yields once and returns."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class Session:
    """A running source, with accessors."""

    def __init__(self, api: FakeApi, source: KubernetesSource, time: Time) -> None:
        self.api = api
        self.source = source
        self.time = time

    def endpoint(self, address: str) -> Endpoint | None:
        while self.source.index.describe_some():
            pass
        asked = np.frombuffer(pack(address), np.uint8).reshape(1, 16)
        now = self.time.now
        found = int(self.source.index.lookup(asked, now, now)[0])
        return self.source.index.endpoint(found) if found >= 0 else None

    def failures(self, resource: str) -> dict[str, int]:
        stats = {r.resource: r for r in self.source.stats().resources}
        return {reason: n for reason, n in stats[resource].failures.items() if n}

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - polls another task, with a deadline
                await asyncio.sleep(0.001)


@asynccontextmanager
async def running(
    api: FakeApi,
    credentials: Credentials | None = None,
    zones: Zones | None = None,
    groups: WorkloadGroups | None = None,
    **settings: Any,
) -> AsyncIterator[Session]:
    time = Time()
    index = AddressIndex(clock=time, wall=lambda: 1.7e9 + time.now, zones=zones, groups=groups)
    async with api.serve():
        source = KubernetesSource(
            index,
            credentials or api,
            clock=time,
            rng=random.Random(1),
            sleep=time.sleep,
            **settings,
        )
        task = asyncio.create_task(source.run())
        try:
            yield Session(api, source, time)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def ready(session: Session) -> Session:
    await session.until(lambda: session.source.ready)
    return session


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)
