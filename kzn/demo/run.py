"""Run the demo: a lab, a server, an agent on each node, traffic, and a comparison of counts.

In: a `DemoConfig` and a `Show` for progress. Out: a `Report`.
Never: leaves a namespace, process, mount or pin behind, even after SIGKILL.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from kzn.demo.cost import month_rows
from kzn.demo.flow_log import FlowLogReader, snapshot_sums
from kzn.demo.relay import relay
from kzn.demo.report import PairRow, Report, own_rows, pair_rows, uplink_rows
from kzn.demo.shop import ROLLOUT, SPEC, Shop, ends_of
from kzn.errors import KznError
from kzn.lab import jobs
from kzn.lab.daemons import KZN, STOP_SECONDS, Daemon
from kzn.lab.jobs import Sums, Worker
from kzn.lab.lab import Lab
from kzn.lab.plan import Node, host_pod_batches
from kzn.lab.topology import topology
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts

AGENT_PORT = 9102
SERVER_PORT = 8080
BATCH_PORT = 7070
SHOW_SECONDS = 0.5
ROLLOUT_SECONDS = 60.0
"""When checkout of the shop is rolled out."""
LAST_HOUR = "#/?range=1h"
"""The address of the page within it: the demo has minutes, not days."""
SERVED_REST_SECONDS = 1.0
"""Between two rounds with --serve, so that the machine stays usable."""


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """Seconds of traffic; None: until Ctrl-C, with the server's pages on port ``listen``."""

    seconds: float | None
    mtu: int = 1500
    history: bool = False
    """Whether the server keeps minutes of its own in the lab's directory."""
    interval: str = "2s"
    listen: int = 8080
    provider: str = ""
    """The cloud whose price list the server applies; empty: none."""
    first_scrape_wait: str = "off"
    """Of the server. The report compares its page with what was sent."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The counts while traffic runs, after ``elapsed`` seconds."""

    rows: tuple[PairRow, ...]
    elapsed: float


ShowProgress = Callable[[Progress], None]


class Show(Protocol):
    """Shows progress."""

    def say(self, line: str) -> None:
        """Print a line about a step."""
        ...

    def live(self, seconds: float | None) -> AbstractContextManager[ShowProgress | None]:
        """A live display for a run of ``seconds``; None without a terminal."""
        ...


