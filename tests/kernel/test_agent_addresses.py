"""Traffic of nodes by addresses that their objects lack: the agents tell them to the server."""

import json
import socket
from collections.abc import Callable, Iterator

import pytest
import site_of_a1 as sites
from overlay import vxlan
from site_of_a1 import Served, Site

from kzn.lab import namespaces
from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab
from kzn.lab.topology import topology

TIMES = 20
IPV4_UDP, IPV6_UDP = 28, 48


@pytest.fixture
def site(make_lab: Callable[..., Lab]) -> Iterator[Site]:
    """A lab with a pod on each node, and a place for a server and an agent on each node."""
    with sites.made(make_lab(pods_per_node=1), "told") as site:
        yield site


def exchange(sender: str, receiver: str, to: tuple[str, int], answer: int = 0) -> str:
    """Datagrams of 1,000 bytes, answered if ``answer``; returns the sender that was seen."""
    family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
    with namespaces.inside(sender):
        client = socket.socket(family, socket.SOCK_DGRAM)
    with namespaces.inside(receiver):
        server = socket.socket(family, socket.SOCK_DGRAM)
    with client, server:
        client.settimeout(sites.WAIT)
        server.settimeout(sites.WAIT)
        server.bind(to)
        peer = ("", 0)
        for _ in range(TIMES):
            client.sendto(bytes(1000), to)
            _, peer = server.recvfrom(65535)
            if answer:
                server.sendto(bytes(answer), peer)
                client.recv(65535)
    return str(peer[0])


def pair(server: Served, src: str, dst: str) -> float:
    """Bytes from one workload to another that crossed zones."""
    lines = server.daemon.page("/metrics").splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith("kzn_workload_pair_bytes_total{")
        and f'src_workload="{src}"' in line
        and f'dst_workload="{dst}"' in line
    )


def owner(server: Served, address: str) -> str:
    page = server.daemon.page(f"/api/v1/addresses?address={address}")
    return str(json.loads(page)["addresses"][0].get("node", ""))


def test_a_tunnel_devices_address_is_the_nodes(site: Site) -> None:
    lab = site.lab
    a1, pod = lab.node("a1"), lab.pod("b1-p1")
    with vxlan(lab):
        server = site.server()
        for node in ("a1", "b1"):
            site.agent(node=node)
        assert wait_for(lambda: owner(server, "192.168.1.1") == "a1", sites.WAIT)
        assert exchange(a1.namespace, pod.namespace, (pod.ipv4, 5301), 500) == "192.168.1.1"
        there = TIMES * (1000 + IPV4_UDP + 50)
        back = TIMES * (500 + IPV4_UDP + 50)
        assert wait_for(lambda: pair(server, "a1", "b1-p1") == there, sites.WAIT)
        assert wait_for(lambda: pair(server, "b1-p1", "a1") == back, sites.WAIT)
    assert (there, back) == (21_560, 11_560)


def test_global_ipv6_addresses_that_node_objects_lack_are_the_nodes(site: Site) -> None:
    lab = site.lab
    a1, b1 = lab.nodes
    text = topology(lab.plan)
    for node in lab.nodes:
        address = f"2600:1f16:{node.number}::2"
        lab.configure(node.namespace, [f"addr add {address}/128 dev {node.uplink} nodad"])
        lab.configure(lab.fabric.namespace, [f"route add {address} via {node.ipv6}"])
        text = text.replace(f", '{node.ipv6}'", "", 1)
    server = site.server(text=text)
    for name in ("a1", "b1"):
        site.agent(node=name)
    assert wait_for(lambda: owner(server, "2600:1f16:2::2") == "b1", sites.WAIT)
    assert wait_for(lambda: owner(server, a1.ipv6) == "a1", sites.WAIT)
    exchange(a1.namespace, b1.namespace, ("2600:1f16:2::2", 5301))
    sent = TIMES * (1000 + IPV6_UDP)
    assert wait_for(lambda: pair(server, "a1", "b1") == sent, sites.WAIT)
    assert sent == 20_960
    assert server.logs("globally routable address by its agent")


def test_an_address_that_comes_and_goes_while_the_agent_runs_is_told(site: Site) -> None:
    lab = site.lab
    node = lab.node("a1")
    server = site.server()
    site.agent()
    assert owner(server, "10.77.0.1") == ""
    lab.configure(node.namespace, [f"addr add 10.77.0.1/32 dev {node.uplink}"])
    assert wait_for(lambda: owner(server, "10.77.0.1") == "a1", sites.WAIT)
    lab.configure(node.namespace, [f"addr del 10.77.0.1/32 dev {node.uplink}"])
    assert wait_for(lambda: owner(server, "10.77.0.1") == "", sites.WAIT)
