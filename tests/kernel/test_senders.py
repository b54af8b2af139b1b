"""What a pod sends is the pod's, under any source address: by the device that it came in by."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import site_of_a1 as sites
from counting import Counted, attached, spool_of, tell_devices
from test_tunnel_ends import INTERNET, VIP, WAIT, charged, configured, every_probe

from kzn.lab import namespaces
from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab
from kzn.probes import postrouting, tcx
from kzn.probes.declaration import Probe

LINK_LOCAL = "169.254.172.5"
UDP4 = 28
BRIDGE = "br9"
AT_BRIDGE = "02:6b:7a:00:ee:01"


@contextmanager
def on_a1(lab: Lab, probe: Probe) -> Iterator[Counted]:
    node = lab.node("a1")
    with attached(node, probe=probe) as maps:
        tell_devices(maps, node, skip_inbound=True)
        yield Counted(spool_of(maps, node))


def send(lab: Lab, sender: str, port: int, size: int, source: str = "") -> None:
    """Twenty datagrams to the internet, from a source if given; they have arrived afterwards."""
    with namespaces.inside(sender):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with namespaces.inside(lab.fabric.namespace):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client, server:
        server.settimeout(WAIT)
        server.bind((INTERNET, port))
        if source:
            client.bind((source, 0))
        for _ in range(20):
            client.sendto(bytes(size), (INTERNET, port))
            server.recv(65536)


@every_probe
def test_flows_of_one_address_are_divided_among_the_pods_and_the_node_that_sent_them(
    lab: Lab, probe: Probe
) -> None:
    """With source NAT, an address of a load balancer that two pods have, and a link-local one."""
    a1, one, two = lab.node("a1"), lab.pod("a1-p1"), lab.pod("a1-p2")
    nat = (
        "nft -f - <<'X'\ntable ip senders {\nchain post {\n"
        "type nat hook postrouting priority srcnat;\n"
        f"oifname {a1.uplink} ip saddr {{ {one.ipv4}, {two.ipv4}, {LINK_LOCAL} }}"
        f" snat to {a1.ipv4}\n}}\n}}\nX"
    )
    second = (
        f"ip link add second0 type veth peer name second1 netns {one.namespace};"
        f" ip link set second0 up; ip route add {LINK_LOCAL} dev second0"
    )
    with (
        configured(
            lab,
            (lab.fabric.namespace, f"ip addr add {INTERNET}/32 dev lo"),
            (a1.namespace, nat),
            (one.namespace, f"ip addr add {VIP}/32 dev lo"),
            (two.namespace, f"ip addr add {VIP}/32 dev lo"),
            (a1.namespace, second),
            (
                one.namespace,
                f"ip link set second1 up; ip addr add {LINK_LOCAL}/32 dev second1;"
                " ip route add default dev second1 table 9;"
                f" ip rule add from {LINK_LOCAL} table 9",
            ),
            (a1.namespace, "sysctl -qw net.ipv4.conf.second0.proxy_arp=1"),
            (lab.fabric.namespace, f"ip addr del {INTERNET}/32 dev lo"),
            (a1.namespace, "nft delete table ip senders"),
            (one.namespace, f"ip addr del {VIP}/32 dev lo"),
            (two.namespace, f"ip addr del {VIP}/32 dev lo"),
            (a1.namespace, "ip link del second0"),
            (one.namespace, f"ip rule del from {LINK_LOCAL} table 9"),
            (one.namespace, "true"),
        ),
        on_a1(lab, probe) as counted,
    ):
        send(lab, a1.namespace, 5555, 300)
        send(lab, one.namespace, 5555, 1000)
        send(lab, two.namespace, 5555, 500)
        send(lab, one.namespace, 5556, 700, VIP)
        send(lab, two.namespace, 5556, 900, VIP)
        send(lab, one.namespace, 5557, 400, LINK_LOCAL)
        counted.drain()
    external = {
        name: size
        for (what, name, _, _), size in charged(lab, {"a1": counted}).items()
        if what == "external"
    }
    assert external == {
        "a1": 20 * (300 + UDP4),
        "a1-p1": 20 * (1000 + 700 + 400 + 3 * UDP4),
        "a1-p2": 20 * (500 + 900 + 2 * UDP4),
    }


def test_answers_that_a_node_port_translates_back_are_the_pods(lab: Lab) -> None:
    """At the uplinks they have the node's address as source already."""
    a1, pod, router = lab.node("a1"), lab.pod("a1-p1"), lab.fabric.namespace
    nat = (
        "nft -f - <<'X'\ntable ip senders {\nchain pre {\n"
        "type nat hook prerouting priority dstnat;\n"
        f"udp dport 30080 dnat to {pod.ipv4}:5300\n}}\n}}\nX"
    )
    with (
        configured(
            lab,
            (router, f"ip addr add {INTERNET}/32 dev lo"),
            (a1.namespace, nat),
            (router, f"ip addr del {INTERNET}/32 dev lo"),
            (a1.namespace, "nft delete table ip senders"),
        ),
        on_a1(lab, tcx.PROBE) as counted,
    ):
        with namespaces.inside(router):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with namespaces.inside(pod.namespace):
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client, server:
            client.settimeout(WAIT)
            server.settimeout(WAIT)
            client.bind((INTERNET, 0))
            server.bind((pod.ipv4, 5300))
            for _ in range(20):
                client.sendto(bytes(100), (a1.ipv4, 30080))
                server.sendto(bytes(1000), server.recvfrom(65536)[1])
                assert client.recvfrom(65536)[1] == (a1.ipv4, 30080)
        counted.drain()
    assert charged(lab, {"a1": counted}) == {
        ("external", "a1-p1", "zone-a", ""): 20 * (1000 + UDP4)
    }


