"""A whole server beside a fake API server: what is rolled out is in /api/v1/rollouts."""

import asyncio
import http.client
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_api import FakeApi, pod
from source_session import REPLICASET, cluster_of_two

from kzn.daemon.listen import HostPort, listen
from kzn.daemon.signals import Shutdown
from kzn.server.app import Server
from kzn.server.config import ServerConfig
from kzn.server.state.sqlite_store import StateFile
from kzn.server.topology import open_topology

ANY = HostPort("127.0.0.1", 0)


def kubeconfig(api: FakeApi, folder: Path) -> str:
    path = folder / "kubeconfig"
    found = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": api.host}}],
        "users": [{"name": "x", "user": {}}],
    }
    path.write_text(json.dumps(found))
    return str(path)


def service(**spec: str) -> dict[str, Any]:
    meta = {"name": "cart", "namespace": "shop", "uid": "s1"}
    return {"metadata": meta, "spec": {"clusterIP": "10.9.0.1"} | spec}


def rollouts(port: int) -> set[str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/api/v1/rollouts")
    found = json.loads(connection.getresponse().read())
    connection.close()
    return {f"{row['workload']}: {row['text']}" for row in found["rollouts"]}


@pytest.mark.slow
def test_zones_services_and_replicasets_of_before_the_server_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kzn.server.placement.PERIOD_SECONDS", 0.01)

    async def test() -> None:
        api = cluster_of_two()
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 7200))
        meta = api.objects["replicasets"]["rs1"]["metadata"]
        meta |= {"namespace": "shop", "creationTimestamp": created}
        api.put("services", service())
        ports: list[int] = []
        stop = Shutdown()
        async with api.serve():
            config = ServerConfig(kubeconfig=kubeconfig(api, tmp_path))
            server = Server(config, open_topology(config), None)
            serving = asyncio.create_task(
                server.serve(listen(ANY), listen(ANY), stop, lambda *found: ports.extend(found))
            )

            async def until(*texts: str) -> None:
                async with asyncio.timeout(30):
                    while not ports:  # noqa: ASYNC110 - another task, with a deadline
                        await asyncio.sleep(0.02)
                    while not set(texts) <= await asyncio.to_thread(rollouts, ports[1]):  # noqa: ASYNC110
                        await asyncio.sleep(0.02)

            await until("web: new ReplicaSet web-5d8f")
            sampler_has_seen = server._topology.routing.rollouts
            assert sampler_has_seen is not None
            async with asyncio.timeout(30):
                while not sampler_has_seen._zones._known:  # noqa: ASYNC110 - with a deadline
                    await asyncio.sleep(0.01)
            api.put("pods", pod("p9", "10.0.0.9", "n2", REPLICASET))
            api.put("services", service(trafficDistribution="PreferSameZone"))
            await until(
                "web: zones a → a, b",
                "cart: trafficDistribution unset → trafficDistribution PreferSameZone",
            )
            stop.asked.set()
            await serving

    asyncio.run(test())


@asynccontextmanager
async def restarted(api: FakeApi, folder: Path) -> AsyncIterator[int]:
    """The HTTP port of a server that knows the cluster, and has its state in a file."""
    config = ServerConfig(kubeconfig=kubeconfig(api, folder))
    topology, ports, stop = open_topology(config), list[int](), Shutdown()
    server = Server(config, topology, None, state=StateFile(folder / "state"))
    serving = asyncio.create_task(
        server.serve(listen(ANY), listen(ANY), stop, lambda *found: ports.extend(found))
    )
    async with asyncio.timeout(30):
        while not ports or topology.why_not_ready():  # noqa: ASYNC110 - with a deadline
            await asyncio.sleep(0.02)
    yield ports[1]
    stop.asked.set()
    await serving


@pytest.mark.slow
def test_what_was_rolled_out_is_answered_by_the_next_server_with_the_state(tmp_path: Path) -> None:
    text = "cart: trafficDistribution unset → trafficDistribution PreferSameZone"

    async def test() -> None:
        api = cluster_of_two()
        api.put("services", service())
        async with api.serve():
            async with restarted(api, tmp_path) as port, asyncio.timeout(30):
                api.put("services", service(trafficDistribution="PreferSameZone"))
                while text not in await asyncio.to_thread(rollouts, port):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            async with restarted(api, tmp_path) as port:
                assert text in await asyncio.to_thread(rollouts, port)

    asyncio.run(test())
