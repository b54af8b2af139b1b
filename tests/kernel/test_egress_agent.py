"""`kzn agent` as a process with a probe on devices: new uplinks, restarts, detach."""

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import site_of_a1 as sites
from site_of_a1 import Process, Site

from kzn.lab import namespaces
from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts

HOOK = 'kzn_agent_hook_attached{hook="%s",probe="%s"}'
probes = pytest.mark.parametrize("probe", ["tcx", "clsact"])


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Node a1 and a place for a server."""
    with sites.made(lab, "egress") as site:
        yield site


@probes
def test_an_agent_killed_under_traffic_and_restarted_delivers_every_byte_once(
    site: Site, probe: str
) -> None:
    server = site.server()
    agent = site.agent("--probe", probe)
    with site.busy() as sent:
        for _ in range(2):
            assert wait_for(partial(has_acked, agent), sites.WAIT)
            agent.kill()
            agent = site.agent("--probe", probe)
    assert sent().bytes > 0
    assert server.gets(site.key, sent()), (server.has(site.key), sent())


def has_acked(agent: Process) -> bool:
    return agent.metric("kzn_agent_acked_total") >= 2


@probes
def test_an_uplink_added_while_the_agent_runs_is_attached(site: Site, lab: Lab, probe: str) -> None:
    node, fabric = lab.node("a1").namespace, lab.fabric.namespace
    site.server()
    agent = site.agent("--probe", probe)
    try:
        lab.configure(
            node,
            [
                f"link add late0 type veth peer name late1 netns {fabric}",
                "link set late0 up",
                "addr add 10.99.0.1/24 dev late0",
                "route add 10.98.0.0/24 via 10.99.0.2 dev late0",
            ],
        )
        assert agent.logs(f"attached {probe}/egress to late0")
        assert wait_for(lambda: agent.metric(HOOK % ("late0", probe)) == 1, sites.WAIT)
    finally:
        lab.ip(["-n", node, "link", "del", "late0"])
    assert wait_for(lambda: agent.metric(HOOK % ("late0", probe)) == 0, sites.WAIT)
    assert agent.metric(HOOK % (lab.node("a1").uplink, probe)) == 1


@probes
def test_detach_removes_all_hooks_from_devices(site: Site, lab: Lab, probe: str) -> None:
    site.server()
    agent = site.agent("--probe", probe)
    assert agent.has_loop()
    agent.stop()
    assert site.kzn("detach", "--pin-dir", str(site.pin_dir)).returncode == 0
    shown = lab.run(
        lab.node("a1").namespace, ["tc", "filter", "show", "dev", lab.node("a1").uplink, "egress"]
    )
    assert shown.stdout == ""


TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


@contextmanager
def tun(lab: Lab, name: str) -> Iterator[int]:
    """A device without Ethernet header on node a1, with a subnet; its packets are read here."""
    node = lab.node("a1").namespace
    with namespaces.inside(node):
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI))
    try:
        lab.configure(node, [f"link set {name} up", f"addr add 10.97.0.1/24 dev {name}"])
        yield fd
    finally:
        os.close(fd)


def ipv4_packets(fd: int) -> list[bytes]:
    """What the device has sent, without IPv6 of the node itself."""
    found = []
    while True:
        try:
            packet = os.read(fd, 65536)
        except BlockingIOError:
            return found
        if packet[0] >> 4 == 4:
            found.append(packet)


@probes
def test_a_named_device_without_ethernet_header_is_counted_beside_one_with_a_header(
    site: Site, lab: Lab, probe: str
) -> None:
    server, key = site.server(), WireKey(lab.pod("a1-p1").ipv4, "10.97.0.9", socket.IPPROTO_UDP)
    uplink = lab.node("a1").uplink
    with tun(lab, "tun7") as fd:
        agent = site.agent("--probe", probe, "--uplink", f"{uplink},tun7")
        for name in (uplink, "tun7"):
            assert wait_for(lambda n=name: agent.metric(HOOK % (n, probe)) == 1, sites.WAIT)  # type: ignore[misc]
        with namespaces.inside(lab.pod("a1-p1").namespace):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            for _ in range(40):
                sender.sendto(bytes(1000), (key.dst, 5300))
        packets = ipv4_packets(fd)
        sent = site.send(40)
        assert Counts(len(packets), sum(map(len, packets))) == Counts(40, 40 * 1028)
        assert server.gets(key, Counts(40, 40 * 1028)), server.has(key)
        assert server.gets(site.key, sent)
        assert agent.metric("kzn_agent_missed_packets_total") == 0
        agent.stop()
        assert site.kzn("detach", "--pin-dir", str(site.pin_dir)).returncode == 0
        for name in (uplink, "tun7"):
            words = ["tc", "filter", "show", "dev", name, "egress"]
            assert lab.run(lab.node("a1").namespace, words).stdout == ""
