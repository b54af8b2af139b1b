"""GSO super-packets of every kind are counted as their segments on the wire, to the byte."""

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from counting import counting, difference

from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.lab.plan import Node, Pod
from kzn.lab.traffic import Family
from kzn.lab.witness import WireKey
from kzn.model import ip
from kzn.model.totals import Counts

FAMILIES: tuple[Family, Family] = (4, 6)
families = pytest.mark.parametrize("family", FAMILIES)
AF = {4: socket.AF_INET, 6: socket.AF_INET6}
HEADER = {4: 28, 6: 48}

UDP_SEGMENT = 103  # include/uapi/linux/udp.h
TUNSETIFF = 0x400454CA  # include/uapi/linux/if_tun.h
IFF_TAP, IFF_NAPI, IFF_NAPI_FRAGS, IFF_NO_PI = 0x2, 0x10, 0x20, 0x1000
RTM_NEWLINK, ACK = 16, 0x5  # NLM_F_REQUEST | NLM_F_ACK
IFLA_GSO_MAX_SIZE, IFLA_GRO_MAX_SIZE = 41, 58  # include/uapi/linux/if_link.h
IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE = 63, 64
BIG = 180_000


@families
@pytest.mark.parametrize(("size", "segment"), [(40_000, 1200), (1201, 1200), (1200, 1200), (1, 9)])
def test_udp_segmentation_counts_the_headers_of_every_segment(
    lab: Lab, family: Family, size: int, segment: int
) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    here, there = traffic.addresses(a, b, family)
    with namespaces.inside(a.namespace):
        sender = socket.socket(AF[family], socket.SOCK_DGRAM)
    with sender, counting(lab.node("a1")) as counted:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
        before = lab.carried()
        for _ in range(5):
            sender.sendto(bytes(size), (there, 9))
        counted.drain()
        carried = difference(before, lab.carried())
    segments = -(-size // segment)
    expected = Counts(5 * segments, 5 * (size + segments * HEADER[family]))
    key = WireKey(here, there, socket.IPPROTO_UDP)
    assert counted.by_key()[key] == expected
    assert carried[key] == expected


@families
@pytest.mark.parametrize(
    ("pod_mtu", "size"), [(1280, 3000), (1280, 1300), (1400, 9000), (1500, 5000)]
)
def test_fragments_reassembled_by_conntrack_leave_as_they_came(
    make_lab: Callable[..., Lab], family: Family, pod_mtu: int, size: int
) -> None:
    lab = make_lab(pods_per_node=1)
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    lab.ip(["-n", a.namespace, "link", "set", "dev", a.device, "mtu", str(pod_mtu)])
    rules = "type filter hook prerouting priority 0; ct state new accept"
    lab.run(node.namespace, ["nft", f"table inet tracked {{ chain seen {{ {rules}; }}\n}}"])
    with counting(node) as counted:
        before = lab.carried()
        traffic.udp(a, b, family, datagrams=20, size=size, mtu=pod_mtu)
        carried = difference(before, lab.carried())
        counted.drain()
    assert counted.by_key() == carried
    [(flow, counts)] = carried.items()
    assert flow.src == traffic.addresses(a, b, family)[0]
    assert counts.packets > 20, "nothing was cut up: nothing was proved"


@families
def test_big_tcp_counts_what_the_uplink_sent(make_lab: Callable[..., Lab], family: Family) -> None:
    """Super-packets beyond 64 KiB: the length in their headers is 0 (IPv6 adds an option)."""
    lab = make_lab(pods_per_node=1)
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    allow_big(a.namespace, a.device)
    allow_big(node.namespace, a.veth)
    with counting(node) as counted, super_packets(node) as lengths:
        before = lab.uplink_counters(node)
        longest = bulk_until_big(a, b, family, lengths)
        sent = lab.uplink_counters(node).since(before)
        counted.drain()
    there = WireKey(*traffic.addresses(a, b, family), socket.IPPROTO_TCP)
    assert counted.by_key()[there] == sent.tx_wire
    assert longest > 1 << 16, "no super-packet was beyond 64 KiB: nothing was proved"


def bulk_until_big(a: Pod, b: Pod, family: Family, lengths: Callable[[], list[int]]) -> int:
    """Send until a super-packet was beyond 64 KiB, or in vain; the longest that was seen.

    Bursts are full however slow this machine makes the path; filling a window may need tries.
    """
    with namespaces.inside(a.namespace):
        Path("/proc/sys/net/ipv4/tcp_tso_rtt_log").write_text("16")
    longest = 0
    for _ in range(6):
        traffic.tcp_bulk(a, b, family, size=64_000_000)
        longest = max(longest, *lengths())
        if longest > 1 << 16:
            break
    return longest


def allow_big(namespace: str, device: str) -> None:
    """GSO and GRO up to BIG bytes, both families; iproute2 of Debian 12 cannot say it for IPv4."""
    wanted = (IFLA_GSO_MAX_SIZE, IFLA_GRO_MAX_SIZE, IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE)
    attributes = b"".join(struct.pack("=HHI", 8, number, BIG) for number in wanted)
    with namespaces.inside(namespace):
        index = socket.if_nametoindex(device)
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    with netlink:
        body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + attributes
        netlink.send(struct.pack("=IHHII", 16 + len(body), RTM_NEWLINK, ACK, 1, 0) + body)
        [error] = struct.unpack_from("=i", netlink.recv(4096), 16)
    assert error == 0, os.strerror(-error)


@contextmanager
def super_packets(node: Node) -> Iterator[Callable[[], list[int]]]:
    """Lengths of what is forwarded by a node, seen before it is cut up, by a packet socket."""
    with namespaces.inside(node.namespace):
        watch = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    with watch:
        watch.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        watch.setblocking(False)

        def lengths() -> list[int]:
            found = [0]
            while True:
                try:
                    found.append(watch.recv_into(bytearray(64), 64, socket.MSG_TRUNC))
                except BlockingIOError:
                    return found

        yield lengths


@families
def test_a_transport_header_outside_the_linear_part_is_read(lab: Lab, family: Family) -> None:
    """The linear part of packets from a tap ends with the IP header."""
    node, b = lab.node("a1"), lab.pod("b1-p1")
    source = {4: "10.77.0.9", 6: "fd77::9"}[family]
    there = {4: b.ipv4, 6: b.ipv6}[family]
    sctp = struct.pack("!HHII", 40_000, 3868, 1, 0) + bytes(400)
    with tap(lab, node) as (device, hardware), counting(node) as counted:
        frame, linear = _sctp_frame(family, hardware, source, there, sctp)
        for _ in range(3):
            os.writev(device, [frame[:linear], frame[linear:]])
        counted.drain()
    [row] = [row for row in counted.rows if row.src == source]
    assert (row.dst, row.protocol, row.src_port, row.dst_port) == (there, 132, 0, 3868)
    assert row.counts == Counts(3, 3 * (len(frame) - 14))


def _sctp_frame(
    family: Family, hardware: bytes, source: str, there: str, payload: bytes
) -> tuple[bytes, int]:
    """The frame, and how much of it is Ethernet and IP header."""
    frame = ip_frame(family, hardware, source, there, socket.IPPROTO_SCTP, payload)
    return frame, len(frame) - len(payload)


def ip_frame(
    family: Family, hardware: bytes, source: str, there: str, protocol: int, payload: bytes
) -> bytes:
    """An Ethernet frame with one IP packet in it."""
    src, dst = ip.pack(source), ip.pack(there)
    ethernet = (
        hardware + b"\x02\x00\x00\x00\x00\x09" + (b"\x08\x00" if family == 4 else b"\x86\xdd")
    )
    if family == 6:
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + src + dst
    else:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
        head += src[12:] + dst[12:]
        head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    return ethernet + head + payload


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


@contextmanager
def tap(lab: Lab, node: Node) -> Iterator[tuple[int, bytes]]:
    """A tap device on a node, its descriptor and its hardware address."""
    with namespaces.inside(node.namespace):
        device = os.open("/dev/net/tun", os.O_RDWR)
        flags = IFF_TAP | IFF_NO_PI | IFF_NAPI | IFF_NAPI_FRAGS
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"tap0", flags))
    try:
        lab.ip(["-n", node.namespace, "link", "set", "dev", "tap0", "address", "02:00:00:00:00:07"])
        lab.ip(["-n", node.namespace, "link", "set", "dev", "tap0", "up"])
        yield device, b"\x02\x00\x00\x00\x00\x07"
    finally:
        os.close(device)
