"""For any devices between the IP stack and the cable, each packet is counted once, to the byte."""

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from counting import difference
from layouts import LAYOUTS, NODE, POD, Layout, datagrams, laid_out
from overlay import vxlan
from programs import Programs
from test_wire_bytes import super_packets

from kzn.agent.devices.table import read_devices
from kzn.agent.maps.structs import Role
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.lab.traffic import Family
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts

FAMILIES: tuple[Family, Family] = (4, 6)
BULK = 500_000
MTU = 1500
TUNNEL_MODULES = ("ipip", "ip_gre", "sit", "ip6_tunnel", "ip_vti", "ip6_vti", "ip6_gre")
FALLBACK_DEVICES = frozenset(
    {"tunl0", "gre0", "gretap0", "erspan0", "sit0", "ip6tnl0", "ip_vti0", "ip6_vti0", "ip6gre0"}
)
ONLY_INITIAL = Path("/proc/sys/net/core/fb_tunnels_only_for_init_net")


@pytest.mark.parametrize("name", LAYOUTS, ids=lambda name: re.sub(r"\W+", "-", name))
def test_what_leaves_by_a_layout_of_devices_is_counted_once_with_the_bytes_of_the_wire(
    lab: Lab, programs: Programs, name: str, record_property: Callable[[str, object], None]
) -> None:
    node = lab.node("a1")
    row: dict[str, object] = {"device": name}
    record_property("cell", row)
    with (
        laid_out(lab, name) as layout,
        programs.every_probe(lab, node) as counts,
        super_packets(node) as lengths,
    ):
        before = lab.carried()
        send(lab, layout)
        wire = from_node(lab, difference(before, lab.carried()))
        counted = {probe: from_node(lab, one.drain().by_key()) for probe, one in counts.items()}
        longest = max(lengths())
    assert {key.src for key in wire} == sources(lab) - (set() if layout.pod else set(POD))
    assert counted == {probe: visible(layout, probe, wire) for probe in counted}
    assert longest > 2 * MTU, "no packet was to be segmented: nothing was proved"
    row |= {probe: "exact" if sums == wire else "not seen" for probe, sums in counted.items()}


@pytest.mark.parametrize("name", ["idle devices beside a VXLAN"])
def test_idle_devices_of_the_kernels_tunnels_and_dummies_change_nothing_of_an_overlay(
    make_lab: Callable[..., Lab],
    programs: Programs,
    name: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Modules of tunnels give each network namespace a device that is down; some CNIs use them."""
    row: dict[str, object] = {"device": name}
    record_property("cell", row)
    with fallback_tunnels():
        lab = make_lab(pods_per_node=1)
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    with namespaces.inside(node.namespace):
        names = {link.name for link in read_devices().links()}
    if not names >= FALLBACK_DEVICES:
        pytest.xfail(f"this kernel has no {', '.join(sorted(FALLBACK_DEVICES - names))}")
    lab.configure(
        node.namespace,
        [
            *(f"link add {dummy} type dummy" for dummy in ("kube-ipvs0", "nodelocaldns")),
            "addr add 169.254.20.10/32 dev nodelocaldns",
            "link set nodelocaldns up",
            "link set tunl0 up",
        ],
    )
    with vxlan(lab), programs.every_probe(lab, node) as counts:
        with namespaces.inside(node.namespace):
            table = read_devices()
        traffic.udp(a, b, 4, datagrams=20, size=1000, mtu=1400)
        counted = {probe: from_node(lab, one.drain().by_key()) for probe, one in counts.items()}
    assert [device.name for device in table.outermost()] == [node.uplink]
    leads_off = {table.name(n) for n, role in table.roles().items() if role == Role.LEADS_OFF}
    assert leads_off == {node.uplink}
    once = {WireKey(a.ipv4, b.ipv4, 17): Counts(20, 20 * (1000 + 28 + 50))}
    assert counted == dict.fromkeys(counted, once)
    row |= dict.fromkeys(counted, "exact")


@contextmanager
def fallback_tunnels() -> Iterator[None]:
    """New network namespaces have the devices of all modules of tunnels that there are."""
    subprocess.run(["modprobe", "-q", "-a", *TUNNEL_MODULES], check=False)
    before = ONLY_INITIAL.read_text()
    ONLY_INITIAL.write_text("0")
    try:
        yield
    finally:
        ONLY_INITIAL.write_text(before)


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
    """Counts of what the node and its pods sent, without multicast, which makes no flow: a device
    that has just come up tells of its groups.
    """
    return {
        key: count
        for key, count in counts.items()
        if key.src in sources(lab) and not ip_address(key.dst).is_multicast
    }


def visible(layout: Layout, probe: str, wire: Mapping[WireKey, Counts]) -> dict[WireKey, Counts]:
    """What a probe can see of the wire: netfilter does not see frames that are only switched."""
    hidden = POD if probe == "postrouting" and not layout.is_seen else ()
    return {key: count for key, count in wire.items() if key.src not in hidden}
