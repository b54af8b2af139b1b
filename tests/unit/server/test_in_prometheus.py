"""What Prometheus adds up is what was sent: jobs of seconds, new pods, restarts, two servers.

Days of scrapes of real servers on a clock of the test, and a real Prometheus that has stored them.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from cluster import Clock, cluster
from manifests import ROOT
from promql import RULES, Prometheus
from scraped import TICK, SimulatedServer, Written

from kzn.model.ip import pack
from kzn.topology.facts import Workload

pytestmark = pytest.mark.slow

TOPOLOGY = cluster("n1 a r\nn2 b r", "shop/db n2 10.2.0.1 StatefulSet/db")
HOUR, DAY = 3600, 86400
TRAFFIC = ("pod_cross_zone_", "kzn_workload_")
PODS = "pod_cross_zone_network_traffic_bytes_total"
PROMISED = 0.001
"""Relative error: what increase() extrapolates at the ends of a window."""
QUERY = re.compile(r"increase\(([a-z_]+(?:\{[^}]*\})?)\[\w+\]\)")
RECORDED = (
    "workload_zones:kzn_traffic_bytes:rate5m",
    "pair:kzn_cross_zone_bytes:rate5m",
    "zones:kzn_traffic_bytes:rate5m",
)


def queries() -> list[str]:
    """What the README and the cookbook take increases of, as far as all that is sent here is it."""
    pages = ((ROOT / page).read_text() for page in ("README.md", "docs/operations.md"))
    found = {selector for page in pages for selector in QUERY.findall(page)}
    return sorted(name for name in found if name.startswith(TRAFFIC) and "orders-db" not in name)


@dataclass
class World:
    """A server that is scraped every ``every`` seconds, and jobs of pods of node n1."""

    server: SimulatedServer
    clock: Clock
    every: int = 30
    missed: int = 0
    """Every so many scrapes one is not received; 0: none."""
    sent: int = 0
    also: SimulatedServer | None = None
    """A second server, scraped at the same times."""
    second: Written | None = None
    """What a second Prometheus stored, which scrapes in the middle between two scrapes."""
    pods: dict[str, str] = field(default_factory=dict)
    _scrapes: int = 0
    _addresses: int = 0

    def until(self, second: int) -> None:
        """Let time pass until ``second`` of the day."""
        while self.clock.seconds < second:
            self.clock.seconds += TICK
            self.server.tick()
            if self.clock.seconds % self.every == 0:
                self._scrapes += 1
                fails = self.missed and self._scrapes % self.missed == 0
                self.server.scrape(received=not fails)
            if self.second is not None and self.clock.seconds % self.every == self.every // 2:
                self.server.scrape(by="second", into=self.second)
            if self.also is not None:
                self.also.tick()
                if self.clock.seconds % self.every == 0:
                    self.also.scrape()

    def begins(self, pod: str, kind: str, workload: str) -> None:
        self._addresses += 1
        self.pods[pod] = f"10.1.{self._addresses // 250}.{self._addresses % 250 + 1}"
        self.server.pod(pod, "n1", pack(self.pods[pod]), Workload(kind, workload))

    def sends(self, pod: str, size: int) -> None:
        self.sent += size
        self.server.apply("n1", (self.pods[pod], "10.2.0.1", size))

    def job(self, workload: str, begin: int, seconds: int, size: int) -> None:
        """A pod of a CronJob that sends ``size`` bytes in each ten seconds of its life."""
        pod = f"{workload}-{begin}"
        self.until(begin)
        self.begins(pod, "CronJob", workload)
        for second in range(10, seconds + 1, 10):
            self.until(begin + second)
            self.sends(pod, size)
        self.server.pod_ends(pod)


def made(tmp_path: Path, *, state: bool = False, missed: int = 0) -> tuple[World, Written]:
    clock, written = Clock(0.0), Written()
    path = tmp_path / "state" if state else None
    server = SimulatedServer(clock, written, TOPOLOGY, "kzn-server", state=path)
    return World(server, clock, missed=missed), written


def assert_adds_up(
    world: World, found: Prometheus, *, between: float = 0.0, has_pods: bool = True
) -> None:
    """Over the last day, by every query of the pages and by the recorded rules.

    ``between``: seconds after the last scrape. ``has_pods``: by the queries of pods, too.
    """
    end, sent = world.clock.wall(), world.sent
    asked = [query for query in queries() if has_pods or query != PODS]
    assert len(asked) >= 3
    for selector in (*asked, 'kzn_zone_traffic_bytes_total{class="cross_zone"}'):
        total = found.sum(f"increase({selector}[1d])", end + between)
        assert total == pytest.approx(sent, rel=PROMISED), (selector, total / sent)
    for rule in rules():
        assert found.integral(rule, end - DAY, end, 30.0) == pytest.approx(sent, rel=1e-9), rule


def rules() -> list[str]:
    """The expressions of the recorded rates."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    found = {rule.get("record"): rule["expr"] for group in groups for rule in group["rules"]}
    return [found[name] for name in RECORDED]


