"""PreferSameZone for a Service: what stays, at which load, and when there is nothing to say."""

from dataclasses import replace

import pytest
from advice_world import CLUSTER, GIB, ZONES, month, of_rule, party, service, talk, workload, world

from kzn.advisor.facts import Endpoint

WEB, CART = party("shop/web"), party("shop/cart")
EVEN = {(client, server): GIB for client in ZONES for server in ZONES}
TWO = dict.fromkeys(ZONES, 2)


def test_all_that_crosses_from_zones_with_endpoints_stays() -> None:
    (one,) = of_rule(world(talk(WEB, CART, EVEN), [service("shop/cart", CART, TWO)]), "same-zone")
    assert one.saved_bytes == 6 * GIB
    assert one.saving_per_month == {"USD": pytest.approx(month(6 * GIB))}
    assert (one.draft.verdict, one.draft.confidence) == ("proposed", "high")
    assert one.draft.change.commands == (
        "kubectl -n shop patch service cart --type merge -p"
        """ '{"spec":{"trafficDistribution":"PreferSameZone"}}'""",
    )
    assert {zone.load_after for zone in one.draft.zones} == {1.0}


def test_uneven_clients_are_a_warning_with_the_factor() -> None:
    sizes = EVEN | {("a", server): 4 * GIB for server in ZONES}
    (one,) = of_rule(world(talk(WEB, CART, sizes), [service("shop/cart", CART, TWO)]), "same-zone")
    (a, b, _) = one.draft.zones
    assert a.load_before == 1.0
    assert a.load_after == pytest.approx(12 / 18 * 6 / 2)
    assert b.load_after == pytest.approx(3 / 18 * 6 / 2)
    assert one.draft.verdict == "warning"
    assert "2.00 times the mean" in one.draft.risks[0]


