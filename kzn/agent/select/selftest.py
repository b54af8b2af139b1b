"""The self-test: sends a datagram for each family and looks for it in an attached probe's counts.

The datagram goes from this node's own address to one of documentation (RFC 5737, RFC 3849) with a
hop limit of 1, so that the first router discards it. Where no route leads off the node, datagrams
go over the loopback device instead, which the hook sees and ignores by reason.

In: families and the maps of an attached probe. Out: a `SelfTestResult` for each family.
Never: attaches or pins; what the results mean for the reader (doctor/proof.py words them).
"""

import errno
import random
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from kzn.agent.maps import buffers
from kzn.agent.maps.mapset import MapSet
from kzn.model import ip
from kzn.model.flows import INITIATOR_MASK, Flows
from kzn.model.totals import Counts
from kzn.probes.declaration import Family

PAYLOAD = b"kzn doctor: a packet to prove that the hook counts"
LOOPBACK_DATAGRAMS = 7
UDP_HEADER = 8
PATIENCE_SECONDS = 1.0
POLL_SECONDS = 0.01

Outcome = Literal["counted", "miscounted", "unseen", "unknown"]


@dataclass(frozen=True, slots=True)
class Net:
    """What differs between the families."""

    family: socket.AddressFamily
    header: int
    loopback: str
    hop_limit: tuple[int, int]

    def unused_address(self, rng: random.Random) -> str:
        """An address of documentation, which no host has."""
        if self.family == socket.AF_INET:
            return f"198.51.100.{rng.randrange(1, 255)}"
        return f"2001:db8::{rng.randrange(1 << 16):x}:{rng.randrange(1, 1 << 16):x}"


_NETS: dict[Family, Net] = {
    "ipv4": Net(socket.AF_INET, 20, "127.0.0.1", (socket.IPPROTO_IP, socket.IP_TTL)),
    "ipv6": Net(socket.AF_INET6, 40, "::1", (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)),
}


@dataclass(frozen=True, slots=True)
class Sent:
    """The datagram. With a ``send_error`` it may have passed the hook all the same."""

    src: str
    dst: str
    port: int
    send_error: str


@dataclass(frozen=True, slots=True)
class SelfTestResult:
    """What was sent for one family and what the probe counted of it.

    ``sent`` is None where no route leads off the node (``route_error``): then ``expected`` and
    ``found`` are of datagrams over loopback, among which there may be others. ``found`` is None
    when nothing was sent or seen in time. ``is_tracked``: whether conntrack knew the datagram.
    """

    family: Family
    expected: Counts
    found: Counts | None = None
    sent: Sent | None = None
    is_tracked: bool | None = None
    route_error: str = ""
    loopback_error: str = ""
    has_addresses: bool = True
    """Of this family, in this network namespace."""

    @property
    def outcome(self) -> Outcome:
        """``unknown`` when the packet may never have reached the hook."""
        if self.sent is None:
            is_there = self.found is not None and (
                self.found.packets >= self.expected.packets
                and self.found.bytes >= self.expected.bytes
            )
            return "counted" if is_there else "unknown"
        if self.found is None:
            return "unknown" if self.sent.send_error else "unseen"
        return "counted" if self.found == self.expected else "miscounted"


Send = Callable[[Net, str, int], Sent]
"""Sends one datagram to an address and a port; OSError when there is no route."""


def send_datagram(net: Net, dst: str, port: int) -> Sent:
    """Send one datagram that the first router discards. OSError when there is no route."""
    with socket.socket(net.family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(*net.hop_limit, 1)
        sock.connect((dst, port))
        src = sock.getsockname()[0]
        try:
            sock.send(PAYLOAD)
        except OSError as error:
            return Sent(src, dst, port, str(error.strerror))
    return Sent(src, dst, port, "")


def run_selftest(
    families: Iterable[Family],
    maps: MapSet,
    rng: random.Random,
    send: Send = send_datagram,
    sleep: Callable[[float], None] = time.sleep,
) -> list[SelfTestResult]:
    """Send and look, for each family, with a probe that is attached and has these maps."""
    return [_test(family, maps, rng, send, sleep) for family in families]


def _test(
    family: Family,
    maps: MapSet,
    rng: random.Random,
    send: Send,
    sleep: Callable[[float], None],
) -> SelfTestResult:
    net = _NETS[family]
    try:
        sent = send(net, net.unused_address(rng), rng.randrange(1024, 30000))
    except OSError as error:
        return _over_loopback(family, maps, str(error.strerror))
    found, flags = _wait_for(maps, sent, sleep)
    return SelfTestResult(
        family,
        expected=_weight(net, 1),
        found=found,
        sent=sent,
        is_tracked=None if found is None else bool(flags & INITIATOR_MASK),
    )


def _weight(net: Net, datagrams: int) -> Counts:
    return Counts(datagrams, datagrams * (net.header + UDP_HEADER + len(PAYLOAD)))


def _wait_for(
    maps: MapSet, sent: Sent, sleep: Callable[[float], None]
) -> tuple[Counts | None, int]:
    """The counts and flags of the datagram's flow; None when it does not come in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        active = maps.active()
        for buffer in (active, 1 - active):  # an agent may switch meanwhile
            found = _find(buffers.read_flows(maps, buffer), sent)
            if found is not None:
                return found
        if time.monotonic() > deadline:
            return None, 0
        sleep(POLL_SECONDS)


def _find(flows: Flows, sent: Sent) -> tuple[Counts, int] | None:
    names = [ip.text(row.tobytes()) for row in flows.addresses]
    ends = sent.src, sent.dst
    ports = sent.port, 0  # 0: --ports none
    for row in range(len(flows)):
        its = names[flows.src[row]], names[flows.dst[row]]
        if its == ends and int(flows.dst_port[row]) in ports:
            counts = Counts(int(flows.packets[row]), int(flows.bytes[row]))
            return counts, int(flows.flags[row])
    return None


def _over_loopback(family: Family, maps: MapSet, route_error: str) -> SelfTestResult:
    """Without a route: datagrams of this process to itself."""
    net = _NETS[family]
    expected, before = _weight(net, LOOPBACK_DATAGRAMS), _ignored(maps)
    try:
        with socket.socket(net.family, socket.SOCK_DGRAM) as sock:
            sock.bind((net.loopback, 0))
            for _ in range(LOOPBACK_DATAGRAMS):
                sock.sendto(PAYLOAD, sock.getsockname())
    except OSError as error:
        return SelfTestResult(
            family,
            expected,
            route_error=route_error,
            loopback_error=str(error.strerror),
            has_addresses=error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL),
        )
    after = _ignored(maps)
    found = Counts(after.packets - before.packets, after.bytes - before.bytes)
    return SelfTestResult(family, expected, found, route_error=route_error)


def _ignored(maps: MapSet) -> Counts:
    return buffers.read_totals(maps, maps.active()).ignored.get("loopback", Counts())