@pytest.mark.parametrize("probe", [postrouting.PROBE, tcx.PROBE], ids=lambda probe: probe.name)
def test_a_pod_at_a_bridge_is_found_by_its_neighbour_entries(lab: Lab, probe: Probe) -> None:
    a1, pod = lab.node("a1"), lab.pod("a1-p1")
    bridged = (
        f"ip link add {BRIDGE} type bridge; ip link set {BRIDGE} up;"
        f" ip link add port9 type veth peer name bridged netns {pod.namespace};"
        f" ip link set port9 master {BRIDGE} up;"
        f" ip route replace {pod.ipv4} dev {BRIDGE}; ip route add {VIP} dev {BRIDGE};"
        f" ip neigh add {pod.ipv4} lladdr {AT_BRIDGE} dev {BRIDGE};"
        f" ip neigh add {VIP} lladdr {AT_BRIDGE} dev {BRIDGE}"
    )
    with (
        configured(
            lab,
            (lab.fabric.namespace, f"ip addr add {INTERNET}/32 dev lo"),
            (a1.namespace, bridged),
            (
                pod.namespace,
                f"ip addr add {VIP}/32 dev lo; ip link set bridged address {AT_BRIDGE} up;"
                " ip route add default dev bridged table 9;"
                f" ip rule add from {VIP} table 9",
            ),
            (a1.namespace, f"sysctl -qw net.ipv4.conf.{BRIDGE}.proxy_arp=1"),
            (lab.fabric.namespace, f"ip addr del {INTERNET}/32 dev lo"),
            (
                a1.namespace,
                f"ip link del {BRIDGE}; ip link del port9;"
                f" ip route replace {pod.ipv4} dev {pod.veth}",
            ),
            (pod.namespace, f"ip addr del {VIP}/32 dev lo; ip rule del from {VIP} table 9"),
            (pod.namespace, "true"),
        ),
        on_a1(lab, probe) as counted,
    ):
        send(lab, pod.namespace, 5556, 700, VIP)
        counted.drain()
    assert charged(lab, {"a1": counted}) == {("external", "a1-p1", "zone-a", ""): 20 * (700 + UDP4)}


def test_an_agent_and_a_server_charge_the_pod_behind_source_nat(lab: Lab) -> None:
    a1, pod = lab.node("a1"), lab.pod("a1-p1")
    nat = (
        "nft -f - <<'X'\ntable ip senders {\nchain post {\n"
        "type nat hook postrouting priority srcnat;\n"
        f"oifname {a1.uplink} ip daddr {INTERNET} snat to {a1.ipv4}\n}}\n}}\nX"
    )
    with (
        configured(
            lab,
            (lab.fabric.namespace, f"ip addr add {INTERNET}/32 dev lo"),
            (a1.namespace, nat),
            (lab.fabric.namespace, f"ip addr del {INTERNET}/32 dev lo"),
            (a1.namespace, "nft delete table ip senders"),
        ),
        sites.made(lab, "senders") as site,
    ):
        server = site.server()
        agent = site.agent("--probe", "tcx")
        assert agent.has_loop()
        send(lab, pod.namespace, 5555, 1000)
        agent.stop()

        def external() -> float:
            return sum(
                float(line.rsplit(" ", 1)[1])
                for line in server.daemon.page("/metrics").splitlines()
                if line.startswith("kzn_workload_traffic_bytes_total")
                and f'"{pod.name}"' in line
                and '"external"' in line
            )

        assert wait_for(lambda: external() == 20 * (1000 + UDP4), sites.WAIT)
