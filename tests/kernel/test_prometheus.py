"""A real Prometheus that scrapes a server with real agents answers with the bytes sent."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from kzn.demo.run import SERVER_PORT, Demo, DemoConfig
from kzn.lab import jobs
from kzn.lab.daemons import fetch, wait_for
from kzn.lab.lab import Lab

PORT = 9090
METRIC = "pod_cross_zone_network_traffic_bytes_total"
TOP = f"topk(20, rate({METRIC}[5m]))"
CONFIG = f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: kzn
    honor_labels: true
    static_configs: [{{targets: ['127.0.0.1:{SERVER_PORT}']}}]
"""


class Prometheus:
    """A Prometheus in the fabric of the lab, and its query API."""

    def __init__(self, lab: Lab, binary: str, folder: Path) -> None:
        self._namespace = lab.fabric.namespace
        config = folder / "prometheus.yml"
        config.write_text(CONFIG)
        with (folder / "log").open("wb") as log:
            lab.popen(
                self._namespace,
                [
                    binary,
                    f"--config.file={config}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{PORT}",
                ],
                stdout=log,
                stderr=log,
            )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query; empty until Prometheus answers."""
        path = f"/api/v1/query?query={quote(expression)}"
        try:
            status, text = fetch(self._namespace, "127.0.0.1", PORT, path)
        except OSError:
            return []
        return list(json.loads(text)["data"]["result"]) if status == 200 else []

    def values(self, expression: str) -> dict[str, float]:
        """The values of an instant query by pod."""
        return {row["metric"]["pod"]: float(row["value"][1]) for row in self.query(expression)}


@pytest.fixture
def binary() -> str:
    """The Prometheus that scripts/setup installed beside Python, or the machine's."""
    beside_python = shutil.which("prometheus", path=str(Path(sys.executable).parent))
    found = beside_python or shutil.which("prometheus")
    if found is None:
        pytest.skip("no prometheus program: scripts/setup test fetches one")
    return found


def crossed(lab: Lab) -> dict[str, float]:
    """L3 bytes that each pod sent to the other zone, counted by the witness."""
    pods = {address: pod for pod in lab.pods for address in (pod.ipv4, pod.ipv6)}
    sums: dict[str, float] = {}
    for key, counts in lab.carried().items():
        src, dst = pods.get(key.src), pods.get(key.dst)
        if src is not None and dst is not None and src.zone != dst.zone:
            sums[src.name] = sums.get(src.name, 0) + counts.bytes
    return sums


def send_a_round(lab: Lab) -> None:
    for route in jobs.routes(lab.plan):
        for exchange in jobs.round_of(route):
            exchange()


def test_prometheus_answers_with_the_bytes_sent(
    make_lab: Callable[..., Lab], binary: str, tmp_path: Path
) -> None:
    lab = make_lab(nodes_per_zone=2, pods_per_node=1)
    prometheus = Prometheus(lab, binary, tmp_path)
    demo = Demo(lab, DemoConfig(seconds=0, interval="500ms"))
    demo.start_agents()

    send_a_round(lab)
    first = crossed(lab)
    assert len(first) == 4
    assert wait_for(lambda: prometheus.values(METRIC) == first, 30), prometheus.values(METRIC)

    send_a_round(lab)
    second = crossed(lab)
    assert wait_for(lambda: prometheus.values(METRIC) == second, 30), prometheus.values(METRIC)

    rates = prometheus.values(TOP)
    for row in prometheus.query(f"{METRIC}[5m]"):
        samples = [(float(when), float(value)) for when, value in row["values"]]
        assert_rate(rates[row["metric"]["pod"]], samples)
    assert rates.keys() == second.keys()
    assert list(rates.values()) == sorted(rates.values(), reverse=True)
    demo.finish()


def assert_rate(rate: float, samples: list[tuple[float, float]]) -> None:
    """`rate` is the increase over 300 s; it may be stretched by a scrape interval at both ends."""
    (begin, first), (end, last) = samples[0], samples[-1]
    stretch = 1 + 2.2 / (len(samples) - 1)
    assert end > begin
    assert last - first <= rate * 300 * (1 + 1e-9)
    assert rate * 300 <= (last - first) * stretch
