"""Tunnels that end elsewhere than at the inner destination's node, and what nodes have counted.

The flows of both nodes are resolved as a server does, so that a byte is charged once, to whose it
is, and classed by where the packet went.
"""

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import site_of_a1 as sites
from cluster import index_of
from counting import Counted, attached, spool_of, tell_devices
from overlay import DEVICE, vxlan
from test_wire_bytes import ip_frame

from kzn.lab import namespaces
from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab
from kzn.lab.plan import Pod
from kzn.lab.topology import topology
from kzn.model.endpoint import Endpoint
from kzn.probes import clsact, postrouting, tcx
from kzn.probes.declaration import Probe
from kzn.server.resolve import verdict as v
from kzn.server.resolve.resolve import resolve

WAIT = 20.0
VXLAN = 50
"""Bytes that VXLAN over IPv4 adds to the inner IP packet: 14 + 8 + 8 + 20."""
PROBES = [postrouting.PROBE, tcx.PROBE, clsact.PROBE]
every_probe = pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
INTERNET = "8.8.8.8"
VIP = "34.1.2.3"

Charge = tuple[str, str, str, str]
"""Class, the name charged, source zone, destination zone; empty for an end without."""


@contextmanager
def both(lab: Lab, probe: Probe) -> Iterator[dict[str, Counted]]:
    """A probe on each of the two nodes, which counts all that it sees, inbound packets too."""
    a1, b1 = lab.node("a1"), lab.node("b1")
    with attached(a1, probe=probe) as first, attached(b1, probe=probe) as second:
        for node, maps in ((a1, first), (b1, second)):
            tell_devices(maps, node, skip_inbound=False)
        yield {"a1": Counted(spool_of(first, a1)), "b1": Counted(spool_of(second, b1))}


def charged(lab: Lab, counted: dict[str, Counted]) -> dict[Charge, int]:
    """The bytes of the UDP flows of all nodes, as a server attributes them."""
    index = index_of(topology(lab.plan))
    sums: dict[Charge, int] = {}
    for node, one in counted.items():
        for batch in one.batches:
            flows = batch.flows
            found = resolve(flows, node, index, 0.0, 0.0)
            udp = flows.protocol == socket.IPPROTO_UDP
            assert not (found.verdict[udp] > v.TRANSIT).any(), v.NAMES[found.verdict[udp].max()]
            for flow in np.flatnonzero(udp & (found.verdict < v.TRANSIT)).tolist():
                ends = index.endpoints(found.endpoints[[found.src[flow], found.dst[flow]]].tolist())
                zones = [end.zone if isinstance(end, Endpoint) else "" for end in ends]
                name = ends[0].name if isinstance(ends[0], Endpoint) else ""
                key = (v.NAMES[found.verdict[flow]], name, zones[0], zones[1])
                sums[key] = sums.get(key, 0) + int(flows.bytes[flow])
    return sums


