"""Kernel tunnels between the nodes of a lab, other than VXLAN: plain and encrypted ones.

Not every kernel has all kinds: a missing kind is an expected failure with this reason.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from layouts import configure
from overlay import DEVICE, INNER_MTU

from kzn.lab.lab import Lab
from kzn.lab.plan import Node
from kzn.lab.traffic import Family

PORT_WIREGUARD = 51820


@dataclass(frozen=True, slots=True)
class Kind:
    """``options`` of a device, with {here}, {there}, {here6}, {there6} for the nodes' addresses.

    ``added``: bytes added to a packet. ``encap``: the route says where the tunnel ends (external,
    collect_md). ``receiver``: of the port of FoU or GUE. ``is_at_port``: a program at an uplink
    does not know its port, so that the nodes are charged there.
    """

    options: str
    added: int
    families: tuple[Family, ...] = (4, 6)
    has_frames: bool = False
    kind: str = ""
    encap: str = ""
    receiver: str = ""
    fdb: bool = False
    over: Family = 4
    is_at_port: bool = False


_FOU = "encap-sport auto encap-dport 5555 encap"
KINDS = {
    "geneve": Kind("id 7 remote {there}", 20 + 8 + 8 + 14, has_frames=True),
    "gretap": Kind("local {here} remote {there} key 7", 20 + 8 + 14, has_frames=True),
    "gre": Kind("local {here} remote {there}", 20 + 4),
    "ipip": Kind("local {here} remote {there}", 20, (4,)),
    "sit": Kind("local {here} remote {there}", 20, (6,)),
    "vxlan, fdb": Kind(
        "id 7 local {here} dstport 4789 nolearning", 50, has_frames=True, kind="vxlan", fdb=True
    ),
    "vxlan, external": Kind(
        "external dstport 4789", 50, has_frames=True, kind="vxlan", encap="id 7 dst {there}"
    ),
    "vxlan over IPv6": Kind(
        "id 7 local {here6} remote {there6} dstport 4789", 70, has_frames=True, kind="vxlan", over=6
    ),
    # IP packets without Ethernet, on a port that no program at an uplink knows.
    "vxlan gpe, external": Kind(
        "external gpe dstport 4790", 36, kind="vxlan", encap="id 7 dst {there}", is_at_port=True
    ),
    "geneve, external": Kind(
        "external", 50, has_frames=True, kind="geneve", encap="id 7 dst {there} ttl 64"
    ),
    "gre, external": Kind("external", 20 + 4, kind="gre", encap="src {here} dst {there}"),
    # Without `encaplimit none` a destination option of 8 bytes.
    "ip6tnl": Kind(
        "local {here6} remote {there6} mode any encaplimit none", 40, kind="ip6tnl", over=6
    ),
    "ip6tnl with a limit": Kind(
        "local {here6} remote {there6} mode any", 48, kind="ip6tnl", over=6
    ),
    "ip6gre": Kind("local {here6} remote {there6}", 40 + 8 + 4, over=6),
    "ip6gretap": Kind(
        "local {here6} remote {there6} encaplimit none", 40 + 4 + 14, has_frames=True, over=6
    ),
    "ipip in FoU": Kind(
        f"local {{here}} remote {{there}} {_FOU} fou",
        20 + 8,
        (4,),
        kind="ipip",
        receiver="ipproto 4",
        is_at_port=True,
    ),
    "sit in FoU": Kind(
        f"local {{here}} remote {{there}} {_FOU} fou",
        20 + 8,
        (6,),
        kind="sit",
        receiver="ipproto 41",
        is_at_port=True,
    ),
    "gre in FoU": Kind(
        f"local {{here}} remote {{there}} {_FOU} fou",
        20 + 8 + 4,
        kind="gre",
        receiver="ipproto 47",
        is_at_port=True,
    ),
    "ipip in GUE": Kind(
        f"local {{here}} remote {{there}} {_FOU} gue",
        20 + 8 + 4,
        (4,),
        kind="ipip",
        receiver="gue",
        is_at_port=True,
    ),
}

# Two key pairs for tests, not secret.
_PRIVATE = (
    "cAdtCnMYpX08FsFyUbJmRd9ML5LrwJmnxdW99Cvcamo=",
    "WKsIfmJKikt54X+Lg4AO5m87sSkmGLb9HC+LJ/+I4Gs=",
)
_PUBLIC = (
    "a3UajX40mOmQ1+qFEHJMOQQ3r9Sd5SUyKmU8ocjfTg0=",
    "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=",
)
_CONFIGURE = """
import sys
from pyroute2 import WireGuard
private, public, there, port, *inside = sys.argv[1:]
peer = {"public_key": public, "endpoint_addr": there, "endpoint_port": int(port)}
peer |= {"allowed_ips": inside}
with WireGuard() as netlink:
    netlink.set("%s", private_key=private, listen_port=int(port), peer=peer)
