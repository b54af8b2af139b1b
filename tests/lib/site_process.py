"""Successive processes of one `kzn server` on the same ports, and agents that ship to it.

In: options, flows between addresses. Out: a server over loopback, and how Prometheus scrapes it.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from cluster import flows_between

from kzn.agent.deliver.shipper import Shipper
from kzn.daemon.connect import dial_tcp
from kzn.daemon.listen import HostPort
from kzn.lab.daemons import wait_for
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.totals import Counts, Totals

SECONDS = 30.0
"""How long anything may take."""


@dataclass
class First:
    """The server that a batch was first sent to."""

    server: int = 0

    def sending_to(self, server: int) -> None:
        """Remember it."""
        self.server = server


@dataclass
class Site:
    """The ports and options of successive servers, and how many batches each node has sent."""

    agents: int
    http: int
    options: tuple[str, ...]
    sequences: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        """Of the HTTP API, with a slash at its end."""
        return f"http://127.0.0.1:{self.http}/"

    @property
    def scrape_configs(self) -> str:
        """The part of a configuration of Prometheus that scrapes the server."""
        target = f"targets: ['127.0.0.1:{self.http}'], labels: {{instance: kzn/kzn-server}}"
        job = f"job_name: kzn, honor_labels: true, static_configs: [{{{target}}}]"
        return f"scrape_configs: [{{{job}}}]"

    @contextmanager
    def serving(self) -> Iterator[None]:
        """One process of the server."""
        command = [sys.executable, "-m", "kzn.cli.main", "server", *self.options]
        command += ["--listen-agents", f"127.0.0.1:{self.agents}"]
        command += ["--listen-http", f"127.0.0.1:{self.http}", "--first-scrape-wait", "2s"]
        process = subprocess.Popen(command, env=dict(os.environ))
        try:
            assert wait_for(self.is_ready, SECONDS)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0

    def is_ready(self) -> bool:
        """Whether the server answers."""
        try:
            with urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=5):
                return True
        except (URLError, OSError):
            return False

    def deliver(self, node: str, *rows: tuple[str, str, int], openers: tuple[int, ...] = ()) -> int:
        """A batch of a node: source, destination and bytes of each flow; the bytes of all.

        ``openers``: INITIATOR_SOURCE and so on, of each flow; not known without it.
        """
        self.sequences[node] += 1
        flows = flows_between(*rows)
        if openers:
            flows = replace(flows, flags=np.array(openers, np.uint8))
        size = sum(size for *_, size in rows)
        batch = Batch(self.sequences[node], 1000, 0, flows, Totals(Counts(len(rows), size)))

        async def run() -> None:
            address = HostPort("127.0.0.1", self.agents)
            identity = AgentIdentity(node, 7, "postrouting", "0.1.0")
            shipper = Shipper(identity, address, first=First(), dial=dial_tcp(address, None))
            try:
                async with asyncio.timeout(SECONDS):
                    await shipper.deliver(batch)
            finally:
                await shipper.close()

        # In a thread of its own: a driver of browsers has a loop in this one.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, run()).result()
        return size


def free_port() -> int:
    """A port of loopback that was free."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
