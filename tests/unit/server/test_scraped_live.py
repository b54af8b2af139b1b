"""A Prometheus that scrapes `kzn server` processes each second adds up what agents delivered."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from cluster import cluster, flows_between
from promql import Prometheus, prometheus

from kzn.agent.deliver.shipper import Shipper
from kzn.daemon.connect import dial_tcp
from kzn.daemon.listen import HostPort
from kzn.lab.daemons import wait_for
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.totals import Counts, Totals

pytestmark = pytest.mark.slow

TOPOLOGY = cluster("n1 a r\nn2 b r", "shop/web-1 n1 10.1.0.1 Deployment/web\nshop/db n2 10.2.0.1")
POD = "pod_cross_zone_network_traffic_bytes_total"
FAMILIES = (
    POD,
    "kzn_workload_pair_bytes_total",
    'kzn_workload_traffic_bytes_total{direction="egress"}',
    'kzn_zone_traffic_bytes_total{class="cross_zone"}',
    'kzn_attributed_bytes_total{node="n1"}',
)
SECONDS = 30.0


@dataclass
class First:
    """The server that a batch was first sent to."""

    server: int = 0

    def sending_to(self, server: int) -> None:
        self.server = server


@dataclass
class Site:
    """The ports and options of successive servers, and the number of the next batch."""

    agents: int
    http: int
    options: tuple[str, ...]
    sequence: int = 0

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
        try:
            with urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=5):
                return True
        except (URLError, OSError):
            return False

    def deliver(self, size: int) -> None:
        """A batch of node n1 in which its pod sent ``size`` bytes to the other zone."""
        self.sequence += 1
        flows = flows_between(("10.1.0.1", "10.2.0.1", size))
        batch = Batch(self.sequence, 1000, 0, flows, Totals(Counts(1, size)))

        async def run() -> None:
            address = HostPort("127.0.0.1", self.agents)
            identity = AgentIdentity("n1", 7, "postrouting", "0.1.0")
            shipper = Shipper(identity, address, first=First(), dial=dial_tcp(address, None))
            try:
                async with asyncio.timeout(SECONDS):
                    await shipper.deliver(batch)
            finally:
                await shipper.close()

        asyncio.run(run())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_for_all(found: Prometheus, size: int) -> None:
    """Wait until a scrape has ``size`` bytes in each family."""
    rows = [f"{family} == {size}" for family in FAMILIES]
    assert wait_for(lambda: all(map(found.answers, rows)), SECONDS)


def last_sample(found: Prometheus) -> float:
    """The time of the newest sample."""
    return max((float(row["value"][1]) for row in found.query(f"timestamp({POD})")), default=0.0)


@pytest.mark.parametrize("state", [True, False])
def test_prometheus_adds_up_bursts_over_restarts_of_the_server(
    tmp_path: Path, *, state: bool
) -> None:
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    options = ["--topology", str(tmp_path / "topology.yaml")]
    options += ["--state", str(tmp_path / "state")] if state else []
    site = Site(free_port(), free_port(), tuple(options))
    target = f"targets: ['127.0.0.1:{site.http}'], labels: {{instance: kzn/kzn-server}}"
    scrape = (
        f"scrape_configs: [{{job_name: kzn, honor_labels: true, static_configs: [{{{target}}}]}}]"
    )
    sent = shown = 0
    with prometheus(tmp_path, scrape) as found:
        for size in (999_600, 5, 2**40):
            with site.serving():
                site.deliver(size)
                sent += size
                shown = shown + size if state else size
                wait_for_all(found, shown)
                at = last_sample(found)
        for family in FAMILIES:
            assert found.sum(f"increase({family}[5m])", at) == pytest.approx(sent, rel=1e-12)
