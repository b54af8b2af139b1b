"""Probes at the egress of an uplink: their counts equal the bytes of the uplink."""

import socket
from collections.abc import Callable

import pytest
from counting import counting, difference
from test_wire_bytes import allow_big, bulk_until_big, ip_frame, super_packets

from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.lab.traffic import Family
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts
from kzn.probes import clsact, tcx
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings

FAMILIES: tuple[Family, Family] = (4, 6)
families = pytest.mark.parametrize("family", FAMILIES)
probes = pytest.mark.parametrize("probe", [tcx.PROBE, clsact.PROBE], ids=lambda probe: probe.name)
AF = {4: socket.AF_INET, 6: socket.AF_INET6}
HEADER = {4: 28, 6: 48}
UDP_SEGMENT = 103  # include/uapi/linux/udp.h


@probes
@families
@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 4000, 60000])
def test_udp_counts_payload_and_headers_of_every_fragment(
    lab: Lab, probe: Probe, family: Family, size: int
) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p2")
    with counting(lab.node("a1"), probe=probe) as counted:
        [sent] = traffic.udp(a, b, family, datagrams=40, size=size, mtu=1500)
        counted.drain()
    assert counted.by_key() == {WireKey(sent.src, sent.dst, sent.protocol): sent.wire}


@probes
@families
@pytest.mark.parametrize("mtu", [1500, 9001])
def test_tcp_super_packets_count_what_the_uplink_sent_in_segments(
    make_lab: Callable[..., Lab], probe: Probe, family: Family, mtu: int
) -> None:
    lab = make_lab(mtu=mtu, pods_per_node=1)
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    with counting(node, probe=probe) as counted:
        before = lab.uplink_counters(node)
        traffic.tcp_bulk(a, b, family, size=64_000_000)
        sent = lab.uplink_counters(node).since(before)
        counted.drain()
    there = WireKey(*traffic.addresses(a, b, family), socket.IPPROTO_TCP)
    assert counted.by_key() == {there: sent.tx_wire}
    assert sent.tx_dropped == 0


@probes
@families
def test_big_tcp_counts_what_the_uplink_sent(
    make_lab: Callable[..., Lab], probe: Probe, family: Family
) -> None:
    lab = make_lab(pods_per_node=1)
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    allow_big(a.namespace, a.device)
    allow_big(node.namespace, a.veth)
    with counting(node, probe=probe) as counted, super_packets(node) as lengths:
        before = lab.uplink_counters(node)
        longest = bulk_until_big(a, b, family, lengths)
        sent = lab.uplink_counters(node).since(before)
        counted.drain()
    there = WireKey(*traffic.addresses(a, b, family), socket.IPPROTO_TCP)
    assert counted.by_key() == {there: sent.tx_wire}
    assert longest > 1 << 16, "no super-packet was beyond 64 KiB: nothing was proved"


