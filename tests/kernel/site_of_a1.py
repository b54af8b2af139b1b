"""Helpers of the tests of whole daemons: a server and agents as processes in the lab."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from kzn.agent.pins import install
from kzn.demo.flow_log import FlowLogReader, snapshot_sums
from kzn.errors import KznError
from kzn.lab import namespaces, traffic
from kzn.lab.daemons import KZN, Daemon, wait_for
from kzn.lab.lab import Lab
from kzn.lab.topology import topology
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts

BATCH_PORT = 7070
SERVER_PORT = 8080
AGENT_PORT = 9102
WAIT = float(os.environ.get("KZN_TEST_WAIT", "20"))
"""Time limit in seconds; an emulated machine needs more."""

_number = count(1)


@dataclass(frozen=True, slots=True)
class Process:
    """A daemon of the site, with its stderr."""

    daemon: Daemon
    errors: Path

    @property
    def stderr(self) -> str:
        """Its log so far."""
        return self.errors.read_text(errors="replace")

    def kill(self) -> None:
        """Kill it by SIGKILL."""
        self.daemon.process.kill()
        self.daemon.process.wait()

    def stop(self) -> None:
        """Stop it by SIGTERM; its exit status must be 0."""
        self.daemon.ask_to_stop()
        self.daemon.wait_stopped()

    def wait(self, seconds: float = WAIT) -> int:
        """Its exit status."""
        return self.daemon.process.wait(seconds)

    def has_loop(self, seconds: float = WAIT) -> bool:
        """Whether an agent has its event loop within a time: a signal then cuts a last batch."""
        return self.logs("uplinks (devices that lead off this node)", seconds)

    def logs(self, text: str, seconds: float = WAIT) -> bool:
        """Whether its log contains ``text`` within a time."""
        return wait_for(lambda: text in self.stderr, seconds)

    def metric(self, name: str) -> float:
        """The sum of the samples with ``name`` at the beginning of the line."""
        lines = self.daemon.page("/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


@dataclass(frozen=True, slots=True)
class Served(Process):
    """A server, with the sums of its flow log."""

    flow_log: FlowLogReader

    def has(self, key: WireKey) -> Counts:
        """Counts of an address pair and protocol in the server's flow log."""
        return self.flow_log.copy().get(key, Counts())

    def gets(self, key: WireKey, counts: Counts) -> bool:
        """Whether that becomes exactly ``counts`` within a time."""
        return wait_for(lambda: self.has(key) == counts, WAIT)


@dataclass(slots=True)
class Site:
    """Node a1 of a lab with its pins, and a server in the fabric."""

    lab: Lab
    pin_dir: Path
    running: list[Process] = field(default_factory=list)

    def server(self, *options: str, text: str = "") -> Served:
        """Start a server with a static topology, by default the lab's; wait until it is ready."""
        path = Path(self.lab.directory, "topology.yaml")
        path.write_text(text or topology(self.lab.plan))
        arguments = ["server", "--topology", str(path), "--flow-log", "json"]
        arguments += ["--flow-log-classes", "all", *options]
        arguments += ["--first-scrape-wait", "off"]
        arguments += ["--listen-agents", f":{BATCH_PORT}", "--listen-http", f":{SERVER_PORT}"]
        daemon, errors = self._start(self.lab.fabric.namespace, arguments, SERVER_PORT)
        served = Served(daemon, errors, FlowLogReader(daemon.stdout))
        self.running.append(served)
        wait_ready(daemon, "/readyz")
        return served

    def agent(self, *options: str, ready: bool = True, node: str = "a1") -> Process:
        """Start an agent on a node, and wait until it is attached if ``ready``."""
        arguments = ["agent", "--node", node, "--interval", "500ms"]
        arguments += ["--server", f"{self.lab.fabric.ipv4}:{BATCH_PORT}"]
        arguments += ["--pin-dir", str(self._pin_dir(node)), "--listen-http"]
        arguments += [f"127.0.0.1:{AGENT_PORT}"]
        daemon, errors = self._start(
            self.lab.node(node).namespace, [*arguments, *options], AGENT_PORT
        )
        process = Process(daemon, errors)
        self.running.append(process)
        if ready:
            wait_ready(daemon, "/healthz")
        return process

    def kzn(self, *arguments: str, prefix: tuple[str, ...] = ()) -> CompletedProcess[str]:
        """Run a kzn command on node a1 to its end; it must not print a traceback."""
        command = [*prefix, *KZN, *arguments]
        done = self.lab.run(self.lab.node("a1").namespace, command)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def inspect(self) -> list[dict[str, Any]]:
        """The document of `kzn inspect-map --json`."""
        done = self.kzn("inspect-map", "--json", "--pin-dir", str(self.pin_dir))
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    def left(self, key: WireKey) -> Counts:
        """Counts of an address pair and protocol in the kernel's maps."""
        return snapshot_sums(json.dumps(self.inspect())).get(key, Counts())

    @property
    def key(self) -> WireKey:
        """The pair and protocol of `send`."""
        a, b = self.lab.pod("a1-p1"), self.lab.pod("b1-p1")
        return WireKey(a.ipv4, b.ipv4, 17)

    def send(self, datagrams: int, port: int = 5300) -> Counts:
        """Send datagrams across zones; their packets and bytes on the wire."""
        a, b = self.lab.pod("a1-p1"), self.lab.pod("b1-p1")
        [sent] = traffic.udp(a, b, 4, datagrams=datagrams, size=100, mtu=1500, port=port)
        assert sent.wire is not None
        return sent.wire

    @contextmanager
    def busy(self) -> Iterator[Callable[[], Counts]]:
        """Send without pause within the block; yields a function that returns the sum."""
        stop, sent = threading.Event(), Counts()

        def work() -> None:
            nonlocal sent
            # A process that is just being forked holds a copy of our sockets, and so their port.
            for port in cycle(range(5301, 5401)):
                if stop.is_set():
                    return
                sent = sent.plus(self.send(64, port))

        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(work)
            try:
                yield lambda: sent
            finally:
                stop.set()
                future.result()  # raises the failure of the sender, if any

    def _pin_dir(self, node: str) -> Path:
        return (
            self.pin_dir if node == "a1" else self.pin_dir.with_name(f"{self.pin_dir.name}-{node}")
        )

    def detach(self) -> None:
        """Remove the pins of all nodes; inside each node's namespace, where the tc filters are."""
        for node in self.lab.nodes:
            with namespaces.inside(node.namespace):
                install.detach_all(self._pin_dir(node.name))

    def _start(self, namespace: str, arguments: list[str], port: int) -> tuple[Daemon, Path]:
        name = f"kzn {arguments[0]} {next(_number)}"
        daemon = Daemon(self.lab, name, namespace, arguments, port=port)
        return daemon, Path(self.lab.directory, f"{name.replace(' ', '-')}.stderr")


def wait_ready(daemon: Daemon, path: str) -> None:
    """As `Daemon.wait_ready`, but its last log lines are the message of a failed test."""
    try:
        daemon.wait_ready(path)
    except KznError as error:
        raise AssertionError(f"{error}: {error.hint}") from error


@contextmanager
def made(lab: Lab, name: str) -> Iterator[Site]:
    """A site with its own pin directory; its processes and pins are removed after the block."""
    site = Site(lab, lab.pin_dir(lab.node("a1")).parent / name)
    try:
        yield site
    finally:
        for process in site.running:
            process.kill()
        site.detach()
    for process in site.running:
        assert "Traceback" not in process.stderr
