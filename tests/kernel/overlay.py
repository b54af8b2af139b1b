"""Tunnels between the nodes of a lab, as overlay networks make them."""

from collections.abc import Iterator
from contextlib import contextmanager

from kzn.lab.lab import Lab
from kzn.lab.plan import Node

DEVICE = "over0"
INNER_MTU = 1400


@contextmanager
def vxlan(lab: Lab, port: int = 8472) -> Iterator[None]:
    """Connect the pods of a1 and b1 through a VXLAN, with the usual checksums and segmentation."""
    a, b = lab.node("a1"), lab.node("b1")
    for here, there in ((a, b), (b, a)):
        lab.configure(here.namespace, list(_lines(lab, here, there, port)))
    try:
        yield
    finally:
        for node in (a, b):
            lab.ip(["-n", node.namespace, "link", "del", DEVICE])


def _lines(lab: Lab, here: Node, there: Node, port: int) -> Iterator[str]:
    yield (
        f"link add {DEVICE} address {_mac(here)} mtu {INNER_MTU} type vxlan id 7"
        f" local {here.ipv4} remote {there.ipv4} dstport {port}"
    )
    yield f"link set {DEVICE} up"
    yield f"addr add 192.168.{here.number}.1/32 dev {DEVICE}"
    gateway = f"192.168.{there.number}.1"
    yield f"route add {gateway} dev {DEVICE}"
    yield f"neigh add {gateway} lladdr {_mac(there)} dev {DEVICE} nud permanent"
    for pod in lab.plan.pods_of(there):
        yield f"route add {pod.ipv4} via {gateway} dev {DEVICE} mtu {INNER_MTU}"
        yield f"route add {pod.ipv6} dev {DEVICE} mtu {INNER_MTU}"
        yield f"neigh add {pod.ipv6} lladdr {_mac(there)} dev {DEVICE} nud permanent"


def _mac(node: Node) -> str:
    return f"02:6b:7a:00:ff:{node.number:02x}"
