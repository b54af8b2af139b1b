"""Server and agents killed by SIGKILL: the counters equal the bytes sent."""

import errno
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kzn.demo.run import AGENT_PORT, BATCH_PORT, SERVER_PORT
from kzn.lab import jobs
from kzn.lab.daemons import Daemon
from kzn.lab.lab import Lab
from kzn.lab.plan import Node
from kzn.lab.topology import topology

POD = "pod_cross_zone_network_traffic_bytes"
TERMS = ("attributed", "transit", "ignored", "unresolved", "missed")
KILLS = 12


class Site:
    """A server with a state file, and an agent on each node."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self._state = folder / "state"
        self._topology = folder / "topology.yaml"
        self._topology.write_text(topology(lab.plan))
        self.server = self.start_server()
        self.agents = {node.name: self.start_agent(node) for node in lab.nodes}

    def start_server(self) -> Daemon:
        """Start a server with the state file."""
        arguments = [
            *("server", "--topology", str(self._topology), "--state", str(self._state)),
            *("--first-scrape-wait", "off"),
            *("--listen-agents", f":{BATCH_PORT}", "--listen-http", f"127.0.0.1:{SERVER_PORT}"),
        ]
        fabric = self._lab.fabric.namespace
        server = Daemon(self._lab, "kzn server", fabric, arguments, port=SERVER_PORT)
        server.wait_ready("/readyz")
        return server

    def start_agent(self, node: Node) -> Daemon:
        """Start an agent with the existing pins."""
        arguments = [
            *("agent", "--node", node.name, "--interval", "500ms", "--uplink", "all"),
            *("--server", f"{self._lab.fabric.ipv4}:{BATCH_PORT}"),
            *("--pin-dir", str(self._lab.pin_dir(node))),
            *("--listen-http", f"127.0.0.1:{AGENT_PORT}"),
        ]
        name = f"kzn agent {node.name}"
        agent = Daemon(self._lab, name, node.namespace, arguments, port=AGENT_PORT)
        agent.wait_ready("/healthz")
        return agent

    def finish(self) -> dict[tuple[str, str], float]:
        """Stop the agents, which deliver their last batches; the traffic counters then."""
        for agent in self.agents.values():
            agent.ask_to_stop()
        for agent in self.agents.values():
            agent.wait_stopped()
        counters = self.counters()
        self.server.ask_to_stop()
        self.server.wait_stopped()
        return counters

    def counters(self) -> dict[tuple[str, str], float]:
        """The traffic counters by metric and pod or node, summed over reasons."""
        sums: dict[tuple[str, str], float] = {}
        for family in text_string_to_metric_families(self.server.page("/metrics")):
            for sample in family.samples:
                name = sample.labels.get("pod") or sample.labels.get("node")
                if name and family.name.endswith("_bytes"):
                    key = (family.name, name)
                    sums[key] = sums.get(key, 0.0) + sample.value
        return sums


def kill(daemon: Daemon) -> None:
    daemon.process.kill()
    daemon.process.wait(10)


def sent(exchange: Callable[[], object]) -> bool:
    """False when the port is in use: a process just forked holds our sockets until it execs."""
    try:
        exchange()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


@contextmanager
def sending(lab: Lab) -> Iterator[None]:
    """Send whole rounds on all routes in a thread until the block ends."""
    stop = threading.Event()
    faults: list[Exception] = []

    def send() -> None:
        try:
            while not stop.is_set():
                for route in jobs.routes(lab.plan):
                    for exchange in jobs.round_of(route):
                        while not sent(exchange):
                            pass
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            faults.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    if faults:
        raise faults[0]


def crossed(lab: Lab) -> dict[str, int]:
    """L3 bytes that each pod sent to the other zone, counted by the witness."""
    pods = {address: pod for pod in lab.pods for address in (pod.ipv4, pod.ipv6)}
    sums: dict[str, int] = {}
    for key, counts in lab.carried().items():
        src, dst = pods.get(key.src), pods.get(key.dst)
        if src is not None and dst is not None and src.zone != dst.zone:
            sums[src.name] = sums.get(src.name, 0) + counts.bytes
    return sums


def test_every_byte_is_counted_once_although_server_and_agents_are_killed_repeatedly(
    make_lab: Callable[..., Lab], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    record_property("seed", seed)
    chance = random.Random(seed)
    lab = make_lab(nodes_per_zone=1, pods_per_node=1)
    site = Site(lab, tmp_path)
    shown: dict[tuple[str, str], float] = {}
    with sending(lab):
        for _ in range(KILLS):
            # Real processes on real time: the instant of the kill is the point of the test.
            time.sleep(chance.uniform(0.05, 1.0))
            after = site.counters()
            fallen = {k: (shown[k], v) for k, v in after.items() if v < shown.get(k, 0)}
            assert not {k: v for k, v in fallen.items() if k[0] != "kzn_held_bytes"}
            shown = after
            kill(site.server)
            if chance.random() < 0.4:
                node = chance.choice(lab.nodes)
                kill(site.agents[node.name])
                site.agents[node.name] = site.start_agent(node)
            site.server = site.start_server()
    counters = site.finish()
    assert {pod: counters[POD, pod] for pod in crossed(lab)} == crossed(lab), f"seed {seed}"
    for node in lab.nodes:
        terms = sum(counters.get((f"kzn_{term}_bytes", node.name), 0) for term in TERMS)
        held = counters.get(("kzn_held_bytes", node.name), 0)
        assert counters["kzn_seen_bytes", node.name] == terms + held


def test_a_second_server_on_the_state_file_is_refused(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(nodes_per_zone=1, pods_per_node=1)
    site = Site(lab, tmp_path)
    with pytest.raises(Exception, match="ended with status 1") as caught:
        Daemon(
            lab,
            "second server",
            lab.fabric.namespace,
            [
                *("server", "--topology", str(tmp_path / "topology.yaml")),
                *("--state", str(tmp_path / "state"), "--listen-agents", ":7071"),
                *("--listen-http", "127.0.0.1:8081"),
            ],
            port=8081,
        ).wait_ready("/readyz")
    assert "locked by another process" in getattr(caught.value, "hint", "")
    site.finish()
