"""The proof: the probe attached for a moment, a datagram of our own, and its place in the counts.

The datagram goes from this node's own address to one of documentation (RFC 5737, RFC 3849) with a
hop limit of 1: the first router throws it away. Where no route leads off the node, some go over
the loopback device. Nothing is pinned; a program of an agent beside it goes on counting.
"""

import asyncio
import errno
import random
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kzn.agent.devices.netlink_child import find_egress_devices
from kzn.agent.devices.uplinks import tc_attachable
from kzn.agent.doctor.finding import Finding
from kzn.agent.maps import buffers
from kzn.agent.maps.mapset import MapSet
from kzn.agent.pins.install import unpinned
from kzn.child import ChildError
from kzn.errors import KznError
from kzn.model import ip
from kzn.model.flows import INITIATOR_MASK
from kzn.model.totals import Counts
from kzn.probes.declaration import Family, Probe
from kzn.probes.settings import Settings

PAYLOAD = b"kzn doctor: a packet to prove that the hook counts"
OVER_LOOPBACK = 7
UDP_HEADER = 8
PATIENCE_SECONDS = 1.0
LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Net:
    """What differs between the families."""

    family: socket.AddressFamily
    header: int
    loopback: str
    hops: tuple[int, int]

    def nowhere(self, chance: random.Random) -> str:
        """An address that nobody has."""
        if self.family == socket.AF_INET:
            return f"198.51.100.{chance.randrange(1, 255)}"
        return f"2001:db8::{chance.randrange(1 << 16):x}:{chance.randrange(1, 1 << 16):x}"


_NETS: dict[Family, Net] = {
    "ipv4": Net(socket.AF_INET, 20, "127.0.0.1", (socket.IPPROTO_IP, socket.IP_TTL)),
    "ipv6": Net(socket.AF_INET6, 40, "::1", (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)),
}


@dataclass(slots=True)
class Proof:
    """What was found; ``is_tracked`` is whether conntrack knew the datagram, None without one."""

    findings: list[Finding] = field(default_factory=list)
    is_tracked: bool | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """The datagram; ``complaint`` is the error of sending it: it may have passed all the same."""

    src: str
    dst: str
    port: int
    complaint: str


Send = Callable[[Net, str, int], Sent]
"""Sends one datagram to an address and a port; OSError when there is no route."""


def prove(probe: Probe, chance: random.Random, send: Send | None = None) -> Proof:
    """Attach, send, look, detach; every way in which it may fail is a finding."""
    proof = Proof()
    try:
        devices = tc_attachable(asyncio.run(find_egress_devices())) if probe.device_hooks() else ()
        with unpinned(probe, Settings(), devices) as maps:
            for family in probe.families:
                proof.findings.append(_family(proof, maps, family, chance, send or send_datagram))
    except ChildError as error:
        proof.findings.append(Finding("proof", "unknown", str(error)))
    except KznError as error:
        sentence = error.message.partition("\n")[0]
        proof.findings.append(Finding("proof", "fail", sentence, error.hint))
    return proof


def look_for(probe: Probe, maps: MapSet, chance: random.Random) -> list[Finding]:
    """The same with a probe that is attached, whose maps are ``maps``."""
    proof = Proof()
    return [_family(proof, maps, family, chance, send_datagram) for family in probe.families]


def _family(
    proof: Proof, maps: MapSet, family: Family, chance: random.Random, send: Send
) -> Finding:
    name, net = f"proof {family}", _NETS[family]
    try:
        sent = send(net, net.nowhere(chance), chance.randrange(1024, 30000))
    except OSError as error:
        return _over_loopback(name, maps, net, str(error.strerror))
    expected = Counts(1, net.header + UDP_HEADER + len(PAYLOAD))
    for found, flags in _until_found(maps, sent):
        proof.is_tracked = bool(proof.is_tracked) or bool(flags & INITIATOR_MASK)
        return _verdict(name, sent, found, expected)
    if sent.complaint:
        message = f"no packet could be sent to {sent.dst}: {sent.complaint}"
        return Finding(name, "unknown", message, "a firewall on this node may forbid it")
    return Finding(
        name,
        "fail",
        f"a packet from {sent.src} to {sent.dst} did not pass the hook",
        "something takes packets past netfilter; the findings about Cilium and others may say what",
    )


def _verdict(name: str, sent: Sent, found: Counts, expected: Counts) -> Finding:
    way = f"from {sent.src} to {sent.dst}"
    if found == expected:
        return Finding(name, "ok", f"a packet {way} was sent and counted: {found.bytes} bytes")
    message = (
        f"a packet {way} of {expected.bytes} bytes was counted as {found.packets} packets and "
        f"{found.bytes} bytes"
    )
    return Finding(name, "fail", message, "a defect of kzn: please report it")


def send_datagram(net: Net, dst: str, port: int) -> Sent:
    """Send one datagram that dies at the first router. OSError when there is no route."""
    with socket.socket(net.family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(*net.hops, 1)
        sock.connect((dst, port))
        src = sock.getsockname()[0]
        try:
            sock.send(PAYLOAD)
        except OSError as error:
            return Sent(src, dst, port, str(error.strerror))
    return Sent(src, dst, port, "")


def _until_found(maps: MapSet, sent: Sent) -> Iterator[tuple[Counts, int]]:
    """The counts and flags of the datagram's flow; nothing when it does not come in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        flows = buffers.read_flows(maps, maps.active())
        names = [ip.text(row.tobytes()) for row in flows.addresses]
        for row in range(len(flows)):
            way = names[flows.src[row]], names[flows.dst[row]], int(flows.dst_port[row])
            if way == (sent.src, sent.dst, sent.port):
                yield Counts(int(flows.packets[row]), int(flows.bytes[row])), int(flows.flags[row])
                return
        if time.monotonic() > deadline:
            return
        time.sleep(LOOK_SECONDS)


def _over_loopback(name: str, maps: MapSet, net: Net, why: str) -> Finding:
    """Without a route: datagrams to ourselves, which the hook sees and ignores by name."""
    before = _ignored(maps)
    try:
        with socket.socket(net.family, socket.SOCK_DGRAM) as sock:
            sock.bind((net.loopback, 0))
            for _ in range(OVER_LOOPBACK):
                sock.sendto(PAYLOAD, sock.getsockname())
    except OSError as error:
        message = f"no route leads off this node ({why}), nor to itself ({error.strerror})"
        hint = "nothing, if this family is not used here"
        if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            message = f"this network namespace has no such addresses ({error.strerror})"
        return Finding(name, "unknown", message, hint)
    after = _ignored(maps)
    size = OVER_LOOPBACK * (net.header + UDP_HEADER + len(PAYLOAD))
    if after.packets - before.packets >= OVER_LOOPBACK and after.bytes - before.bytes >= size:
        message = f"no route leads off this node ({why}); packets over loopback passed the hook"
        return Finding(name, "ok", message)
    message = f"no route leads off this node ({why}), and this hook sees no packets over loopback"
    return Finding(name, "unknown", message, "nothing, if this family is not used here")


def _ignored(maps: MapSet) -> Counts:
    return buffers.read_totals(maps, maps.active()).ignored.get("loopback", Counts())
