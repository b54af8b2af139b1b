"""The cast of the demo: who is where, who asks whom, before and after the rollout."""

from collections import Counter

import pytest

from kzn.demo.shop import CRON_ROUNDS, INGRESS_NODE, SPEC, Shop
from kzn.lab.plan import LabSpec, Pod, make_plan
from kzn.lab.topology import PodName, topology
from kzn.topology.static.file import parse_static

PLAN = make_plan(LabSpec("t", **SPEC))


def exchanges(shop: Shop, number: int) -> set[tuple[str, str, int]]:
    """Client, server and IP version of each exchange of a round."""
    names = {pod.name: named.name for pod, named in pods(shop)}
    return {
        (worker.name, names.get(server.name, server.name), family)
        for worker in shop.workers(0.0)
        for exchange in worker.round_of(number)
        for _, _, server, family, _ in [exchange.args]  # type: ignore[attr-defined]
    }


def pods(shop: Shop) -> list[tuple[Pod, PodName]]:
    return [(pod, shop.names[pod.name]) for pod in (*PLAN.pods, shop.ingress)]


def test_the_shop_fills_three_zones_with_workloads_that_a_person_knows() -> None:
    shop = Shop(PLAN)
    text = topology(PLAN, "aws", shop.names, (shop.ingress,))
    found = parse_static("demo.yaml", text)
    kinds = {(workload.name, workload.kind) for _, workload in found.pods}
    assert kinds == {
        *((name, "Deployment") for name in ("web", "cart", "checkout", "coredns")),
        *((name, "StatefulSet") for name in ("postgres", "redis", "kafka", "prometheus")),
        ("nightly-report", "CronJob"),
        ("ingress", "DaemonSet"),
    }
    assert len({pod.name for pod, _ in found.pods}) == len(PLAN.pods) + 1 == 19
    assert len(shop.workloads) == 10
    zones = Counter(pod.zone for pod in PLAN.pods)
    assert zones == dict.fromkeys(SPEC["zones"], 6)


def test_all_ask_over_both_ip_versions_and_never_on_their_own_node() -> None:
    shop = Shop(PLAN)
    nodes = {named.name: pod.node for pod, named in pods(shop)} | {"outside": ""}
    found = exchanges(shop, 0)
    assert {(src, dst, 10 - family) for src, dst, family in found} == found
    assert all(nodes[src] != nodes[dst] for src, dst, _ in found)
    assert ("outside", "ingress-k7x2p", 4) in found
    assert ("ingress-k7x2p", "web-6d4b9-q5ntf", 6) in found


def test_the_ingress_has_addresses_of_its_own_on_its_nodes_network() -> None:
    ingress = Shop(PLAN).ingress
    node = next(node for node in PLAN.nodes if node.name == INGRESS_NODE)
    assert (ingress.namespace, ingress.device) == (node.namespace, node.uplink)
    others = {one.ipv4 for one in PLAN.nodes} | {one.ipv4 for one in PLAN.pods}
    others |= {one.ipv6 for one in PLAN.nodes} | {one.ipv6 for one in PLAN.pods}
    assert len(others) == 2 * (6 + 18)
    assert not {ingress.ipv4, ingress.ipv6} & others


def test_the_cron_job_runs_in_some_rounds() -> None:
    shop = Shop(PLAN)
    run = ("nightly-report-29403-h8t2w", "postgres-0", 4)
    assert [n for n in range(2 * CRON_ROUNDS) if run in exchanges(shop, n)] == [0, CRON_ROUNDS]


@pytest.mark.parametrize(
    ("rolled_out", "where"), [(False, {"zone-a"}), (True, {"zone-b", "zone-c"})]
)
def test_the_rollout_moves_checkout_away_from_its_database(
    rolled_out: bool, where: set[str]
) -> None:
    shop = Shop(PLAN, lambda: rolled_out)
    zones = {named.name: pod.zone for pod, named in pods(shop)}
    found = exchanges(shop, 1)
    readers = {src for src, dst, _ in found if dst == "postgres-0" and src.startswith("checkout")}
    asked = {dst for src, dst, _ in found if src.startswith("web") and dst.startswith("checkout")}
    assert len(readers) == 2
    assert readers == asked
    assert {zones[name] for name in readers} == where
    assert zones["postgres-0"] == "zone-a"


def test_a_plan_without_an_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        Shop(make_plan(LabSpec("t")))
