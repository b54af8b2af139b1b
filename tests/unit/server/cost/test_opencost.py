"""OpenCost over kzn: its own arithmetic, on a real Prometheus, gives the bytes and kzn's cost."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from cluster import Clock
from opencost_world import DB, EGRESS, FAR, INGRESS, OUT, TOPOLOGY, WEB, OpenCostWorld
from promql import Prometheus
from scraped import TICK, SimulatedServer, Written

from kzn.pricing import aws, azure
from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import PriceList
from kzn.server.cost.opencost import RETENTION, SWEEP_SECONDS

ZONE = 'internet="false", same_zone="false", same_region="true"'
REGION = 'internet="false", same_zone="false", same_region="false"'
INTERNET = 'internet="true"'
OPENCOST = (
    "sum(increase({metric}{{{labels}}}[1d])) by (pod_name, namespace, uid) / 1024 / 1024 / 1024"
)
"""What OpenCost asks Prometheus for; the result is GiB, which it multiplies by a price."""
ADVISED = {"aws": 0.02, "azure": 0.0}
"""zoneNetworkEgress for OpenCost, as docs/money.md advises."""
DAY = 86_400.0


def test_each_end_that_is_a_pod_has_a_counter_by_where_the_other_is() -> None:
    world = OpenCostWorld()
    world.send("n1", (WEB, DB, 1), (WEB, FAR, 2), (WEB, OUT, 4), (OUT, WEB, 8), (WEB, WEB, 16))
    web, db, far = ((name, "shop", f"static:shop/{name}") for name in ("web", "db", "far"))
    assert world.series() == {
        (EGRESS, *web, "false", "false", "true"): 1,
        (EGRESS, *web, "false", "false", "false"): 2,
        (EGRESS, *web, "true", "false", "false"): 4,
        (INGRESS, *web, "true", "false", "false"): 8,
        (INGRESS, *db, "false", "false", "true"): 1,
        (INGRESS, *far, "false", "false", "false"): 2,
    }


def test_a_counter_begins_at_0() -> None:
    world = OpenCostWorld()
    world.send("n1", (WEB, DB, 1))
    assert set(world.series(world.clock.now()).values()) == {0}
    assert set(world.series(world.clock.now() + 1).values()) == {1}


def test_the_page_of_these_counters_and_the_page_of_all_show_bytes_by_their_own_scrapes() -> None:
    world = OpenCostWorld(wait=75.0)
    world.send("n1", (WEB, DB, 1))
    shown = [world.clock.now()]

    def bytes_shown() -> list[int]:
        found = world.counters.snapshot(shown[0])
        return [int((one.exposed * one.bytes).sum()) for one in (found, found.alone())]

    world.clock.seconds += 100
    assert bytes_shown() == [0, 0]
    world.counters.scraped(world.clock.now(), is_prometheus=False, by="a")
    assert bytes_shown() == [0, 2]
    shown[0] = world.clock.now()
    assert bytes_shown() == [2, 2]


def test_a_pod_of_the_same_name_and_another_uid_takes_the_place_of_the_one_before() -> None:
    world = OpenCostWorld()
    world.pod("one", "10.1.0.9")
    world.send("n1", ("10.1.0.9", DB, 5))
    world.index.drop_pod("one")
    world.clock.seconds += 100
    world.pod("two", "10.1.0.9")
    world.clock.seconds += 100
    world.send("n1", ("10.1.0.9", DB, 3))
    found = {labels[3]: size for labels, size in world.series().items() if labels[1] == "job"}
    assert found == {"two": 3}


def test_a_late_batch_of_the_pod_before_leaves_its_successor_alone() -> None:
    world = OpenCostWorld()
    world.pod("one", "10.1.0.7")
    world.send("n1", ("10.1.0.7", DB, 500))
    world.clock.seconds += 10
    world.index.drop_pod("one")
    world.clock.seconds += 10
    world.pod("two", "10.1.0.8")
    world.send("n1", ("10.1.0.8", DB, 7))
    dropped = world.counters.snapshot(np.inf).dropped
    world.late(("10.1.0.7", DB, 40))
    assert world.of("job") == {(EGRESS, "two"): 7}
    assert world.counters.snapshot(np.inf).dropped == dropped + 40
    world.clock.seconds += 10
    world.index.drop_pod("two")  # nor is it so when both have ended
    world.late(("10.1.0.7", DB, 2))
    assert world.of("job") == {(EGRESS, "two"): 7}
    assert world.counters.snapshot(np.inf).dropped == dropped + 42


def test_a_batch_of_an_ended_pod_that_nothing_was_seen_of_leaves_its_successor_alone() -> None:
    world = OpenCostWorld()
    world.pod("one", "10.1.0.7")
    world.clock.seconds += 10
    world.index.drop_pod("one")
    world.clock.seconds += 10
    world.pod("two", "10.1.0.8")
    world.send("n1", ("10.1.0.8", DB, 7))
    world.late(("10.1.0.7", DB, 40))
    assert world.of("job") == {(EGRESS, "two"): 7}


def test_pods_beyond_the_limit_are_in_a_counter_of_their_bytes() -> None:
    world = OpenCostWorld(limit=1)
    world.send("n1", (WEB, DB, 7))
    assert list(world.series().values()) == [7]
    assert world.counters.snapshot(np.inf).dropped == 7


def test_counters_of_a_deleted_pod_end_after_their_time_and_those_of_others_stay() -> None:
    world = OpenCostWorld()
    world.pod("one", "10.1.0.9")
    world.send("n1", ("10.1.0.9", DB, 5))
    world.index.drop_pod("one")
    world.counters.sweep(world.index)
    assert len(world.series()) == 2
    world.clock.seconds += RETENTION + SWEEP_SECONDS
    world.counters.sweep(world.index)
    assert {labels[1] for labels in world.series()} == {"db"}
    world.send("n1", (WEB, DB, 5))
    assert {labels[1] for labels in world.series()} == {"db", "web"}


def a_day(prices: PriceList) -> tuple[SimulatedServer, Written, dict[str, int]]:
    """A day of traffic, scraped every 30 s; and what each pod sent to another zone."""
    topology = TOPOLOGY
    for node in ("n1", "n2", "n3"):
        topology = topology.replace(
            f"name: {node}\n", f"name: {node}\n  provider: {prices.provider}\n"
        )
    clock, written = Clock(0.0), Written()
    book = PriceBook([replace(prices, valid_from=date(2000, 1, 1))])
    server = SimulatedServer(clock, written, topology, "kzn", book=book)
    sent = {"web": 0, "db": 0}
    while clock.seconds < DAY:
        clock.seconds += 10 * TICK
        if 3600 < clock.seconds < DAY - 3600:
            size = 10**8 + int(clock.seconds)
            server.apply("n1", (WEB, DB, size), (WEB, FAR, 3 * size))
            server.apply("n2", (DB, WEB, 2 * size))
            sent["web"] += size
            sent["db"] += 2 * size
        server.tick()
        server.scrape()
    return server, written, sent


def gib(found: Prometheus, metric: str, labels: str, at: float) -> dict[str, float]:
    """OpenCost's query; by the name of the pod."""
    rows = found.query(OPENCOST.format(metric=metric, labels=labels), at)
    assert {row["metric"]["uid"] for row in rows} == {
        f"static:shop/{row['metric']['pod_name']}" for row in rows
    }
    return {row["metric"]["pod_name"]: float(row["value"][1]) for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("prices", [aws.PRICES, azure.PRICES], ids=["aws", "azure"])
def test_opencosts_arithmetic_gives_the_bytes_and_with_the_advised_price_kzns_cost(
    tmp_path: Path, prices: PriceList
) -> None:
    server, written, sent = a_day(prices)
    with written.in_prometheus(tmp_path) as found:
        at = server.clock.wall()
        zone = gib(found, EGRESS, ZONE, at)
        assert {name: size * 2**30 for name, size in zone.items()} == pytest.approx(sent, rel=1e-3)
        received = gib(found, INGRESS, ZONE, at)
        assert received["web"] * 2**30 == pytest.approx(sent["db"], rel=1e-3)
        region = gib(found, EGRESS, REGION, at)
        assert region["web"] * 2**30 == pytest.approx(3 * sent["web"], rel=1e-3)
        assert gib(found, EGRESS, INTERNET, at) == {}
        opencost = sum(zone.values()) * ADVISED[prices.name]
        ours = found.sum('increase(kzn_zone_cost_total{class="cross_zone"}[1d])', at)
        assert opencost == pytest.approx(ours, rel=2e-3, abs=0)
        assert (ours > 0) == (prices.name == "aws")
