"""Whatever lies between the IP stack and the cable: each packet is counted once, to the byte."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from counting import difference
from layouts import LAYOUTS, NODE, POD, Layout, datagrams, every_probe, laid_out
from test_wire_bytes import super_packets

from kzn.lab import traffic
from kzn.lab.lab import Lab
from kzn.lab.traffic import Family
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts

FAMILIES: tuple[Family, Family] = (4, 6)
BULK = 500_000
MTU = 1500


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_leaves_by_a_layout_of_devices_is_counted_once_with_the_bytes_of_the_wire(
    lab: Lab, name: str, record_property: Callable[[str, object], None]
) -> None:
    node = lab.node("a1")
    row: dict[str, object] = {"device": name}
    record_property("cell", row)
    with laid_out(lab, name) as layout, every_probe(node) as counts, super_packets(node) as lengths:
        before = lab.carried()
        send(lab, layout)
        wire = from_node(lab, difference(before, lab.carried()))
        counted = {probe: from_node(lab, one.drain().by_key()) for probe, one in counts.items()}
        longest = max(lengths())
    assert {key.src for key in wire} == sources(lab) - (set() if layout.pod else set(POD))
    assert counted == {probe: visible(layout, probe, wire) for probe in counted}
    assert longest > 2 * MTU, "no packet was to be segmented: nothing was proved"
    row |= {probe: "exact" if sums == wire else "not seen" for probe, sums in counted.items()}


def send(lab: Lab, layout: Layout) -> None:
    """Datagrams, fragments and TCP bulk of a pod, and datagrams of the node itself."""
    node, a, b, c = lab.node("a1"), *map(lab.pod, ("a1-p1", "b1-p1", "b1-p2"))
    for family in FAMILIES:
        there = traffic.addresses(a, b, family)[1]
        traffic.udp(a, b, family, datagrams=20, size=1000, mtu=MTU)
        traffic.udp(a, b, family, datagrams=5, size=4000, mtu=MTU)
        traffic.tcp_bulk(a, b, family, size=BULK)
        datagrams(node.namespace, b.namespace, (there, 5301), times=20)
        if layout.vrf:
            datagrams(node.namespace, b.namespace, (there, 5301), times=20, device=layout.vrf)
        if layout.pod:  # by its second device, to another pod
            second = replace(a, ipv4=POD[0], ipv6=POD[1])
            traffic.udp(second, c, family, datagrams=20, size=1000, mtu=MTU)
            traffic.tcp_bulk(second, c, family, size=BULK)


def sources(lab: Lab) -> set[str]:
    """The addresses that `send` sends from."""
    pod = lab.pod("a1-p1")
    return {pod.ipv4, pod.ipv6, *NODE, *POD}


def from_node(lab: Lab, counts: Mapping[WireKey, Counts]) -> dict[WireKey, Counts]:
    """Counts of what the node and its pods sent."""
    return {key: count for key, count in counts.items() if key.src in sources(lab)}


def visible(layout: Layout, probe: str, wire: Mapping[WireKey, Counts]) -> dict[WireKey, Counts]:
    """What a probe can see of the wire: netfilter does not see frames that are only switched."""
    hidden = POD if probe == "postrouting" and not layout.is_seen else ()
    return {key: count for key, count in wire.items() if key.src not in hidden}