class Demo:
    """The server and the agents in a lab; without a ``shop``, every pod is a workload."""

    def __init__(self, lab: Lab, config: DemoConfig, shop: Shop | None = None) -> None:
        self._lab = lab
        self._config = config
        self._names = shop.names if shop else None
        self._more = (shop.ingress,) if shop else ()
        self._ends = shop.ends if shop else ends_of(lab.plan)
        self._sums = Sums()
        self._server = self._start_server()
        self._counted = FlowLogReader(self._server.stdout)
        self._agents: list[Daemon] = []
        self._seconds = 0.0

    def start_agents(self) -> None:
        """Start an agent on each node and wait until all have attached their hooks."""
        self._server.wait_ready("/readyz")
        self._agents = [self._start_agent(node) for node in self._lab.nodes]
        for agent in self._agents:
            agent.wait_ready("/healthz")

    def send(
        self,
        workers: Sequence[Worker],
        at: Callable[[float], None],
        show: ShowProgress | None,
    ) -> None:
        """Send for the configured time; ``at`` is called with the seconds so far now and then.

        KznError if a daemon or a worker fails.
        """
        started = time.monotonic()
        with jobs.running(workers, self._sums) as check_workers:
            for elapsed in _ticks(started, self._config.seconds):
                self._seconds = elapsed
                check_workers()
                for daemon in (self._server, *self._agents):
                    daemon.check()
                if show is not None:
                    show(Progress(self._rows(), elapsed))
                at(elapsed)

    def served(self) -> AbstractContextManager[str]:
        """Make the server's pages reachable on this machine's loopback; yields their URL."""
        return relay(self._lab.fabric.namespace, SERVER_PORT, self._config.listen)

    def finish(self) -> Report:
        """Stop the agents, which ship their last batch, then the server, and compare."""
        lab = self._lab
        for agent in self._agents:
            agent.ask_to_stop()
        for agent in self._agents:
            agent.wait_stopped()
        prometheus = self._server.page("/metrics")
        self._server.ask_to_stop()
        self._server.wait_stopped()
        counted = self._counted.finish(STOP_SECONDS)
        left = self._left_in_kernel()
        carried = lab.carried()
        pairs = pair_rows(self._ends, self._sums.copy(), carried, counted)
        return Report(
            pairs=pairs,
            uplinks=uplink_rows(
                {node.name: lab.uplink_counters(node) for node in lab.nodes},
                {node.name: lab.carried_by(node) for node in lab.nodes},
            ),
            own=own_rows(lab.plan, carried, counted, left),
            prometheus=prometheus,
            months=month_rows(pairs, self._seconds, datetime.now(UTC).date()),
        )

    def _left_in_kernel(self) -> dict[WireKey, Counts]:
        left: dict[WireKey, Counts] = {}
        for node in self._lab.nodes:
            command = [*KZN, "inspect-map", "--json", "--pin-dir", str(self._lab.pin_dir(node))]
            done = self._lab.run(node.namespace, command)
            if done.returncode != 0:
                raise KznError(f"kzn inspect-map on {node.name} failed", hint=done.stderr.strip())
            left |= snapshot_sums(done.stdout)
        return left

    def _rows(self) -> tuple[PairRow, ...]:
        lab = self._lab
        return pair_rows(self._ends, self._sums.copy(), lab.carried(), self._counted.copy())

    def _start_server(self) -> Daemon:
        path = Path(self._lab.directory, "topology.yaml")
        path.write_text(topology(self._lab.plan, self._config.provider, self._names, self._more))
        arguments = [
            *("server", "--topology", str(path), "--flow-log", "json"),
            *("--flow-log-classes", "all"),
            *("--first-scrape-wait", self._config.first_scrape_wait),
            *("--listen-agents", f":{BATCH_PORT}", "--listen-http", f"127.0.0.1:{SERVER_PORT}"),
        ]
        if self._config.history:
            arguments += ["--history", str(self._lab.directory / "history")]
        namespace = self._lab.fabric.namespace
        return Daemon(self._lab, "kzn server", namespace, arguments, port=SERVER_PORT)

    def _start_agent(self, node: Node) -> Daemon:
        arguments = [
            *("agent", "--node", node.name, "--interval", self._config.interval),
            *("--server", f"{self._lab.fabric.ipv4}:{BATCH_PORT}"),
            *("--pin-dir", str(self._lab.pin_dir(node))),
            *("--listen-http", f"127.0.0.1:{AGENT_PORT}"),
        ]
        name = f"kzn agent {node.name}"
        return Daemon(self._lab, name, node.namespace, arguments, port=AGENT_PORT)


def run_demo(config: DemoConfig, show: Show) -> Report:
    """Run the demo once; UnsupportedError if this machine cannot."""
    with Lab("kzn", **SPEC, mtu=config.mtu) as lab:
        rolled_out = threading.Event()
        shop = Shop(lab.plan, rolled_out.is_set)
        for namespace, commands in host_pod_batches(lab.plan, shop.ingress):
            lab.configure(namespace, commands)
        demo = Demo(lab, config, shop)

        def roll_out(elapsed: float) -> None:
            if elapsed >= ROLLOUT_SECONDS and not rolled_out.is_set():
                rolled_out.set()
                show.say(f"rollout: {ROLLOUT}")

        with ExitStack() as stack:
            if config.seconds is None:
                url = stack.enter_context(demo.served())
                show.say(f"page: {url}/{LAST_HOUR}  (Ctrl-C stops and prints the report)")
            zones, workloads = len(lab.plan.spec.zones), len(shop.workloads)
            show.say(
                f"lab: {len(lab.nodes)} nodes in {zones} zones, {len(shop.names)} pods of"
                f" {workloads} workloads"
            )
            demo.start_agents()
            show.say("server and agents: ready, hooks attached")
            if config.seconds is None:
                stack.enter_context(suppress(KeyboardInterrupt))
            rest = jobs.REST_SECONDS if config.seconds is not None else SERVED_REST_SECONDS
            progress = stack.enter_context(show.live(config.seconds))
            demo.send(shop.workers(rest), roll_out, progress)
        show.say("traffic: ended; stopping the agents, which ship their last batch")
        return demo.finish()


def _ticks(started: float, seconds: float | None) -> Iterator[float]:
    """Elapsed seconds, now and every SHOW_SECONDS until the time is over."""
    while True:
        elapsed = time.monotonic() - started
        yield elapsed
        left = SHOW_SECONDS if seconds is None else min(SHOW_SECONDS, seconds - elapsed)
        if left <= 0:
            return
        time.sleep(left)
