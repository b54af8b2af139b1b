"""Overlays: packets are accounted to the pods once, with their outer length."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from counting import Counted, Row, attached, counting, loaded, tell_devices
from overlay import INNER_MTU, vxlan
from test_cluster_networks import forged, pour
from test_wire_bytes import ip_frame

from kzn.agent.maps.spool import Spool
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.lab.traffic import Family
from kzn.lab.witness import WireKey
from kzn.libbpf.maps import Map
from kzn.model.flows import ENCRYPTED, FAR_END_UNKNOWN
from kzn.model.totals import Counts
from kzn.probes import clsact, postrouting, tcx
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings

FAMILIES: tuple[Family, Family] = (4, 6)
families = pytest.mark.parametrize("family", FAMILIES)
probes = pytest.mark.parametrize("probe", [tcx.PROBE, clsact.PROBE], ids=lambda probe: probe.name)
HEADER = {4: 20, 6: 40}
VXLAN = 20 + 8 + 8 + 14
INNER = 28 + 100


@probes
@families
@pytest.mark.parametrize("port", [4789, 8472])
def test_vxlan_packets_are_accounted_to_the_pods_with_their_outer_length(
    lab: Lab, probe: Probe, family: Family, port: int
) -> None:
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    here, there = traffic.addresses(a, b, family)
    with vxlan(lab, port), counting(node, probe=probe) as counted:
        before = lab.uplink_counters(node)
        traffic.udp(a, b, family, datagrams=40, size=100, mtu=INNER_MTU)
        sent = lab.uplink_counters(node).since(before).tx_wire
        counted.drain()
    assert counted.by_key() == {WireKey(here, there, socket.IPPROTO_UDP): sent}
    assert sent == Counts(40, 40 * (VXLAN + HEADER[family] + 8 + 100))


@probes
@families
def test_super_packets_in_a_vxlan_count_what_the_uplink_sent_in_segments(
    lab: Lab, probe: Probe, family: Family
) -> None:
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    there = WireKey(*traffic.addresses(a, b, family), socket.IPPROTO_TCP)
    with vxlan(lab), counting(node, probe=probe) as counted:
        before = lab.uplink_counters(node)
        traffic.tcp_bulk(a, b, family, size=32_000_000)
        sent = lab.uplink_counters(node).since(before).tx_wire
        counted.drain()
    assert counted.by_key() == {there: sent}
    assert sent.bytes > 32_000_000 * (1 + VXLAN / INNER_MTU)


def inner(protocol: int = 17) -> bytes:
    """An IPv4 packet between pods, without Ethernet."""
    payload = struct.pack("!HHHH", 40_000, 5300, 108, 0) + bytes(100)
    return ip_frame(4, bytes(6), "10.1.0.5", "10.2.0.6", protocol, payload)[14:]


ETHERNET = bytes(12) + b"\x08\x00"
GENEVE = {
    "geneve": b"\x00\x00\x65\x58" + bytes(4) + ETHERNET,
    "geneve with options": b"\x02\x00\x65\x58" + bytes(4) + bytes(8) + ETHERNET,
    "geneve of bare ip": b"\x00\x00\x08\x00" + bytes(4),
}
GRE = {
    "gre": b"\x00\x00\x08\x00",
    "gre with key and checksum": b"\xa0\x00\x08\x00" + bytes(8),
    "gretap": b"\x00\x00\x65\x58" + ETHERNET,
}


def udp(port: int, payload: bytes) -> bytes:
    """A datagram from node to node."""
    return struct.pack("!HHHH", 50_000, port, 8 + len(payload), 0) + payload


WRAPPED = {
    **{name: (17, udp(6081, head + inner())) for name, head in GENEVE.items()},
    **{name: (47, head + inner()) for name, head in GRE.items()},
    "ip in ip": (4, inner()),
    "vxlan": (17, udp(4789, b"\x08" + bytes(7) + ETHERNET + inner())),
}
UNKNOWN = {
    "another port": (17, udp(9999, b"\x08" + bytes(7) + ETHERNET + inner())),
    "no vxlan flag": (17, udp(4789, bytes(8) + ETHERNET + inner())),
    "a length that is not there": (4, inner() + bytes(60)),
    "cut short": (4, inner()[:40]),
    "another version": (4, b"\x65" + inner()[1:]),
    "nothing behind the header": (17, udp(4789, b"\x08" + bytes(7))),
    "an arp packet inside": (17, udp(4789, b"\x08" + bytes(19) + b"\x08\x06" + bytes(28))),
}


def wireguard(kind: int) -> bytes:
    """A WireGuard message: its type, three zero bytes, encrypted data."""
    return bytes([kind, 0, 0, 0]) + bytes(range(100, 200))


ENCRYPTED_ONES = {
    "esp": (50, b"\0\0\1\0" + bytes(200)),
    "esp in udp": (17, udp(4500, b"\0\0\1\0" + bytes(200))),
    **{
        f"wireguard {port} {kind}": (17, udp(port, wireguard(kind)))
        for port, kind in [(51820, 4), (51821, 1), (51871, 3)]
    },
    "an answer of wireguard": (17, struct.pack("!HHHH", 51820, 40_000, 112, 0) + wireguard(4)),
}
NOT_ENCRYPTED = {
    "key exchange of ipsec": (17, udp(4500, bytes(4) + bytes(200))),
    "a keep-alive of ipsec": (17, udp(4500, b"\xff")),
    "no type of wireguard": (17, udp(51820, wireguard(5))),
    "not its three zeros": (17, udp(51820, b"\4\0\1\0" + bytes(100))),
    "wireguard on a port of its own": (17, udp(9999, wireguard(4))),
    "a short datagram": (17, udp(51820, b"\4\0\0")),
    "what follows esp": (51, bytes(200)),
}


@probes
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", WRAPPED)
def test_inner_addresses_are_accounted_with_the_outer_length(
    lab: Lab, probe: Probe, kind: str, family: Family
) -> None:
    protocol, payload = WRAPPED[kind]
    rows = _give(lab, probe, family, protocol, payload)
    counts = Counts(1, HEADER[family] + len(payload))
    assert rows == [("10.1.0.5", "10.2.0.6", 17, 5300, counts)]


@probes
@pytest.mark.parametrize("kind", UNKNOWN)
def test_an_unknown_inner_packet_is_accounted_to_the_nodes(
    lab: Lab, probe: Probe, kind: str
) -> None:
    protocol, payload = UNKNOWN[kind]
    [(src, dst, found, _, counts)] = _give(lab, probe, 4, protocol, payload)
    assert (src, dst, found) == ("10.0.1.2", "10.0.2.2", protocol)
    assert counts == Counts(1, 20 + len(payload))


@probes
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ENCRYPTED_ONES | NOT_ENCRYPTED)
def test_an_encrypted_packet_is_accounted_to_the_nodes_and_flagged(
    lab: Lab, probe: Probe, kind: str, family: Family
) -> None:
    protocol, payload = (ENCRYPTED_ONES | NOT_ENCRYPTED)[kind]
    [row] = _rows(lab, probe, family, protocol, payload)
    node, other = lab.node("a1"), lab.node("b1")
    ends = (node.ipv4, other.ipv4) if family == 4 else (node.ipv6, other.ipv6)
    assert (row.src, row.dst) == ends
    if (protocol, family) != (51, 6):  # there it is an extension header
        assert row.protocol == protocol
    assert row.counts == Counts(1, HEADER[family] + len(payload))
    assert bool(row.flags & ENCRYPTED) == (kind in ENCRYPTED_ONES)


def _give(
    lab: Lab, probe: Probe, family: Family, protocol: int, payload: bytes
) -> list[tuple[str, str, int, int, Counts]]:
    rows = _rows(lab, probe, family, protocol, payload)
    return [(r.src, r.dst, r.protocol, r.dst_port, r.counts) for r in rows]


def _rows(lab: Lab, probe: Probe, family: Family, protocol: int, payload: bytes) -> list[Row]:
    node, other = lab.node("a1"), lab.node("b1")
    ends = (node.ipv4, other.ipv4) if family == 4 else (node.ipv6, other.ipv6)
    with namespaces.inside(node.namespace):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        raw.bind((node.uplink, 0))
    with raw, counting(node, probe=probe) as counted:
        raw.send(ip_frame(family, bytes(6), *ends, protocol, payload))
        counted.drain()
    return counted.rows


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ENCRYPTED_ONES | NOT_ENCRYPTED)
def test_postrouting_flags_encrypted_packets_too(kind: str, family: Family) -> None:
    protocol, payload = (ENCRYPTED_ONES | NOT_ENCRYPTED)[kind]
    ends = ("10.0.1.2", "10.0.2.2") if family == 4 else ("fd00::1", "fd00::2")
    with loaded(Settings(max_flows=16)) as bench:
        bench.give(ip_frame(family, bytes(6), *ends, protocol, payload), family)
        [row] = bench.counted.drain().rows
    assert (row.src, row.dst) == ends
    assert bool(row.flags & ENCRYPTED) == (kind in ENCRYPTED_ONES)


@families
@pytest.mark.parametrize("traffic_of", ["udp", "tcp", "long udp"])
def test_postrouting_counts_an_encapsulated_packet_once_under_the_pod_addresses(
    lab: Lab, family: Family, traffic_of: str
) -> None:
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    here, there = traffic.addresses(a, b, family)
    with vxlan(lab), attached(node) as maps:
        tell_devices(maps, node, skip_inbound=True)
        counted, before = Counted(Spool(maps)), lab.uplink_counters(node)
        if traffic_of == "tcp":
            traffic.tcp_bulk(a, b, family, size=32_000_000)
        else:
            size = 100 if traffic_of == "udp" else 3000
            traffic.udp(a, b, family, datagrams=40, size=size, mtu=INNER_MTU)
        sent = lab.uplink_counters(node).since(before).tx_wire
        counted.drain()
    protocol = socket.IPPROTO_TCP if traffic_of == "tcp" else socket.IPPROTO_UDP
    assert counted.by_key() == {WireKey(here, there, protocol): sent}
    assert counted.ignored("tunnel").bytes > 0


@families
def test_postrouting_counts_inner_and_outer_packet_while_the_uplinks_are_unknown(
    lab: Lab, family: Family
) -> None:
    node, other, a, b = lab.node("a1"), lab.node("b1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    here, there = traffic.addresses(a, b, family)
    with vxlan(lab), counting(node) as counted:
        traffic.udp(a, b, family, datagrams=40, size=100, mtu=INNER_MTU)
        counted.drain()
    inside = 40 * (HEADER[family] + 108)
    assert counted.by_key() == {
        WireKey(here, there, 17): Counts(40, inside),
        WireKey(node.ipv4, other.ipv4, 17): Counts(40, inside + 40 * VXLAN),
    }


@probes
@families
def test_segments_in_a_vxlan_on_a_port_of_its_own_have_all_their_headers(
    lab: Lab, probe: Probe, family: Family
) -> None:
    node, other, a, b = lab.node("a1"), lab.node("b1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    with vxlan(lab, 6784), counting(node, probe=probe) as counted:
        before = lab.uplink_counters(node)
        traffic.tcp_bulk(a, b, family, size=8_000_000)
        sent = lab.uplink_counters(node).since(before).tx_wire
        counted.drain()
    assert counted.by_key() == {WireKey(node.ipv4, other.ipv4, 17): sent}
    assert sent.bytes > 8_000_000 * (1 + VXLAN / INNER_MTU)


@contextmanager
def tunnel_of_pods(lab: Lab, port: int) -> Iterator[None]:
    """A VXLAN between two pods, which they made themselves."""
    ends = (lab.pod("a1-p1"), lab.pod("b1-p1"))
    for number, (here, there) in enumerate((ends, ends[::-1]), 1):
        lab.configure(
            here.namespace,
            [
                f"link add own0 mtu {INNER_MTU - VXLAN} type vxlan id 9 local {here.ipv4}"
                f" remote {there.ipv4} dstport {port}",
                "link set own0 up",
                f"addr add 192.0.2.{number}/24 dev own0",
            ],
        )
    try:
        yield
    finally:
        for pod in ends:
            lab.ip(["-n", pod.namespace, "link", "del", "own0"])


ALL_PROBES = pytest.mark.parametrize(
    "probe", [postrouting.PROBE, tcx.PROBE, clsact.PROBE], ids=lambda probe: probe.name
)


def test_far_ends_have_the_same_number_in_all_batches_and_further_ones_none(lab: Lab) -> None:
    node, other = lab.node("a1"), lab.node("b1")
    with namespaces.inside(node.namespace):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        raw.bind((node.uplink, 0))
    with raw, attached(node, probe=tcx.PROBE) as maps:
        counted, tunnels = Counted(Spool(maps)), Map(maps.fds()["tunnels"], "tunnels")

        def give(dst: str) -> Row:
            raw.send(ip_frame(4, bytes(6), node.ipv4, dst, 4, inner()))
            counted.rows.clear()
            [row] = counted.drain().rows
            assert (row.src, row.dst, row.counts) == ("10.1.0.5", "10.2.0.6", Counts(1, 20 + INNER))
            return row

        assert [give(dst).via for dst in (other.ipv4, "10.9.9.9", other.ipv4)] == [
            other.ipv4,
            "10.9.9.9",
            other.ipv4,
        ]
        assert len(tunnels.keys(4)) == 2
        for number in range(0x10000, 0x10000 + tunnels.info().max_entries - 2):
            tunnels.put(struct.pack("<I", number), bytes(16))
        late = give("10.9.9.10")
        assert (late.via, late.flags & FAR_END_UNKNOWN) == ("", FAR_END_UNKNOWN)
        known = give(other.ipv4)
        assert (known.via, known.flags & FAR_END_UNKNOWN) == (other.ipv4, 0)


@ALL_PROBES
@pytest.mark.parametrize("ports", [(8472, 4789), (8472, 7000), (6784, 4789), (6784, 7000)])
def test_a_tunnel_of_a_pod_in_one_of_the_nodes_is_the_pods_with_all_headers_of_segments(
    lab: Lab, probe: Probe, ports: tuple[int, int]
) -> None:
    node, other, a, b = lab.node("a1"), lab.node("b1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    with (
        vxlan(lab, ports[0]),
        tunnel_of_pods(lab, ports[1]),
        attached(node, probe=probe) as maps,
    ):
        tell_devices(maps, node, skip_inbound=True)
        counted, before = Counted(Spool(maps)), lab.uplink_counters(node)
        pour(a.namespace, b.namespace, ("192.0.2.2", 5402), 4_000_000)
        sent = lab.uplink_counters(node).since(before).tx_wire
        counted.drain()
    is_known = ports[0] == 8472 or not probe.device_hooks()
    ends = (a.ipv4, b.ipv4) if is_known else (node.ipv4, other.ipv4)
    assert counted.by_key() == {WireKey(*ends, 17): sent}
    assert {row.via for row in counted.rows} == {other.ipv4 if is_known else ""}
    assert sent.bytes > 4_000_000


@probes
def test_a_datagram_of_a_process_of_the_node_is_not_a_tunnel_of_the_node(
    lab: Lab, probe: Probe
) -> None:
    node, other, victim, b = lab.node("a1"), lab.node("b1"), lab.pod("a1-p2"), lab.pod("b1-p1")
    payload = forged(4789, victim.ipv4, b.ipv4)
    with counting(node, probe=probe) as counted:
        give_away(node.namespace, (other.ipv4, 4789), payload)
        counted.drain()
    assert counted.by_key() == {WireKey(node.ipv4, other.ipv4, 17): Counts(1, 28 + len(payload))}


@probes
def test_source_nat_does_not_make_a_datagram_of_a_pod_a_tunnel_of_the_node(
    lab: Lab, probe: Probe
) -> None:
    node, other, a, victim = lab.node("a1"), lab.node("b1"), lab.pod("a1-p1"), lab.pod("a1-p2")
    payload = forged(8472, victim.ipv4, lab.pod("b1-p1").ipv4)
    rules = Path(lab.directory, "masquerade.nft")
    rules.write_text(
        "table ip overlaytest {\nchain post {\ntype nat hook postrouting priority srcnat;\n"
        f"ip saddr {a.ipv4} oifname {node.uplink} snat to {node.ipv4}\n}}\n}}\n"
    )
    assert lab.run(node.namespace, ["nft", "-f", str(rules)]).returncode == 0
    try:
        with counting(node, probe=probe) as counted:
            give_away(a.namespace, (other.ipv4, 8472), payload)
            counted.drain()
    finally:
        lab.run(node.namespace, ["nft", "delete", "table", "ip", "overlaytest"])
    [row] = counted.rows
    assert victim.ipv4 not in (row.src, row.dst)
    assert (row.dst, row.counts) == (other.ipv4, Counts(1, 28 + len(payload)))


def give_away(namespace: str, to: tuple[str, int], payload: bytes) -> None:
    with namespaces.inside(namespace):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        sender.sendto(payload, to)


def label(number: int, *, bottom: bool) -> bytes:
    """An entry of an MPLS label stack."""
    return struct.pack("!I", number << 12 | bottom << 8 | 64)


PPPOE = b"\x11\x00\x00\x07" + struct.pack("!H", 2 + 20 + 8 + 100)
FRAMED = {
    "mpls": (0x8847, label(17, bottom=True)),
    "mpls, three labels": (
        0x8847,
        label(17, bottom=False) + label(18, bottom=False) + label(19, bottom=True),
    ),
    "pppoe": (0x8864, PPPOE + b"\x00\x21"),
    "pppoe in a vlan": (0x8100, b"\x00\x07\x88\x64" + PPPOE + b"\x00\x21"),
}


@probes
@pytest.mark.parametrize("kind", FRAMED)
def test_an_ip_packet_in_mpls_or_pppoe_is_accounted_with_its_own_length(
    lab: Lab, probe: Probe, kind: str
) -> None:
    protocol, header = FRAMED[kind]
    counted = frame(lab, probe, protocol, header + inner())
    [row] = counted.rows
    assert (row.src, row.dst, row.dst_port, row.counts) == (
        "10.1.0.5",
        "10.2.0.6",
        5300,
        Counts(1, INNER),
    )
    assert counted.seen == Counts(1, INNER)


@probes
def test_ipv6_in_mpls_and_pppoe_too(lab: Lab, probe: Probe) -> None:
    payload = struct.pack("!HHHH", 40_000, 5300, 108, 0) + bytes(100)
    packet = ip_frame(6, bytes(6), "fd00::5", "fd00::6", 17, payload)[14:]
    for protocol, header in ((0x8847, label(17, bottom=True)), (0x8864, PPPOE + b"\x00\x57")):
        [row] = frame(lab, probe, protocol, header + packet).rows
        assert (row.src, row.dst, row.counts) == ("fd00::5", "fd00::6", Counts(1, 148))


@probes
def test_what_mpls_carries_besides_ip_is_missed_and_of_pppoe_not_counted(
    lab: Lab, probe: Probe
) -> None:
    counted = frame(lab, probe, 0x8847, label(17, bottom=True) + bytes(96))
    assert counted.rows == []
    assert counted.missed("parse") == counted.seen == Counts(1, 96)
    endless = frame(lab, probe, 0x8847, label(17, bottom=False) * 25)
    assert endless.missed("parse") == endless.seen == Counts(1, 100 - 8 * 4)
    assert frame(lab, probe, 0x8864, PPPOE + b"\xc0\x21" + bytes(100)).seen == Counts()


def frame(lab: Lab, probe: Probe, protocol: int, payload: bytes) -> Counted:
    """What a probe counts of one frame of the node."""
    node = lab.node("a1")
    with namespaces.inside(node.namespace):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        raw.bind((node.uplink, 0))
    with raw, counting(node, probe=probe) as counted:
        raw.send(bytes(12) + struct.pack("!H", protocol) + payload)
        return counted.drain()
