"""A complete server in its own process, on one CPU, with the topology of fleet.py.

In: a pipe, and a socket with the lines of a watch. Out: its ports, and numbers on request.
"""

import asyncio
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from socket import socket
from typing import Any

from lib.apifleet import ApiFleet
from lib.fleet import Fleet
from lib.heartbeat import Heartbeat

from kzn.daemon.allocator import keep_freed_memory
from kzn.daemon.garbage import limit_collections
from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.daemon.signals import Shutdown
from kzn.server import fair_loop
from kzn.server.app import SWITCH_SECONDS, Server
from kzn.server.config import ServerConfig
from kzn.server.ledger.family import Row
from kzn.server.state.sqlite_store import StateFile
from kzn.server.topology import Topology
from kzn.topology.facts import OwnerFacts, OwnerRef
from kzn.topology.index import AddressIndex
from kzn.topology.kube.lines import LineSplitter
from kzn.topology.kube.list_watch import ListWatch, Sink
from kzn.topology.kube.resources import POD_RESOURCE
from kzn.topology.kube.workload_join import WorkloadJoin
from kzn.topology.source import TopologyStats

TICKS = 50
"""Writes of events per second."""


class FleetSource:
    """A topology source that starts with the whole fleet and then reads a watch of its pods."""

    ready = True
    cluster = ""

    def __init__(self, fleet: Fleet, watch: socket) -> None:
        self.index = AddressIndex(clock=time.monotonic, wall=time.time)
        fleet.fill(self.index)
        join = WorkloadJoin(self.index)
        for number in range(fleet.workloads):
            owner = OwnerRef("Deployment", f"app-{number}", f"d-{number}")
            join.put_owner(OwnerFacts(f"rs-{number}", f"app-{number}-5d8f", owner), 0)
        self.pods = ListWatch(
            POD_RESOURCE,
            Sink(join.put_pod, join.drop_pod),
            clock=time.monotonic,
            rng=Random(1),  # noqa: S311 - no secret
            listings=count(1),
        )
        self._watch = watch
        self._fleet = fleet

    async def run(self) -> None:
        """Apply events as they arrive, like kzn.topology.kube.watch."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._replace_nodes())
            await self._read()

    async def _replace_nodes(self) -> None:
        """A node is deleted and another one comes, of the same name, each second."""
        for number in count():
            await asyncio.sleep(1.0)
            node = self._fleet.node(number % self._fleet.nodes)
            self.index.drop_node(node.uid)
            self.index.put_node(replace(node, uid=f"{node.uid}-again", version=10_000 + number))

    async def _read(self) -> None:
        reader, _ = await asyncio.open_connection(sock=self._watch)
        lines = LineSplitter()
        while chunk := await reader.read(1 << 16):
            for line in lines.feed(chunk):
                self.pods.line(line)

    def stats(self) -> TopologyStats:
        """Counts of the index."""
        return TopologyStats(self.index.counts())


def allow_many_files() -> None:
    """Raise the limit of open files to the maximum allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def resident() -> float:
    """Resident memory of this process in MB."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - a file of the kernel
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def send_events(watch: socket, fleet: Fleet, cpu: int, rate: int) -> None:
    """Write ``rate`` events a second until the reader closes the socket."""
    os.sched_setaffinity(0, {cpu})
    events = ApiFleet(fleet.nodes, fleet.pods, fleet.workloads).events(
        1 << 40,
        Random(1),  # noqa: S311 - no secret
    )
    began = time.monotonic()
    try:
        for tick in count(1):
            watch.sendall(b"".join(next(events) + b"\n" for _ in range(rate // TICKS)))
            time.sleep(max(0.0, began + tick / TICKS - time.monotonic()))
    except OSError:
        return


def serve(
    pipe: Connection,
    watch: socket,
    fleet: Fleet,
    cpus: set[int],
    state: Path | None = None,
    rows: Callable[[Fleet], Iterable[Row]] | None = None,
) -> None:
    """Serve on ``cpus`` until the pipe receives "stop"; answer any other message with numbers.

    After "rest" the heartbeat rests until the next message. The ledger begins with ``rows``.
    """
    os.sched_setaffinity(0, cpus)
    allow_many_files()
    keep_freed_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    limit_collections()
    fair_loop.run(_serve(pipe, FleetSource(fleet, watch), state, rows(fleet) if rows else ()))


async def _serve(
    pipe: Connection, source: FleetSource, state: Path | None, rows: Iterable[Row]
) -> None:
    agents, http = listen(HostPort("127.0.0.1", 0)), listen(HostPort("127.0.0.1", 0))
    server = Server(
        ServerConfig(),
        Topology(source.index, (("bench", source),)),
        None,
        state=StateFile(state) if state else None,
    )
    server._pipeline.ledger.load(rows, time.monotonic())
    shutdown = Shutdown()
    ports = bound_port(agents), bound_port(http)
    heartbeat = Heartbeat()
    beating = asyncio.create_task(heartbeat.run())
    serving = asyncio.create_task(server.serve(agents, http, shutdown, lambda *_: pipe.send(ports)))
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe.fileno(), _answer, pipe, source, server, heartbeat, shutdown.asked.set)
    await serving
    beating.cancel()


def _answer(
    pipe: Connection,
    source: FleetSource,
    server: Server,
    heartbeat: Heartbeat,
    stop: Callable[[], None],
) -> None:
    message = pipe.recv()
    if message == "stop":
        stop()
        return
    numbers: dict[str, Any] = {"cpu": time.process_time(), "rss_mb": resident()}
    numbers["events"] = source.pods.stats().events
    numbers["connections"] = server._receiver.stats.connections
    numbers["ended_ownerships"] = source.index.counts().ended_ownerships
    numbers |= heartbeat.numbers()
    if message == "rest":
        heartbeat.rest()
    else:
        heartbeat.reset()
    pipe.send(numbers)