def test_the_load_is_that_of_the_busiest_hour() -> None:
    flows = [
        replace(flow, series=(flow.bytes // 2, 0, 3 * flow.bytes if flow.client_zone == "a" else 0))
        for flow in talk(WEB, CART, EVEN)
    ]
    (one,) = of_rule(world(flows, [service("shop/cart", CART, TWO)]), "same-zone")
    assert [zone.client_share for zone in one.draft.zones] == [1.0, 0.0, 0.0]
    assert [zone.load_after for zone in one.draft.zones] == [3.0, 0.0, 0.0]
    assert one.draft.zones[1].crossing_before == 2 * GIB


def test_a_zone_without_an_endpoint_goes_on_and_most_of_it_is_refused() -> None:
    sizes = {(client, "a"): GIB for client in ZONES} | {("a", "b"): GIB, ("b", "b"): GIB}
    cart = service("shop/cart", CART, {"a": 2, "b": 2})
    (one,) = of_rule(world(talk(WEB, CART, sizes), [cart]), "same-zone")
    assert one.saved_bytes == 2 * GIB  # not that of c
    assert one.draft.verdict == "warning"
    more = talk(WEB, CART, sizes | {("c", "a"): 9 * GIB})
    (one,) = of_rule(world(more, [cart]), "same-zone")
    assert one.draft.verdict == "refused"
    assert one.counted_per_month == {}


@pytest.mark.parametrize(
    ("version", "value"),
    [((1, 30), ""), ((1, 31), "PreferClose"), ((1, 34), "PreferSameZone"), (None, "PreferClose")],
)
def test_the_value_is_one_that_the_api_server_knows(
    version: tuple[int, int] | None, value: str
) -> None:
    cluster = replace(CLUSTER, api_version=version)
    found = world(talk(WEB, CART, EVEN), [service("shop/cart", CART, TWO)], cluster=cluster)
    (one,) = of_rule(found, "same-zone")
    assert (one.draft.verdict == "refused") == (not value)
    assert all(f'"{value}"' in command for command in one.draft.change.commands)


@pytest.mark.parametrize(
    ("proxy", "cilium", "expected"),
    [
        ("kube-proxy", None, ("proposed", "high", 1)),
        ("", None, ("proposed", "medium", 1)),
        ("cilium", None, ("proposed", "medium", 1)),
        ("cilium", {"enable-service-topology": "true"}, ("proposed", "high", 1)),
        ("cilium", {}, ("proposed", "high", 3)),
        ("ovn-kubernetes", None, ("refused", "high", 1)),
    ],
)
def test_the_data_plane_must_obey(
    proxy: str, cilium: dict[str, str] | None, expected: tuple[str, str, int]
) -> None:
    cluster = replace(CLUSTER, proxy=proxy, cilium=cilium)
    found = world(talk(WEB, CART, EVEN), [service("shop/cart", CART, TWO)], cluster=cluster)
    (one,) = of_rule(found, "same-zone")
    assert (one.draft.verdict, one.draft.confidence, len(one.draft.change.commands)) == expected


@pytest.mark.parametrize(
    ("oldest", "newest", "proxy", "expected"),
    [
        ((1, 28), (1, 28), "kube-proxy", ("refused", "medium")),
        ((1, 28), (1, 31), "kube-proxy", ("warning", "medium")),
        ((1, 28), None, "kube-proxy", ("warning", "medium")),
        ((1, 31), (1, 34), "kube-proxy", ("proposed", "high")),
        ((1, 28), (1, 28), "", ("warning", "medium")),
        ((1, 28), (1, 28), "cilium", ("proposed", "high")),
        (None, None, "kube-proxy", ("proposed", "high")),
    ],
)
def test_nodes_must_know_the_field(
    oldest: tuple[int, int] | None,
    newest: tuple[int, int] | None,
    proxy: str,
    expected: tuple[str, str],
) -> None:
    cilium = {"enable-service-topology": "true"}
    cluster = replace(
        CLUSTER,
        api_version=(1, 31),
        kubelet=oldest,
        newest_kubelet=newest,
        proxy=proxy,
        cilium=cilium,
    )
    found = world(talk(WEB, CART, EVEN), [service("shop/cart", CART, TWO)], cluster=cluster)
    (one,) = of_rule(found, "same-zone")
    assert (one.draft.verdict, one.draft.confidence) == expected
    assert (expected[0] == "proposed") == ("1.28" not in one.draft.risks[0])


def test_cilium_keeps_its_version_and_its_agents_restart_before_the_field_is_set() -> None:
    cluster = replace(CLUSTER, proxy="cilium", cilium={})
    found = world(talk(WEB, CART, EVEN), [service("shop/cart", CART, TWO)], cluster=cluster)
    (one,) = of_rule(found, "same-zone")
    upgrade, restart, patch = one.draft.change.commands
    assert "--version YOUR_VERSION --reuse-values" in upgrade
    assert restart == "kubectl -n kube-system rollout restart daemonset/cilium"
    assert "trafficDistribution" in patch
    assert "in place of YOUR_VERSION" in one.draft.change.summary


def test_an_endpoint_without_a_zone_gets_it_first() -> None:
    # By --default-zone kzn has a zone for the node; the EndpointSlice has none.
    cart = service("shop/cart", CART, TWO)
    bad = Endpoint(CART, "n x", "c", False, False)
    found = world(talk(WEB, CART, EVEN), [replace(cart, endpoints=(*cart.endpoints, bad))])
    (one,) = of_rule(found, "same-zone")
    label, patch = one.draft.change.commands
    assert label == "kubectl label node 'n x' topology.kubernetes.io/zone=ZONE"
    assert "trafficDistribution" in patch
    assert one.draft.verdict == "warning"
    assert "1 of 7 endpoints have no zone" in one.draft.risks[0]
    nowhere = replace(cart, endpoints=(*cart.endpoints, replace(bad, node="")))
    (one,) = of_rule(world(talk(WEB, CART, EVEN), [nowhere]), "same-zone")
    assert one.draft.verdict == "refused"


def test_bytes_that_random_choice_does_not_explain_are_less_sure() -> None:
    # All clients of a use b and none c, as with connections that were opened long ago.
    found = world(talk(WEB, CART, {("a", "b"): GIB}), [service("shop/cart", CART, TWO)])
    assert of_rule(found, "same-zone")[0].draft.confidence == "low"


def test_several_services_of_the_same_endpoints_have_the_bytes_once() -> None:
    services = [service(f"shop/{name}", CART, TWO) for name in ("cart", "cart-2")]
    (one,) = of_rule(world(talk(WEB, CART, EVEN), services), "same-zone")
    assert one.draft.service == "shop/cart"
    assert one.draft.confidence == "medium"
    assert any("shop/cart-2" in text for text in one.draft.unknown)


@pytest.mark.parametrize(
    "changes",
    [
        {"is_headless": True},
        {"distribution": "PreferClose"},
        {"topology_mode": "Auto"},
        {"internal_policy": "Local"},
        {"port": 53, "protocol": "udp"},
        {"port": 9090},
    ],
)
def test_it_is_silent(changes: dict[str, object]) -> None:
    port = int(str(changes.pop("port", 8080)))
    cart = service("shop/cart", CART, TWO, port, **changes)  # type: ignore[arg-type]
    protocol = str(changes.get("protocol", "tcp"))
    flows = talk(WEB, CART, EVEN, port=53 if port == 53 else 8080, protocol=protocol)
    assert of_rule(world(flows, [cart], [workload(WEB, TWO)]), "same-zone") == []
