"""Kernel tunnels: inner addresses, outer bytes, and a flag on encrypted traffic."""

import re
import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import pytest
from overlay import INNER_MTU
from programs import Programs
from test_wire_bytes import super_packets
from tunnels import KINDS, esp, tunnel, wireguard

from kzn.lab import traffic
from kzn.lab.lab import Lab
from kzn.lab.traffic import Family
from kzn.lab.witness import WireKey
from kzn.model.flows import ENCRYPTED
from kzn.model.totals import Counts

FAMILIES: tuple[Family, Family] = (4, 6)
BULK = 1_000_000
HEADER = {4: 20, 6: 40}


@pytest.mark.parametrize("name", KINDS, ids=lambda name: re.sub(r"\W+", "-", name))
def test_a_tunnel_is_accounted_to_the_pods_with_the_bytes_of_the_uplink(
    lab: Lab, programs: Programs, name: str, record_property: Callable[[str, object], None]
) -> None:
    """At a port that no program at an uplink knows (FoU) to the nodes, with the same bytes."""
    kind, node, other = KINDS[name], lab.node("a1"), lab.node("b1")
    outer = other.ipv6 if kind.over == 6 else other.ipv4
    row: dict[str, object] = {"device": name}
    record_property("cell", row)
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    wire: dict[WireKey, Counts] = {}
    with (
        tunnel(lab, name),
        programs.every_probe(lab, node) as counts,
        super_packets(node) as lengths,
    ):
        for family in kind.families:
            ends = traffic.addresses(a, b, family)
            before = lab.uplink_counters(node)
            traffic.udp(a, b, family, datagrams=40, size=100, mtu=INNER_MTU)
            sent = lab.uplink_counters(node).since(before).tx_wire
            assert sent == Counts(40, 40 * (kind.added + HEADER[family] + 8 + 100))
            wire[WireKey(*ends, socket.IPPROTO_UDP)] = sent
            before = lab.uplink_counters(node)
            traffic.tcp_bulk(a, b, family, size=BULK)
            sent = lab.uplink_counters(node).since(before).tx_wire
            wire[WireKey(*ends, socket.IPPROTO_TCP)] = sent
        longest = max(lengths())
        for counted in counts.values():
            counted.drain()
    total = {WireKey(node.ipv4, other.ipv4, socket.IPPROTO_UDP): _sum(wire.values())}
    for probe, counted in counts.items():
        is_unknown = kind.is_at_port and probe != "postrouting"
        assert counted.by_key() == (total if is_unknown else wire), probe
        assert not any(one.flags & ENCRYPTED for one in counted.rows)
        assert {one.via for one in counted.rows} == {"" if is_unknown else outer}
        row[probe] = "exact, of the nodes" if is_unknown else "exact"
    assert longest > 2 * INNER_MTU, "no packet was to be segmented: nothing was proved"


def _sum(counts: Iterable[Counts]) -> Counts:
    total = Counts()
    for one in counts:
        total = total.plus(one)
    return total


def secret(lab: Lab, name: str) -> AbstractContextManager[None]:
    """An encrypted tunnel."""
    if name == "esp":
        return esp(lab)
    return wireguard(lab, 51820 if name == "wireguard" else 9999)


@pytest.mark.parametrize("name", ["wireguard", "wireguard elsewhere", "esp"])
def test_encrypted_traffic_is_accounted_to_the_nodes_once(
    lab: Lab, programs: Programs, name: str, record_property: Callable[[str, object], None]
) -> None:
    node, other, a, b = lab.node("a1"), lab.node("b1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    row: dict[str, object] = {"device": name}
    record_property("cell", row)
    with secret(lab, name), programs.every_probe(lab, node) as counts:
        before = lab.uplink_counters(node)
        for family in FAMILIES:
            traffic.udp(a, b, family, datagrams=40, size=100, mtu=1280)
            traffic.tcp_bulk(a, b, family, size=BULK)
        sent = lab.uplink_counters(node).since(before).tx_wire
        for counted in counts.values():
            counted.drain()
    protocol = socket.IPPROTO_ESP if name == "esp" else socket.IPPROTO_UDP
    assert sent.bytes > BULK * len(FAMILIES)
    for probe, counted in counts.items():
        assert counted.by_key() == {WireKey(node.ipv4, other.ipv4, protocol): sent}, probe
        # At an uplink only its ports identify WireGuard; postrouting sees the device.
        is_known = name != "wireguard elsewhere" or probe == "postrouting"
        assert {bool(flow.flags & ENCRYPTED) for flow in counted.rows} == {is_known}
        assert (counted.ignored("tunnel").bytes > 0) == (probe == "postrouting")
        row[probe] = "exact, encrypted" if is_known else "exact, of the nodes"