"""


@contextmanager
def tunnel(lab: Lab, name: str) -> Iterator[None]:
    """Connect the pods of a1 and b1 through tunnel devices."""
    kind = KINDS[name]
    nodes = (lab.node("a1"), lab.node("b1"))
    if kind.receiver:  # the kernel does not load it by itself
        lab.run(nodes[0].namespace, ["modprobe", "-q", "fou"])
    try:
        with _between(lab, name, lambda here, there: list(_device(lab, name, kind, here, there))):
            for here, there in (nodes, nodes[::-1]) if kind.fdb else ():
                words = ["fdb", "append", _mac(there), "dev", DEVICE, "dst", there.ipv4]
                assert lab.run(here.namespace, ["bridge", *words]).returncode == 0
            yield
    finally:
        for node in nodes if kind.receiver else ():
            lab.run(node.namespace, ["ip", "fou", "del", "port", "5555"])


@contextmanager
def wireguard(lab: Lab, port: int = PORT_WIREGUARD) -> Iterator[None]:
    """Connect them through WireGuard."""

    def lines(_here: Node, there: Node) -> list[str]:
        routes = [f"route add {address} dev {DEVICE}" for address in _pods(lab, there)]
        return [f"link add {DEVICE} type wireguard", f"link set {DEVICE} up", *routes]

    with _between(lab, "wireguard", lines):
        nodes = (lab.node("a1"), lab.node("b1"))
        for mine, (here, there) in enumerate((nodes, nodes[::-1])):
            keys = [_PRIVATE[mine], _PUBLIC[1 - mine]]
            inside = [f"{ip}/{128 if ':' in ip else 32}" for ip in _pods(lab, there)]
            words = [sys.executable, "-c", _CONFIGURE % DEVICE, *keys, there.ipv4, str(port)]
            done = lab.run(here.namespace, [*words, *inside])
            assert done.returncode == 0, done.stderr
        yield


@contextmanager
def esp(lab: Lab) -> Iterator[None]:
    """Connect them by ESP in tunnel mode: xfrm policies without a device."""
    a, b = lab.node("a1"), lab.node("b1")
    try:
        for here in (a, b):
            configure(lab, "esp", here.namespace, list(_policies(lab, here, b if here is a else a)))
        yield
    finally:
        for node in (a, b):
            lab.ip(["-n", node.namespace, "xfrm", "policy", "flush"])
            lab.ip(["-n", node.namespace, "xfrm", "state", "flush"])


def _policies(lab: Lab, here: Node, there: Node) -> Iterator[str]:
    cipher = f"aead rfc4106(gcm(aes)) 0x{bytes(range(20)).hex()} 128"
    mode = "reqid 1 mode tunnel flag af-unspec"  # for both families inside
    for number, (src, dst) in enumerate(((here, there), (there, here))):
        spi = 0x100 + src.number
        ends = f"src {src.ipv4} dst {dst.ipv4}"
        yield f"xfrm state add {ends} proto esp spi {spi} {mode} {cipher}"
        for direction in (("out",), ("in", "fwd"))[number]:
            for one in _pods(lab, src):
                for other in _pods(lab, dst):
                    if (":" in one) == (":" in other):
                        yield (
                            f"xfrm policy add src {one} dst {other} dir {direction}"
                            f" tmpl {ends} proto esp reqid 1 mode tunnel"
                        )


def _device(lab: Lab, name: str, kind: Kind, here: Node, there: Node) -> Iterator[str]:
    ends = {"here": here.ipv4, "there": there.ipv4, "here6": here.ipv6, "there6": there.ipv6}
    address = f"address {_mac(here)}" if kind.has_frames else ""
    if kind.receiver:
        yield f"fou add port 5555 {kind.receiver}"
    options = kind.options.format(**ends)
    yield f"link add {DEVICE} {address} mtu {INNER_MTU} type {kind.kind or name} {options}"
    yield f"link set {DEVICE} up"
    encap = f"encap ip {kind.encap.format(**ends)}" if kind.encap else ""
    for ip in _pods(lab, there):
        if (6 if ":" in ip else 4) not in kind.families:
            continue
        yield f"route add {ip} {encap} dev {DEVICE} mtu {INNER_MTU}"
        if kind.has_frames:
            yield f"neigh add {ip} lladdr {_mac(there)} dev {DEVICE} nud permanent"


def _mac(node: Node) -> str:
    return f"02:6b:7a:00:fe:{node.number:02x}"


def _pods(lab: Lab, node: Node) -> list[str]:
    return [ip for pod in lab.plan.pods_of(node) for ip in (pod.ipv4, pod.ipv6)]


@contextmanager
def _between(lab: Lab, name: str, lines: Callable[[Node, Node], list[str]]) -> Iterator[None]:
    nodes = (lab.node("a1"), lab.node("b1"))
    made: list[Node] = []
    try:
        for here, there in (nodes, nodes[::-1]):
            made.append(here)
            configure(lab, name, here.namespace, lines(here, there))
        yield
    finally:
        for node in made:
            lab.run(node.namespace, ["ip", "link", "del", DEVICE])
