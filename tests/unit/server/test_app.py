"""The whole server on loopback: batches in, metrics out, clean shutdown."""

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from cluster import cluster as cluster_yaml

from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.daemon.signals import Shutdown
from kzn.errors import ApiError, UsageError
from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.ip import pack
from kzn.model.totals import Counts, Totals
from kzn.pricing import aws
from kzn.pricing.book import PriceBook
from kzn.server.app import Server
from kzn.server.config import ServerConfig
from kzn.server.flows.costs import FlowPrices
from kzn.server.flows.queue import FlowLog
from kzn.server.topology import Topology, open_topology
from kzn.topology.index import AddressIndex
from kzn.topology.source import ResourceStats, TopologyStats
from kzn.wire.codec import decode_to_agent, encode_to_server
from kzn.wire.encode_batch import encode_batch
from kzn.wire.messages import Ack, Hello, Reason, Refusal, ToAgent, ToServer, Welcome
from kzn.wire.stream import FrameStream

CLUSTER = cluster_yaml("n1 a\nn2 b", "shop/web-1 n1 10.1.0.1\nshop/db-0 n2 10.2.0.1")
NETWORKS = cluster_yaml("", networks="store Database 10.9.0.0/24 b")
DEADLINE = 20.0


def batch(sequence: int, dst: str = "10.2.0.1", size: int = 5000) -> Batch:
    flows = Flows(
        addresses=np.frombuffer(pack("10.1.0.1") + pack(dst), np.uint8).reshape(2, 16),
        src=np.array([0], np.uint32),
        dst=np.array([1], np.uint32),
        src_port=np.array([0], np.uint16),
        dst_port=np.array([5432], np.uint16),
        protocol=np.array([6], np.uint8),
        flags=np.array([1], np.uint8),
        packets=np.array([4], np.uint64),
        bytes=np.array([size], np.uint64),
    )
    return Batch(sequence, 10_000, 0, flows, Totals(Counts(4, size)))


@dataclass
class Scene:
    """A running server, its ports, and its shutdown."""

    agents: int
    http: int
    shutdown: Shutdown

    async def say(self, stream: FrameStream, message: ToServer) -> ToAgent:
        await stream.send(encode_to_server(message))
        answer = await stream.receive()
        assert answer is not None
        return decode_to_agent(answer)

    async def connect(self) -> FrameStream:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.agents)
        return FrameStream(reader, writer, 1 << 20)

    async def ship(self, *batches: Batch) -> None:
        stream = await self.connect()
        hello = Hello("n1", 7, "", "0.1.0", "postrouting")
        assert isinstance(await self.say(stream, hello), Welcome)
        for one in batches:
            assert isinstance(await self.say(stream, encode_batch(one)), Ack)

    async def get(self, path: str) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.http}{path}") as response,
        ):
            return await response.text()


def play(
    act: Callable[[Scene], Awaitable[None]],
    topology: Topology,
    flow_log: FlowLog | None = None,
) -> None:
    async def run() -> None:
        agents, http = (listen(HostPort("127.0.0.1", 0)) for _ in range(2))
        scene = Scene(bound_port(agents), bound_port(http), Shutdown())
        server = Server(ServerConfig(first_scrape_wait=0.0), topology, flow_log)
        serving = asyncio.Event()

        async def acting() -> None:
            await serving.wait()
            try:
                await act(scene)
            finally:
                scene.shutdown.asked.set()

        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
            tasks.create_task(acting())
            await server.serve(agents, http, scene.shutdown, lambda *_: serving.set())

    asyncio.run(run())


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    return path


def test_a_batch_that_an_agent_sends_is_counted_once_in_the_metrics(cluster: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.ship(batch(1), batch(2), batch(2))
        lines = (await scene.get("/metrics")).splitlines()
        pod = 'pod_cross_zone_network_traffic_bytes_total{namespace="shop",pod="web-1"}'
        assert f"{pod} 10000" in lines
        assert "kzn_server_duplicates_total 1" in lines
        assert "kzn_server_accepted_connections_total 1" in lines
        status = json.loads(await scene.get("/api/v1/status"))
        assert (status["ready"], status["bytes"]["attributed"]) == (True, 10_000)

    play(act, open_topology(ServerConfig(topology=cluster)))


def test_networks_of_a_static_file_are_added_to_the_topology(cluster: Path, tmp_path: Path) -> None:
    networks = tmp_path / "networks.yaml"
    networks.write_text(NETWORKS)

    async def act(scene: Scene) -> None:
        await scene.ship(batch(1, dst="10.9.0.5"))
        (pair,) = json.loads(await scene.get("/api/v1/pairs"))["pairs"]
        assert (pair["dst_workload"], pair["dst_zone"], pair["bytes"]) == ("store", "b", 5000)

    play(act, open_topology(ServerConfig(topology=cluster, static=networks)))


def test_shutdown_writes_the_last_line_of_the_flow_log(cluster: Path) -> None:
    stream = io.BytesIO()
    log = FlowLog(stream, "text", epoch_of=lambda _: 0.0)
    play(lambda scene: scene.ship(batch(1)), open_topology(ServerConfig(topology=cluster)), log)
    assert stream.getvalue().decode().endswith("bytes=5000 class=cross_zone\n")


def test_the_flow_log_prices_an_end_without_a_provider_by_its_zone_as_the_meter_does(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "nodes:\n"
        "  - {name: n1, zone: b, region: eu-west-1, addresses: [10.0.0.1]}\n"
        "  - {name: n2, zone: b, region: eu-west-1, provider: aws, addresses: [10.0.0.2]}\n"
        "pods:\n"
        "  - {namespace: shop, name: web, node: n1, addresses: [10.1.0.1]}\n"
        "  - {namespace: shop, name: db, node: n2, addresses: [10.2.0.1]}\n"
    )
    book = PriceBook([replace(aws.PRICES, valid_from=date(1970, 1, 1))])
    stream = io.BytesIO()
    log = FlowLog(stream, "json", epoch_of=lambda _: 0.0, prices=FlowPrices(lambda: book))
    config = ServerConfig(topology=path)
    play(
        lambda scene: scene.ship(batch(1), batch(2, "8.8.8.8", 1 << 30)), open_topology(config), log
    )
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["class"], first["cost"]) == ("same_zone", 0.0)
    assert (second["class"], second["cost"]) == ("external", pytest.approx(0.09))