@contextmanager
def configured(lab: Lab, *changes: tuple[str, str]) -> Iterator[None]:
    """Shell commands in namespaces within the block: to do, and to undo at its end."""
    for namespace, command in changes[: len(changes) // 2]:
        done = lab.run(namespace, ["sh", "-c", command])
        assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        for namespace, command in changes[len(changes) // 2 :]:
            lab.run(namespace, ["sh", "-c", command])


@contextmanager
def rules(lab: Lab, namespace: str, chain: str) -> Iterator[None]:
    """A chain of source NAT of nftables."""
    path = Path(lab.directory, "nat.nft")
    path.write_text(
        f"table ip tunnelends {{\nchain post {{\n"
        f"type nat hook postrouting priority srcnat;\n{chain}\n}}\n}}\n"
    )
    done = lab.run(namespace, ["nft", "-f", str(path)])
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        lab.run(namespace, ["nft", "delete", "table", "ip", "tunnelends"])


def exchange(
    sender: str, receiver: str, to: tuple[str, int], *, ask: int, answer: int, source: str = ""
) -> str:
    """Twenty datagrams one by one, each answered; the address that the receiver saw."""
    with namespaces.inside(sender):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with namespaces.inside(receiver):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer = ("", 0)
    with client, server:
        client.settimeout(WAIT)
        server.settimeout(WAIT)
        if source:
            client.bind((source, 0))
        server.bind(to)
        for _ in range(20):
            client.sendto(bytes(ask), to)
            _, peer = server.recvfrom(65535)
            server.sendto(bytes(answer), peer)
            client.recv(65535)
    return peer[0]


def mac_of(lab: Lab, pod: Pod) -> str:
    return lab.run(pod.namespace, ["cat", f"/sys/class/net/{pod.device}/address"]).stdout.strip()


@every_probe
def test_an_egress_gateway_is_where_its_clients_traffic_goes_and_sends_it_on(
    lab: Lab, probe: Probe
) -> None:
    pod, a1, b1, router = (
        lab.pod("a1-p1"),
        lab.node("a1"),
        lab.node("b1"),
        lab.fabric.namespace,
    )
    gateway = f"via 192.168.{b1.number}.1 dev {DEVICE} table 100 mtu 1400"
    rule = f"from {pod.ipv4} to {INTERNET} table 100"
    snat = f"oifname {b1.uplink} ip daddr {INTERNET} snat to {b1.ipv4}"
    with (
        vxlan(lab),
        configured(
            lab,
            (router, f"ip addr add {INTERNET}/32 dev lo"),
            (a1.namespace, f"ip rule add {rule}; ip route add default {gateway}"),
            (router, f"ip addr del {INTERNET}/32 dev lo"),
            (a1.namespace, f"ip rule del {rule}; ip route flush table 100"),
        ),
        rules(lab, b1.namespace, snat),
        both(lab, probe) as counted,
    ):
        seen = exchange(pod.namespace, router, (INTERNET, 5555), ask=1000, answer=200)
        for one in counted.values():
            one.drain()
    assert seen == b1.ipv4
    assert charged(lab, counted) == {
        ("cross_zone", "a1-p1", "zone-a", "zone-b"): 20 * (1028 + VXLAN),
        ("cross_zone", "b1", "zone-b", "zone-a"): 20 * (228 + VXLAN),
        ("external", "b1", "zone-b", ""): 20 * 1028,
    }


@every_probe
def test_with_direct_return_a_load_balancer_sends_to_the_node_of_the_server(
    lab: Lab, probe: Probe
) -> None:
    pod, a1, b1, router = (
        lab.pod("b1-p1"),
        lab.node("a1"),
        lab.node("b1"),
        lab.fabric.namespace,
    )
    there = f"lladdr {mac_of(lab, pod)} dev {pod.veth} nud permanent"
    with (
        vxlan(lab),
        configured(
            lab,
            (router, f"ip addr add {INTERNET}/32 dev lo; ip route add {VIP} via {a1.ipv4}"),
            (a1.namespace, f"ip route add {VIP} via 192.168.{b1.number}.1 dev {DEVICE} mtu 1400"),
            (b1.namespace, f"ip route add {VIP} dev {pod.veth}; ip neigh add {VIP} {there}"),
            (pod.namespace, f"ip addr add {VIP}/32 dev lo"),
            (router, f"ip addr del {INTERNET}/32 dev lo; ip route del {VIP}"),
            (a1.namespace, f"ip route del {VIP}"),
            (b1.namespace, f"ip route del {VIP}; ip neigh del {VIP} dev {pod.veth}"),
            (pod.namespace, f"ip addr del {VIP}/32 dev lo"),
        ),
        both(lab, probe) as counted,
    ):
        exchange(router, pod.namespace, (VIP, 80), ask=100, answer=1000, source=INTERNET)
        for one in counted.values():
            one.drain()
    assert charged(lab, counted) == {
        ("cross_zone", "a1", "zone-a", "zone-b"): 20 * (128 + VXLAN),
        ("external", "b1-p1", "zone-b", ""): 20 * 1028,
    }


@every_probe
@pytest.mark.parametrize("inside", ["egress", "ingress"])
def test_a_mirror_goes_to_its_collector_and_is_the_pods_or_the_nodes(
    lab: Lab, probe: Probe, inside: str
) -> None:
    """A mirror gives a copy of each packet to a tunnel device; here a socket does."""
    pod, far, a1, b1 = lab.pod("a1-p1"), lab.pod("b1-p1"), lab.node("a1"), lab.node("b1")
    # A pod's egress is its own; what another node's pod sent to it is copied by this node.
    src, dst = (pod, lab.pod("a1-p2")) if inside == "egress" else (far, pod)
    payload = struct.pack("!HHHH", 40_000, 5300, 1008, 0) + bytes(1000)
    copied = ip_frame(4, bytes(6), src.ipv4, dst.ipv4, socket.IPPROTO_UDP, payload)
    tunnel = f"type vxlan id 5 local {a1.ipv4} remote {b1.ipv4} dstport 4789"
    with (
        configured(
            lab,
            (a1.namespace, f"ip link add mirror0 {tunnel}; ip link set mirror0 up"),
            (a1.namespace, "ip link del mirror0"),
        ),
        both(lab, probe) as counted,
    ):
        with namespaces.inside(a1.namespace):
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            raw.bind(("mirror0", 0))
        with raw:
            for _ in range(20):
                raw.send(copied)
        for one in counted.values():
            one.drain()
    name = "a1-p1" if inside == "egress" else "a1"
    found = charged(lab, counted)
    assert found == {("cross_zone", name, "zone-a", "zone-b"): 20 * (1028 + VXLAN)}


SID = "fd88:1::b1"
SRV6 = 40 + 24
"""Bytes that a segment routing header with one segment, and its IPv6 header, add."""


@every_probe
def test_segment_routing_is_charged_to_the_pods_inside_with_the_bytes_outside(
    lab: Lab, probe: Probe
) -> None:
    pod, far, a1, b1 = lab.pod("a1-p1"), lab.pod("b1-p1"), lab.node("a1"), lab.node("b1")
    enable = "sysctl -qw net.ipv6.conf.all.seg6_enabled=1 net.ipv6.conf.%s.seg6_enabled=1"
    encap = f"{far.ipv6}/128 encap seg6 mode encap segs {SID} dev {a1.uplink}"
    local = f"{SID}/128 encap seg6local action End.DT6 table 254 dev {b1.uplink}"
    with (
        configured(
            lab,
            (lab.fabric.namespace, f"ip -6 route add {SID}/128 via {b1.ipv6}"),
            (b1.namespace, f"{enable % b1.uplink}; ip -6 route add {local}"),
            (a1.namespace, f"ip -6 route add {encap}"),
            (lab.fabric.namespace, f"ip -6 route del {SID}/128"),
            (b1.namespace, f"ip -6 route del {SID}/128"),
            (a1.namespace, f"ip -6 route del {encap}"),
        ),
        both(lab, probe) as counted,
    ):
        with namespaces.inside(far.namespace):
            server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with namespaces.inside(pod.namespace):
            client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with client, server:
            server.settimeout(WAIT)
            server.bind((far.ipv6, 5300))
            for _ in range(20):
                client.sendto(bytes(1000), (far.ipv6, 5300))
                server.recv(65536)
        for one in counted.values():
            one.drain()
    assert charged(lab, counted) == {
        ("cross_zone", "a1-p1", "zone-a", "zone-b"): 20 * (1048 + SRV6)
    }
    assert {row.via for row in counted["a1"].rows if row.protocol == 17} == {SID}


def test_agents_and_a_server_charge_the_client_of_an_egress_gateway(lab: Lab) -> None:
    pod, a1, b1, router = (
        lab.pod("a1-p1"),
        lab.node("a1"),
        lab.node("b1"),
        lab.fabric.namespace,
    )
    gateway = f"via 192.168.{b1.number}.1 dev {DEVICE} table 100 mtu 1400"
    rule = f"from {pod.ipv4} to {INTERNET} table 100"
    snat = f"oifname {b1.uplink} ip daddr {INTERNET} snat to {b1.ipv4}"
    with (
        vxlan(lab),
        configured(
            lab,
            (router, f"ip addr add {INTERNET}/32 dev lo"),
            (a1.namespace, f"ip rule add {rule}; ip route add default {gateway}"),
            (router, f"ip addr del {INTERNET}/32 dev lo"),
            (a1.namespace, f"ip rule del {rule}; ip route flush table 100"),
        ),
        rules(lab, b1.namespace, snat),
        sites.made(lab, "gateway") as site,
    ):
        server = site.server()
        agents = [site.agent("--probe", "postrouting", node=node) for node in ("a1", "b1")]
        assert all(agent.has_loop() for agent in agents)
        exchange(pod.namespace, router, (INTERNET, 5555), ask=1000, answer=200)
        for agent in agents:
            agent.stop()
        crossing = (
            f'pod_cross_zone_network_traffic_bytes_total{{namespace="demo",pod="{pod.name}"}}'
        )
        assert wait_for(lambda: server.metric(crossing) == 20 * (1028 + VXLAN), sites.WAIT)
        lines = [
            line
            for line in server.daemon.page("/metrics").splitlines()
            if line.startswith("kzn_workload_traffic_bytes_total") and f'"{pod.name}"' in line
        ]
        sums = {
            tuple(re.findall(r'(?:class|direction)="(\w+)"', line)): float(line.rsplit(" ", 1)[1])
            for line in lines
        }
        assert {frozenset(key): size for key, size in sums.items() if size} == {
            frozenset({"cross_zone", "egress"}): 20 * (1028 + VXLAN),
            frozenset({"cross_zone", "ingress"}): 20 * (228 + VXLAN),
        }
