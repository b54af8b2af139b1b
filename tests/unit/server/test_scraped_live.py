"""A Prometheus that scrapes `kzn server` processes each second adds up what agents delivered."""

from pathlib import Path

import pytest
from cluster import cluster
from promql import Prometheus, prometheus
from site_process import SECONDS, Site, free_port

from kzn.lab.daemons import wait_for

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
    sent = shown = 0
    with prometheus(tmp_path, site.scrape_configs) as found:
        for size in (999_600, 5, 2**40):
            with site.serving():
                site.deliver("n1", ("10.1.0.1", "10.2.0.1", size))
                sent += size
                shown = shown + size if state else size
                wait_for_all(found, shown)
                at = last_sample(found)
        for family in FAMILIES:
            assert found.sum(f"increase({family}[5m])", at) == pytest.approx(sent, rel=1e-12)
