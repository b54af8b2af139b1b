"""DNS that crosses: the arithmetic of same-zone, at port 53."""

from dataclasses import replace

from advice_world import GIB, ZONES, of_rule, party, service, talk, world

WEB, DNS = party("shop/web"), party("kube-system/coredns")
SIZES = {(client, server): GIB for client in ZONES for server in ("a", "b")}
ENDPOINTS = {"a": 2, "b": 2}


def test_questions_stay_in_zones_with_a_server() -> None:
    flows = talk(WEB, DNS, SIZES, 53, "udp")
    kube_dns = service("kube-system/kube-dns", DNS, ENDPOINTS, 53, "udp")
    (one,) = of_rule(world(flows, [kube_dns]), "dns")
    assert one.saved_bytes == 2 * GIB
    assert one.draft.verdict == "warning"  # c has none
    assert of_rule(world(flows, [kube_dns]), "same-zone") == []


def test_metrics_at_the_same_pods_are_dns_all_the_same() -> None:
    kube_dns = service("kube-system/kube-dns", DNS, ENDPOINTS)
    stock = {(53, "udp"), (53, "tcp"), (9153, "tcp")}
    openshift = {(5353, "udp"), (5353, "tcp"), (9154, "tcp")}
    for ports, port in ((stock, 53), (openshift, 5353)):
        flows = talk(WEB, DNS, SIZES, port, "udp")
        found = world(flows, [replace(kube_dns, target_ports=frozenset(ports))])
        assert len(of_rule(found, "dns")) == 1
        assert of_rule(found, "same-zone") == []


def test_another_port_and_a_preference_are_silent() -> None:
    flows = talk(WEB, DNS, SIZES, 53, "udp")
    for other in (
        service("kube-system/kube-dns", DNS, ENDPOINTS, 8080),
        service("kube-system/kube-dns", DNS, ENDPOINTS, 53, "udp", distribution="PreferClose"),
    ):
        assert of_rule(world(flows, [other]), "dns") == []
