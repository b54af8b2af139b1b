"""Kernel tunnels: inner addresses, outer bytes, and a flag on encrypted traffic."""

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from counting import Counted, attached, tell_devices
from overlay import INNER_MTU
from tunnels import KINDS, esp, tunnel, wireguard

from kzn.agent.maps.spool import Spool
from kzn.lab import traffic
from kzn.lab.lab import Lab
from kzn.lab.traffic import Family
from kzn.lab.witness import WireKey
from kzn.model.flows import ENCRYPTED
from kzn.model.totals import Counts
from kzn.probes import clsact, postrouting, tcx
from kzn.probes.declaration import Probe

FAMILIES: tuple[Family, Family] = (4, 6)
BULK = 8_000_000
PROBES = [postrouting.PROBE, tcx.PROBE, clsact.PROBE]
probes = pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
families = pytest.mark.parametrize("family", FAMILIES)
HEADER = {4: 20, 6: 40}


@contextmanager
def watched(lab: Lab, probe: Probe) -> Iterator[Counted]:
    """A probe on node a1 that counts its egress, with the uplinks set."""
    node = lab.node("a1")
    with attached(node, probe=probe) as maps:
        tell_devices(maps, node, skip_inbound=True)
        yield Counted(Spool(maps))


@pytest.mark.parametrize(
    ("name", "family"),
    [
        (name, family)
        for name, kind in KINDS.items()
        for family in FAMILIES
        if family in kind.families
    ],
)
@probes
def test_a_tunnel_is_accounted_to_the_pods_with_the_bytes_of_the_uplink(
    lab: Lab, probe: Probe, name: str, family: Family
) -> None:
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    here, there = traffic.addresses(a, b, family)
    with tunnel(lab, name), watched(lab, probe) as counted:
        before = lab.uplink_counters(node)
        traffic.udp(a, b, family, datagrams=40, size=100, mtu=INNER_MTU)
        datagrams = lab.uplink_counters(node).since(before).tx_wire
        traffic.tcp_bulk(a, b, family, size=BULK)
        sent = lab.uplink_counters(node).since(before).tx_wire
        counted.drain()
    segments = Counts(sent.packets - datagrams.packets, sent.bytes - datagrams.bytes)
    assert counted.by_key() == {
        WireKey(here, there, socket.IPPROTO_UDP): datagrams,
        WireKey(here, there, socket.IPPROTO_TCP): segments,
    }
    assert datagrams == Counts(40, 40 * (KINDS[name].added + HEADER[family] + 8 + 100))
    assert not any(row.flags & ENCRYPTED for row in counted.rows)


def secret(lab: Lab, name: str) -> AbstractContextManager[None]:
    """An encrypted tunnel."""
    if name == "esp":
        return esp(lab)
    return wireguard(lab, 51820 if name == "wireguard" else 9999)


@pytest.mark.parametrize("name", ["wireguard", "wireguard elsewhere", "esp"])
@families
@probes
def test_encrypted_traffic_is_accounted_to_the_nodes_once(
    lab: Lab, probe: Probe, family: Family, name: str
) -> None:
    node, other, a, b = lab.node("a1"), lab.node("b1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    with secret(lab, name), watched(lab, probe) as counted:
        before = lab.uplink_counters(node)
        traffic.udp(a, b, family, datagrams=40, size=100, mtu=1280)
        traffic.tcp_bulk(a, b, family, size=BULK)
        sent = lab.uplink_counters(node).since(before).tx_wire
        counted.drain()
    protocol = socket.IPPROTO_ESP if name == "esp" else socket.IPPROTO_UDP
    assert counted.by_key() == {WireKey(node.ipv4, other.ipv4, protocol): sent}
    assert sent.bytes > BULK
    # At an uplink only its ports identify WireGuard; postrouting sees the device.
    is_known = name != "wireguard elsewhere" or not probe.device_hooks()
    assert {bool(row.flags & ENCRYPTED) for row in counted.rows} == {is_known}
    if not probe.device_hooks():
        assert counted.ignored("tunnel").bytes > 0
