"""A whole server in a process of its own, on one CPU, over the large cluster.

In: a pipe. Out: its ports, and at the end what it did and what that cost. Never: a network beyond
loopback.
"""

import asyncio
import os
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from lib.fleet import Fleet

from kzn.daemon.listen import Address, bound_port, listen
from kzn.daemon.signals import Shutdown
from kzn.server.app import SWITCH_SECONDS, Server
from kzn.server.config import ServerConfig
from kzn.server.topology import Topology
from kzn.topology.index import AddressIndex
from kzn.topology.source import TopologyStats


class Known:
    """A source that knows the whole fleet."""

    ready = True

    def __init__(self, fleet: Fleet) -> None:
        self.index = AddressIndex(clock=time.monotonic, wall=time.time)
        fleet.fill(self.index)

    async def run(self) -> None:
        """Nothing more comes."""

    def stats(self) -> TopologyStats:
        """What is known."""
        return TopologyStats(self.index.counts())


def allow_many_files() -> None:
    """A descriptor for each connection, as far as this user may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def resident() -> float:
    """MB of this process now."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - a file of the kernel's
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def serve(pipe: Connection, fleet: Fleet, cpu: int) -> None:
    """Serve until the pipe says so; answers each word with numbers."""
    os.sched_setaffinity(0, {cpu})
    allow_many_files()
    sys.setswitchinterval(SWITCH_SECONDS)
    asyncio.run(_serve(pipe, Known(fleet)))


async def _serve(pipe: Connection, known: Known) -> None:
    agents, http = listen(Address("127.0.0.1", 0)), listen(Address("127.0.0.1", 0))
    server = Server(ServerConfig(), Topology(known.index, (("bench", known),)), None)
    shutdown = Shutdown()
    ports = bound_port(agents), bound_port(http)
    serving = asyncio.create_task(server.serve(agents, http, shutdown, lambda *_: pipe.send(ports)))
    asyncio.get_running_loop().add_reader(pipe.fileno(), _answer, pipe, shutdown.asked.set)
    await serving


def _answer(pipe: Connection, stop: Callable[[], None]) -> None:
    if pipe.recv() == "stop":
        stop()
        return
    numbers: dict[str, Any] = {"cpu": time.process_time(), "rss_mb": resident()}
    pipe.send(numbers)