def test_the_pods_of_a_workload_whose_group_changes_have_the_new_one_soon(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "nodes: [{name: n1, zone: a, addresses: [10.0.0.1]}]\n"
        "pods:\n"
        "  - {namespace: d, name: w1, workload: w, addresses: [10.1.0.1], group: x, node: n1}\n"
        "  - {namespace: d, name: w0, workload: w, addresses: [10.2.0.1], group: y, node: n1}\n"
    )
    stream = io.BytesIO()
    log = FlowLog(stream, "json", epoch_of=lambda _: 0.0)
    play(lambda scene: scene.ship(batch(1)), open_topology(ServerConfig(topology=path)), log)
    line = json.loads(stream.getvalue())
    assert (line["src_group"], line["dst_group"]) == ("y", "y")


class Waiting:
    """A topology source that is never ready, or fails."""

    ready = False
    cluster = ""

    def __init__(self, failure: Exception | None = None) -> None:
        self.index = AddressIndex(clock=lambda: 0.0, wall=lambda: 0.0)
        self._failure = failure

    async def run(self) -> None:
        if self._failure is not None:
            raise self._failure
        await asyncio.Event().wait()

    def stats(self) -> TopologyStats:
        pods = ResourceStats("pods", False, 0, 1.0, 0, 0, 0, {})
        return TopologyStats(self.index.counts(), (pods,))


def test_agents_are_refused_as_busy_until_the_topology_is_ready() -> None:
    source = Waiting()

    async def act(scene: Scene) -> None:
        answer = await scene.say(await scene.connect(), Hello("n1", 7, "", "0", "p"))
        assert isinstance(answer, Refusal)
        assert answer.reason is Reason.BUSY
        assert not answer.reason.permanent
        assert "first full list of pods" in answer.text
        assert "first full list of pods" in await scene.get("/readyz")

    play(act, Topology(source.index, (("kubernetes", source),)))


def test_a_failing_topology_ends_the_server_with_its_error() -> None:
    source = Waiting(ApiError("watch pods: 403", status=403))

    async def act(_scene: Scene) -> None:
        await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        play(act, Topology(source.index, (("kubernetes", source),)))
    assert caught.group_contains(ApiError, match="watch pods: 403")


@pytest.mark.slow
def test_a_second_signal_stops_a_slow_shutdown(cluster: Path) -> None:
    class Never(io.BytesIO):
        """A stream whose writes block until the test is over."""

        over = threading.Event()

        def write(self, _data: object, /) -> int:
            self.over.wait(DEADLINE)
            return 0

    stream = Never()
    log = FlowLog(stream, "text", epoch_of=lambda _: 0.0)

    async def act(scene: Scene) -> None:
        await scene.ship(batch(1))
        scene.shutdown.hurry.set()

    started = time.monotonic()
    play(act, open_topology(ServerConfig(topology=cluster)), log)
    stream.over.set()
    assert time.monotonic() - started < ServerConfig().shutdown_seconds / 2


def test_a_missing_topology_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        open_topology(ServerConfig(topology=tmp_path / "none.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_a_signal(cluster: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "kzn.cli.main", "server", "--topology", str(cluster)],
        env={
            **os.environ,
            "KZN_LISTEN_AGENTS": "127.0.0.1:0",
            "KZN_LISTEN_HTTP": "127.0.0.1:0",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "agents are not authenticated" in process.stderr.readline()
    wanted = r" info server.app: listening for agents on port \d+, for HTTP on port (\d+)$"
    lines = iter(process.stderr.readline, "")  # what the topology has is told at the same time
    found = next((found for line in lines if (found := re.search(wanted, line))), None)
    assert found
    with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/readyz", timeout=DEADLINE) as answer:
        assert answer.read() == b"ok\n"
    process.send_signal(number)
    _, rest = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, rest
    assert {line.split()[1] for line in rest.splitlines()} <= {"info"}


@pytest.mark.slow
def test_an_error_in_the_topology_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("nodes:\n  - {zone: a}\n")
    done = subprocess.run(
        [sys.executable, "-m", "kzn.cli.main", "server", "--topology", str(path)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 2
    assert f"{path}:2: " in done.stderr
    assert "Traceback" not in done.stderr
