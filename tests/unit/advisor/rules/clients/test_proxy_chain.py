"""A proxy whose bytes cross twice."""

from dataclasses import replace

import pytest
from advice_world import (
    CLUSTER,
    GIB,
    ZONES,
    month,
    of_all,
    of_rule,
    party,
    service,
    talk,
    workload,
    world,
)

from kzn.advisor.facts import Endpoint

WEB, PROXY, CART = party("shop/web"), party("shop/proxy"), party("shop/cart")
EVEN = {(client, server): GIB for client in ZONES for server in ZONES}
TWO = dict.fromkeys(ZONES, 2)
SERVICES = [service("shop/proxy", PROXY, TWO), service("shop/cart", CART, TWO)]
WORKLOADS = [workload(one, TWO) for one in (WEB, PROXY, CART)]
FLOWS = talk(WEB, PROXY, EVEN) + talk(PROXY, CART, EVEN)


def test_both_hops_are_judged_together_and_counted_once() -> None:
    found = world(FLOWS, SERVICES, WORKLOADS)
    (one,) = of_rule(found, "proxy-chain")
    assert one.saved_bytes == 12 * GIB
    assert [command.split()[5] for command in one.draft.change.commands] == ["proxy", "cart"]
    advice = of_all(found)
    assert [p.rule for p in advice.proposals] == ["proxy-chain", "same-zone", "same-zone"]
    assert advice.total_per_month == {"USD": pytest.approx(month(12 * GIB))}
    assert advice.proposals[1].overlaps == ("proxy-chain:Deployment/shop/proxy",)


def test_it_begins_where_both_ends_are_in_every_zone() -> None:
    proxies = {"a": 2, "b": 2}
    first = {(client, server): GIB for client in ZONES for server in proxies}
    second = {(client, server): GIB for client in proxies for server in ZONES}
    flows = talk(WEB, PROXY, first) + talk(PROXY, CART, second)
    services = [service("shop/proxy", PROXY, proxies), SERVICES[1]]
    workloads = [WORKLOADS[0], workload(PROXY, proxies), WORKLOADS[2]]
    (one,) = of_rule(world(flows, services, workloads), "proxy-chain")
    assert [command.split()[5] for command in one.draft.change.commands] == ["cart", "proxy"]


def test_only_bytes_of_services_that_it_changes_count() -> None:
    # The proxy has another server, with a preference already, and one behind no Service.
    pinned, plain = party("shop/pinned"), party("shop/plain")
    flows = FLOWS + talk(PROXY, pinned, {("a", "b"): GIB}) + talk(PROXY, plain, {("a", "b"): GIB})
    services = [*SERVICES, service("shop/pinned", pinned, TWO, distribution="PreferClose")]
    workloads = [*WORKLOADS, workload(pinned, TWO), workload(plain, TWO)]
    (one,) = of_rule(world(flows, services, workloads), "proxy-chain")
    assert (one.crossing_bytes, one.saved_bytes) == (12 * GIB, 12 * GIB)
    assert len(one.draft.change.commands) == 2
    headless = [SERVICES[0], replace(SERVICES[1], is_headless=True)]
    assert of_rule(world(FLOWS, headless, WORKLOADS), "proxy-chain") == []


def test_the_cluster_dns_is_none_of_its_servers_and_labels_come_first() -> None:
    dns = party("kube-system/coredns")
    flows = FLOWS + talk(PROXY, dns, {("a", "b"): GIB}, 53, "udp")
    bad = Endpoint(CART, "n x", "c", False, False)
    cart = replace(SERVICES[1], endpoints=(*SERVICES[1].endpoints, bad))
    services = [SERVICES[0], cart, service("kube-system/kube-dns", dns, TWO, 53, "udp")]
    (one,) = of_rule(world(flows, services, [*WORKLOADS, workload(dns, TWO)]), "proxy-chain")
    assert [command.split()[1] for command in one.draft.change.commands] == ["-n", "label", "-n"]
    assert one.draft.change.summary.startswith("label the nodes")
    assert "kube-dns" not in one.draft.change.summary


def test_a_hop_that_same_zone_refuses_is_not_changed() -> None:
    # Most bytes of the second hop come from c, where cart has no endpoint.
    second = {("c", "a"): 7 * GIB, ("a", "b"): GIB, ("b", "a"): GIB}
    services = [SERVICES[0], service("shop/cart", CART, {"a": 2, "b": 2})]
    found = world(talk(WEB, PROXY, EVEN) + talk(PROXY, CART, second), services, WORKLOADS)
    assert [one.draft.verdict for one in of_rule(found, "same-zone")] == ["proposed", "refused"]
    assert of_rule(found, "proxy-chain") == []


def test_a_data_plane_that_does_not_follow_hints_is_silent() -> None:
    for cluster in (
        replace(CLUSTER, proxy="ovn-kubernetes"),
        replace(CLUSTER, proxy="cilium", cilium={}),
    ):
        assert of_rule(world(FLOWS, SERVICES, WORKLOADS, cluster), "proxy-chain") == []


def test_a_server_that_sends_on_little_and_hops_inside_a_zone_are_no_chain() -> None:
    less = dict.fromkeys(EVEN, GIB // 2)
    inside = {(zone, zone): 3 * GIB for zone in ZONES}
    for second in (less, inside):
        flows = talk(WEB, PROXY, EVEN) + talk(PROXY, CART, second)
        assert of_rule(world(flows, SERVICES, WORKLOADS), "proxy-chain") == []
