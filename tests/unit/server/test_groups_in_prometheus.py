"""Cost by team: the joins of the cookbook, the dashboard and the rules, by a real Prometheus."""

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import yaml
from cluster import Clock
from manifests import ROOT
from promql import BOARDS, RULES, Prometheus, panel_queries
from scraped import TICK, SimulatedServer, Written

from kzn.model.ip import pack
from kzn.pricing import aws
from kzn.pricing.book import PriceBook
from kzn.topology.facts import Workload

pytestmark = pytest.mark.slow

TOPOLOGY = """
nodes:
  - {name: n1, zone: a, region: eu-west-1, provider: aws}
  - {name: n2, zone: b, region: eu-west-1, provider: aws}
pods:
  - {namespace: shop, name: db, node: n2, addresses: [10.2.0.1], workload: db, group: data}
  - {namespace: shop, name: bare, node: n1, addresses: [10.1.0.9], workload: bare}
"""
PODS = {"web-1": ("10.1.0.1", "web", "blue"), "job-1": ("10.1.0.2", "job", "red")}
OUT = "8.8.8.8"
EACH = 10**9
A_ZONE, A_MONTH = 0.02 / 2**30, 3600 * 730
HOURS = 3


def world() -> tuple[Clock, Written]:
    """Two servers that know the same pods; the second also counts what goes out of node n2.

    The team of job changes after two hours.
    """
    clock, written = Clock(0.0), Written()
    book = PriceBook([replace(aws.PRICES, valid_from=date(2000, 1, 1))])
    names = ("kzn-server-0", "kzn-server-1")
    servers = [SimulatedServer(clock, written, TOPOLOGY, name, book=book) for name in names]
    for pod, (address, workload, group) in PODS.items():
        for one in servers:
            one.pod(pod, "n1", pack(address), Workload("Deployment", workload), group)
    one, two = servers
    while clock.seconds < HOURS * 3600 + 300:
        clock.seconds += TICK
        if clock.seconds == 2 * 3600:
            for server in servers:
                server.pod("job-1", "n1", pack("10.1.0.2"), Workload("Deployment", "job"), "green")
        for server in servers:
            server.tick()
        if clock.seconds % 60 == 30 and clock.seconds <= HOURS * 3600:
            one.apply(
                "n1",
                *((address, "10.2.0.1", EACH) for address, *_ in PODS.values()),
                ("10.1.0.9", "10.2.0.1", EACH),
            )
            two.apply("n2", ("10.2.0.1", "10.1.0.1", EACH))
        if clock.seconds % 30 == 0:
            for server in servers:
                server.scrape()
    return clock, written


def rule(name: str) -> str:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    (found,) = (r["expr"] for group in groups for r in group["rules"] if r.get("record") == name)
    return str(found)


def from_recorded() -> str:
    """The recorded rule of teams, with the rules that it reads in their places."""
    text = rule("group:kzn_caused_cost:rate1h")
    for name in ("workload:kzn_caused_cost:rate1h", "workload:kzn_group:info"):
        text = text.replace(name, f"({rule(name)})")
    assert ":" not in text
    return f"({text}) * {A_MONTH}"


def from_cookbook() -> str:
    page = (ROOT / "docs" / "operations.md").read_text()
    blocks = re.findall(r"```promql\n(.*?)```", page, re.DOTALL)
    (found,) = (block for block in blocks if "kzn_workload_group_info" in block)
    return str(found).replace("[1d]", "[1h]")


def from_board() -> list[str]:
    found = [query for board in BOARDS for _, query in panel_queries(board)]
    return [query for query in found if "kzn_workload_group_info" in query]


def by_group(found: Prometheus, query: str, at: float) -> dict[str, float]:
    rows = found.query(query, at)
    assert {row["metric"]["currency"] for row in rows} == {"USD"}
    return {row["metric"].get("group", ""): float(row["value"][1]) for row in rows}


def test_every_join_gives_each_team_its_cost_once_and_all_of_it(tmp_path: Path) -> None:
    clock, written = world()
    begin = clock.wall() - clock.seconds
    month = EACH / 60 * A_ZONE * A_MONTH
    queries = [from_cookbook(), from_recorded(), *from_board()]
    assert len(queries) >= 3
    with written.in_prometheus(tmp_path) as found:
        for query in queries:
            before = by_group(found, query, begin + 1.9 * 3600)
            expected = {"blue": month, "red": month, "data": month, "": month}
            assert before == pytest.approx(expected, rel=0.01)
            after = by_group(found, query, begin + 2.9 * 3600)
            expected["green"] = expected.pop("red")
            assert after == pytest.approx(expected, rel=0.01)
            # A minute after the change both groups have a series: each workload counts once.
            changing = by_group(found, query, begin + 2 * 3600 + 60)
            assert sum(changing.values()) == pytest.approx(4 * month, rel=0.01)


def test_without_groups_the_joins_have_all_of_the_cost_in_one_row(tmp_path: Path) -> None:
    clock, written = world()
    written.lines = [line for line in written.lines if "group_info" not in line]
    begin = clock.wall() - clock.seconds
    with written.in_prometheus(tmp_path) as found:
        for query in (from_cookbook(), from_recorded(), *from_board()):
            rows = by_group(found, query, begin + 2.9 * 3600)
            expected = 4 * EACH / 60 * A_ZONE * A_MONTH
            assert rows == pytest.approx({"": expected}, rel=0.01)