@pytest.mark.parametrize("missed", [0, 7])
def test_a_day_of_hourly_jobs_bursts_and_returning_workloads_adds_up(
    tmp_path: Path, missed: int
) -> None:
    world, written = made(tmp_path, missed=missed)
    world.begins("web-1", "Deployment", "web")
    for hour in range(1, 23):
        world.job("backup", hour * HOUR + 615, 10, 10**9 + hour)
        world.job("report", hour * HOUR + 1800, 60, 10**8 + hour)
        if hour == 2:
            world.until(hour * HOUR + 2700)
            world.begins("burst-1", "Deployment", "burst")  # all in its first second
            world.sends("burst-1", 5 * 10**9)
        if hour in (3, 4, 5, 20):  # a workload that is idle for an hour, or for fifteen
            for second in range(3000, 3300, 10):
                world.until(hour * HOUR + second)
                world.sends("web-1", 10**7)
    world.until(DAY + HOUR // 2 + 60)  # not a scrape that is missed
    with written.in_prometheus(tmp_path) as found:
        assert_adds_up(world, found)
        assert_adds_up(world, found, between=11.0)


@pytest.mark.parametrize("state", [True, False])
def test_a_server_that_is_restarted_adds_up(tmp_path: Path, *, state: bool) -> None:
    world, written = made(tmp_path, state=state)
    for hour in range(1, 7):
        world.job("backup", hour * HOUR + 615, 10, 10**9 + hour)
        if hour in (2, 3, 5):
            world.until(hour * HOUR + 1000)
            world.server.restart()
    world.until(10 * HOUR)
    with written.in_prometheus(tmp_path) as found:
        assert_adds_up(world, found, has_pods=state)
        # Without the state the series of the pods end with the server, minutes after the pods.
        # increase() extrapolates such short series by some percent; what they reached is exact.
        assert found.sum(f"max_over_time({PODS}[1d])", world.clock.wall()) == world.sent


def test_with_state_a_restart_while_bytes_are_pending_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    world, written = made(tmp_path, state=True)
    for hour in range(1, 7):
        world.job("backup", hour * HOUR + 615, 10, 10**9 + hour)
        world.server.restart()
        world.job("report", hour * HOUR + 1800, 10, 10**8)
        world.until(hour * HOUR + 1890)
        world.server.restart()
    world.until(10 * HOUR)
    with written.in_prometheus(tmp_path) as found:
        assert_adds_up(world, found)


def test_a_server_in_each_zone_adds_up(tmp_path: Path) -> None:
    clock, written = Clock(0.0), Written()
    first, second = (
        World(SimulatedServer(clock, written, TOPOLOGY, name), clock) for name in ("a", "b")
    )
    first.also = second.server
    for hour in range(1, 7):
        first.job("backup", hour * HOUR + 615, 10, 10**9 + hour)
        second.begins(f"job-{hour}", "CronJob", "backup")
        second.sends(f"job-{hour}", 10**8)
    first.until(10 * HOUR)
    first.sent += second.sent
    with written.in_prometheus(tmp_path) as found:
        assert_adds_up(first, found)


@pytest.mark.parametrize(("every", "missed"), [(60, 5), (120, 0)])
def test_each_of_two_prometheis_of_one_server_adds_up(
    tmp_path: Path, every: int, missed: int
) -> None:
    world, written = made(tmp_path, missed=missed)
    world.every, world.second = every, Written()
    world.until(10 * every)
    for hour in range(1, 23):
        world.job("backup", hour * HOUR + 610 + 10 * (hour % 12), 10, 10**9 + hour)
    world.until(DAY + HOUR // 2 + every)
    for name, stored in (("first", written), ("second", world.second)):
        (tmp_path / name).mkdir()
        with stored.in_prometheus(tmp_path / name) as found:
            total = found.sum(
                'increase(kzn_workload_traffic_bytes_total{direction="egress"}[1d])',
                world.clock.wall(),
            )
            assert total == pytest.approx(world.sent, rel=PROMISED), name
            # Of a pod there are few samples; what is extrapolated of them is more.
            total = found.sum(f"increase({PODS}[1d])", world.clock.wall())
            assert total == pytest.approx(world.sent, rel=5 * PROMISED), name


def test_without_the_wait_prometheus_misses_all_of_the_jobs_pods(tmp_path: Path) -> None:
    clock, written = Clock(0.0), Written()
    world = World(SimulatedServer(clock, written, TOPOLOGY, "kzn-server", wait=0.0), clock)
    for hour in range(1, 4):
        world.job("backup", hour * HOUR + 615, 10, 10**9 + hour)
    world.until(5 * HOUR)
    with written.in_prometheus(tmp_path) as found:
        assert found.sum(f"increase({PODS}[1d])", world.clock.wall()) == 0