@probes
@families
@pytest.mark.parametrize(("size", "segment"), [(40_000, 1200), (1201, 1200), (1200, 1200), (1, 9)])
def test_udp_segmentation_counts_the_headers_of_every_segment(
    lab: Lab, probe: Probe, family: Family, size: int, segment: int
) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    here, there = traffic.addresses(a, b, family)
    with namespaces.inside(a.namespace):
        sender = socket.socket(AF[family], socket.SOCK_DGRAM)
    with sender, counting(lab.node("a1"), probe=probe) as counted:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
        for _ in range(5):
            sender.sendto(bytes(size), (there, 9))
        counted.drain()
    segments = -(-size // segment)
    key = WireKey(here, there, socket.IPPROTO_UDP)
    assert counted.by_key() == {key: Counts(5 * segments, 5 * (size + segments * HEADER[family]))}


@probes
@families
def test_every_pair_equals_the_witness(lab: Lab, probe: Probe, family: Family) -> None:
    a, b, c = lab.pod("a1-p1"), lab.pod("b1-p1"), lab.pod("a1-p2")
    here = {address for pod in (a, c) for address in (pod.ipv4, pod.ipv6)}
    with counting(lab.node("a1"), probe=probe) as counted:
        before = lab.carried()
        traffic.tcp_calls(a, b, family, calls=50, ask=300, answer=40_000)
        traffic.tcp_calls(b, c, family, calls=50, ask=300, answer=40_000)
        traffic.udp(c, b, family, datagrams=100, size=900, mtu=1500)
        traffic.echo(a, b, family, requests=50, size=56, mtu=1500)
        carried = difference(before, lab.carried())
        counted.drain()
    assert counted.by_key() == {key: counts for key, counts in carried.items() if key.src in here}


@probes
def test_traffic_that_stays_on_the_node_or_arrives_is_not_seen(lab: Lab, probe: Probe) -> None:
    a, b, far = lab.pod("a1-p1"), lab.pod("a1-p2"), lab.pod("b1-p1")
    with counting(lab.node("a1"), probe=probe) as counted:
        traffic.udp(a, b, 4, datagrams=10, size=100, mtu=1500)
        traffic.udp(far, a, 4, datagrams=10, size=100, mtu=1500)
        counted.drain()
    assert counted.seen == Counts()


@probes
@families
@pytest.mark.parametrize("tags", [1, 2])
def test_vlan_tags_are_not_counted(lab: Lab, probe: Probe, family: Family, tags: int) -> None:
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    here, there = traffic.addresses(a, b, family)
    frame = _tagged(family, here, there, tags)
    with namespaces.inside(node.namespace):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        raw.bind((node.uplink, 0))
    with raw, counting(node, Settings(ports="all"), probe=probe) as counted:
        raw.send(frame)
        counted.drain()
    [row] = counted.rows
    assert (row.src, row.dst, row.src_port, row.dst_port) == (here, there, 40_000, 9)
    assert row.counts == Counts(1, HEADER[family] + 20)


def _tagged(family: Family, here: str, there: str, tags: int) -> bytes:
    frame = ip_frame(family, bytes(6), here, there, socket.IPPROTO_UDP, _UDP)
    kinds = [b"\x88\xa8\x00\x05", b"\x81\x00\x00\x06"][-tags:]
    return frame[:12] + b"".join(kinds) + frame[12:]


_UDP = (40_000).to_bytes(2) + (9).to_bytes(2) + (28).to_bytes(2) + bytes(2) + bytes(20)


@probes
def test_packets_other_than_ip_are_not_seen(lab: Lab, probe: Probe) -> None:
    node = lab.node("a1")
    with namespaces.inside(node.namespace):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        raw.bind((node.uplink, 0))
    with raw, counting(node, probe=probe) as counted:
        raw.send(bytes(12) + b"\x08\x06" + bytes(28))
        raw.send(bytes(12) + b"\x88\xcc" + bytes(50))
        counted.drain()
    assert counted.seen == Counts()


@probes
@pytest.mark.parametrize(
    "packet", [b"\x45", b"\x45" + bytes(18), b"\x44" + bytes(40), b"\x4f" + bytes(30)]
)
def test_a_packet_with_a_truncated_header_is_counted_as_missed(
    lab: Lab, probe: Probe, packet: bytes
) -> None:
    node = lab.node("a1")
    with namespaces.inside(node.namespace):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        raw.bind((node.uplink, 0))
    with raw, counting(node, probe=probe) as counted:
        raw.send(bytes(12) + b"\x08\x00" + packet)
        counted.drain()
    assert counted.seen == counted.missed("parse") == Counts(1, len(packet))


@probes
def test_no_ports_are_kept_with_ports_none(lab: Lab, probe: Probe) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    with counting(lab.node("a1"), Settings(ports="none"), probe=probe) as counted:
        for port in (5500, 5501):
            traffic.tcp_calls(a, b, 4, calls=1, ask=10, answer=10, port=port)
        counted.drain()
    assert [(row.src_port, row.dst_port) for row in counted.rows] == [(0, 0)]


@probes
@families
def test_the_service_port_is_kept(lab: Lab, probe: Probe, family: Family) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    with counting(lab.node("a1"), probe=probe) as counted:
        traffic.tcp_calls(a, b, family, calls=3, ask=10, answer=10, port=5500)
        counted.drain()
    assert [(row.src_port, row.dst_port) for row in counted.rows] == [(0, 5500)]
