"""Devices between the IP stack of a node and its cable: VLANs, bonds, bridges, VRFs, switches.

A `Layout` gives node a1 a second cable to the fabric, with devices of the layout on it, and routes
to node b1 and its pods through them. What leaves by the layout arrives at the fabric, where the
witness counts it after all tags and headers of these devices are gone.
"""

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kzn.errors import KznError
from kzn.lab import namespaces
from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab
from kzn.lab.plan import Node

WAIT = float(os.environ.get("KZN_TEST_WAIT", "60"))
CABLES = 2
NODE, FABRIC, POD = (
    ("10.51.1.2", "fd6b:51::2"),
    ("10.51.1.1", "fd6b:51::1"),
    ("10.51.1.3", "fd6b:51::3"),
)
"""IPv4 and IPv6 addresses of the layout's device on the node, in the fabric, and in the pod."""
NODE_MAC, FABRIC_MAC, POD_MAC, OTHER_MAC = (f"02:6b:7a:00:51:0{n}" for n in (2, 1, 3, 4))
IN_USE = ("UP", "UNKNOWN")
"""Operational states of a device that sends: the kernel sets them a moment after the carrier."""
DISTRIBUTES = 0x38
"""The port state of an 802.3ad cable that is in use: synchronization, collecting, distributing."""
LACKING = ("Unknown device type", "not found", "not supported", "No such file", "No such device")
"""Words of iproute2, modprobe and ovs-dpctl for what a kernel lacks."""


@dataclass(frozen=True, slots=True)
class Layout:
    """iproute2 commands for both ends of the cables n0-f0 and n1-f1.

    ``device`` and ``peer`` have the addresses. ``pod`` commands run on the node and give pod a1-p1
    a device net1. ``flows`` are flows of an Open vSwitch datapath dp7 and their actions.
    """

    node: tuple[str, ...] = ()
    fabric: tuple[str, ...] = ()
    device: str = "n0"
    peer: str = "f0"
    mac: str = NODE_MAC
    pod: tuple[str, ...] = ()
    pod_mac: str = POD_MAC
    vrf: str = ""
    flows: tuple[tuple[str, str], ...] = ()
    ports: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    """Commands of tc and bridge on the node."""
    calls_netfilter: bool | None = None
    """Whether bridges give their frames to netfilter (br_netfilter); None: not a bridge."""
    is_seen: bool = True
    """Whether netfilter on the node sees what the pod sends by net1."""


def bond(mode: str, side: str) -> tuple[str, ...]:
    """A bond of both cables; ``side`` is n (node) or f (fabric)."""
    mac = NODE_MAC if side == "n" else FABRIC_MAC
    return (
        f"link add {side}bond address {mac} type bond mode {mode} miimon 100",
        *(
            f"link set {side}{n} {what}"
            for n in range(CABLES)
            for what in ("down", f"master {side}bond")
        ),
        f"link set {side}bond up",
    )


def bonds(mode: str) -> Layout:
    """A bond on both ends."""
    return Layout(bond(mode, "n"), bond(mode, "f"), "nbond", "fbond")


def vlan(below: str, name: str, tag: int = 100, options: str = "") -> tuple[str, ...]:
    """A VLAN device."""
    return (
        f"link add link {below} name {name} type vlan {options} id {tag}",
        f"link set {name} up",
    )


OF_NODE = "addr add 192.0.2.1/30 dev n0"
"""An address of a subnet on the cable: without one a veth in a bridge or switch is a pod's."""
BRIDGE = (
    OF_NODE,
    f"link add n-br address {NODE_MAC} type bridge",
    "link set n0 master n-br",
    "link set n-br up",
)
VRF = ("link add n-vrf type vrf table 10", "link set n-vrf up")
POD_VETH = "link add n-pod type veth peer name net1 address {mac} netns {pod}"
ETHERTYPES = ("eth_type(0x0800),ipv4()", "eth_type(0x86dd),ipv6()")
_LACP = "802.3ad lacp_rate fast xmit_hash_policy layer3+4"

LAYOUTS = {
    "NIC": Layout(),
    "VLAN": Layout(vlan("n0", "n0.100"), vlan("f0", "f0.100"), "n0.100", "f0.100"),
    "VLAN in a VLAN (802.1ad)": Layout(
        (*vlan("n0", "n0.5", 5, "protocol 802.1ad"), *vlan("n0.5", "n0.5.6", 6)),
        (*vlan("f0", "f0.5", 5, "protocol 802.1ad"), *vlan("f0.5", "f0.5.6", 6)),
        "n0.5.6",
        "f0.5.6",
    ),
    "bond, active-backup": bonds("active-backup"),
    "bond, balance-rr": bonds("balance-rr"),
    "bond, 802.3ad": bonds(_LACP),
    "VLAN on a bond": Layout(
        (*bond("active-backup", "n"), *vlan("nbond", "nbond.100")),
        (*bond("active-backup", "f"), *vlan("fbond", "fbond.100")),
        "nbond.100",
        "fbond.100",
    ),
    "bridge with a NIC, br_netfilter off": Layout(BRIDGE, device="n-br", calls_netfilter=False),
    "bridge with a NIC, br_netfilter on": Layout(BRIDGE, device="n-br", calls_netfilter=True),
    "VLAN-aware bridge": Layout(
        (
            OF_NODE,
            f"link add n-br address {NODE_MAC} type bridge vlan_filtering 1",
            "link set n0 master n-br",
            "link set n-br up",
            *vlan("n-br", "n-br.100"),
        ),
        vlan("f0", "f0.100"),
        "n-br.100",
        "f0.100",
        more=("bridge vlan add dev n0 vid 100", "bridge vlan add dev n-br vid 100 self"),
        calls_netfilter=True,
    ),
    "bridge on a VLAN on a bond": Layout(
        (
            *bond("active-backup", "n"),
            *vlan("nbond", "nbond.100"),
            f"link add n-br address {NODE_MAC} type bridge",
            "link set nbond.100 master n-br",
            "link set n-br up",
        ),
        (*bond("active-backup", "f"), *vlan("fbond", "fbond.100")),
        "n-br",
        "fbond.100",
        calls_netfilter=True,
    ),
    "VRF": Layout((*VRF, "link set n0 master n-vrf"), vrf="n-vrf"),
    "VRF with a queue": Layout(
        (*VRF, "link set n0 master n-vrf"), vrf="n-vrf", more=("tc qdisc add dev n-vrf root pfifo",)
    ),
    "VLAN on a bond in a VRF": Layout(
        (
            *VRF,
            *bond("active-backup", "n"),
            *vlan("nbond", "nbond.100"),
            "link set nbond.100 master n-vrf",
        ),
        (*bond("active-backup", "f"), *vlan("fbond", "fbond.100")),
        "nbond.100",
        "fbond.100",
        vrf="n-vrf",
    ),
    "macvlan": Layout(
        (f"link add link n0 name n-mac address {OTHER_MAC} type macvlan mode bridge",),
        device="n-mac",
        mac=OTHER_MAC,
    ),
    "ipvlan": Layout(("link add link n0 name n-ipv type ipvlan mode l2",), device="n-ipv"),
    "pods on a bridge with a NIC, br_netfilter off": Layout(
        BRIDGE,
        device="n-br",
        pod=(POD_VETH, "link set n-pod master n-br up"),
        calls_netfilter=False,
        is_seen=False,
    ),
    "pods on a bridge with a NIC, br_netfilter on": Layout(
        BRIDGE, device="n-br", pod=(POD_VETH, "link set n-pod master n-br up"), calls_netfilter=True
    ),
    "pods with macvlan": Layout(
        pod=("link add link n0 name net1 address {mac} netns {pod} type macvlan mode bridge",),
        is_seen=False,
    ),
    "pods with ipvlan L2": Layout(
        pod=("link add link n0 name net1 netns {pod} type ipvlan mode l2",),
        pod_mac=NODE_MAC,
        is_seen=False,
    ),
    "pods with ipvlan L3": Layout(
        pod=("link add link n0 name net1 netns {pod} type ipvlan mode l3",), pod_mac=NODE_MAC
    ),
    "pods with ipvlan L3S": Layout(
        pod=("link add link n0 name net1 netns {pod} type ipvlan mode l3s",), pod_mac=NODE_MAC
    ),
    "Open vSwitch": Layout(
        (OF_NODE, f"link set dp7 address {NODE_MAC} up"),
        device="dp7",
        ports=("n0",),
        flows=(("in_port(0)", "1"), ("in_port(1)", "0")),
    ),
    "pods on Open vSwitch": Layout(
        (OF_NODE, f"link set dp7 address {NODE_MAC} up"),
        device="dp7",
        pod=(POD_VETH, "link set n-pod up"),
        ports=("n0", "n-pod"),
        flows=(
            ("in_port(0)", "1"),
            ("in_port(2)", "1"),
            (f"in_port(1),eth(dst={NODE_MAC})", "0"),
            (f"in_port(1),eth(dst={POD_MAC})", "2"),
        ),
        is_seen=False,
    ),
}


def configure(lab: Lab, what: str, namespace: str, lines: Sequence[str]) -> None:
    """Run iproute2 commands; an expected failure, with the reason, where the kernel lacks them."""
    try:
        lab.configure(namespace, lines)
    except KznError as error:
        lacks(what, f"{error} {error.hint}")
        raise


def lacks(what: str, message: str) -> None:
    """End the test as an expected failure if a message says that the kernel lacks something."""
    if any(words in message for words in LACKING):
        pytest.xfail(f"this kernel has no {what}: {message.strip()}")


@contextmanager
def laid_out(lab: Lab, name: str) -> Iterator[Layout]:
    """Build a layout on node a1, and remove all devices that it added afterwards."""
    layout, node, fabric = LAYOUTS[name], lab.node("a1"), lab.fabric.namespace
    spaces = (node.namespace, fabric)
    before = {space: _names(lab, space) for space in spaces}
    try:
        configure(
            lab, name, node.namespace, [line for n in range(CABLES) for line in _cable(fabric, n)]
        )
        if layout.ports:
            _datapath(lab, name, node.namespace)
        configure(lab, name, node.namespace, layout.node)
        configure(lab, name, fabric, list(_fabric_lines(lab, layout)))
        lab.configure(node.namespace, list(_node_lines(lab, layout)))
        for line in layout.more:
            done = lab.run(node.namespace, line.split())
            assert done.returncode == 0, (line, done.stderr)
        if layout.pod:
            _attach_pod(lab, name, layout)
        if layout.ports:
            _switch(lab, node.namespace, layout)
        if layout.calls_netfilter is not None:
            _call_netfilter(lab, node, calls=layout.calls_netfilter)
        assert wait_for(lambda: _carries(lab), WAIT), f"{name} did not come up"
        yield layout
    finally:
        if layout.ports:
            lab.run(node.namespace, ["ovs-dpctl", "del-dp", "dp7"])
        lines = [f"link del n{n}" for n in range(CABLES)]  # and what lies on them
        lines += [line.replace("add", "del", 1) for line in _vrf_routes(lab, layout)]
        _force(lab, node.namespace, lines)
        for space in spaces:
            _force(
                lab, space, [f"link del {device}" for device in _names(lab, space) - before[space]]
            )


def _carries(lab: Lab) -> bool:
    """Whether devices that are up have a carrier, and both ends of bonds use the same cables."""
    spaces = (lab.node("a1").namespace, lab.fabric.namespace)
    links = [link for space in spaces for link in _links(lab, space)]
    if any("UP" in link["flags"] and link["operstate"] not in IN_USE for link in links):
        return False
    return all(
        _uses_its_cables(lab, space, link["ifname"])
        for space in spaces
        for link in _links(lab, space)
        if link.get("linkinfo", {}).get("info_kind") == "bond"
    )


def _uses_its_cables(lab: Lab, namespace: str, name: str) -> bool:
    """Whether a bond can send and receive: by its first cable, if it uses one at a time.

    A bond drops what arrives by a cable that is not its active one, and each end chooses by itself.
    """

    def value(path: str) -> str:
        return lab.run(namespace, ["cat", f"/sys/class/net/{path}"]).stdout.strip()

    cables = value(f"{name}/bonding/slaves").split()
    mode = value(f"{name}/bonding/mode").split()[0]
    if any(value(f"{cable}/bonding_slave/mii_status") != "up" for cable in cables):
        return False
    if mode == "active-backup":
        first = min(cables)
        if value(f"{name}/bonding/active_slave") != first:
            lab.configure(namespace, [f"link set {name} type bond active_slave {first}"])
        return value(f"{name}/bonding/active_slave") == first
    if mode == "802.3ad":
        return all(
            int(value(f"{cable}/bonding_slave/ad_{end}_oper_port_state")) & DISTRIBUTES
            == DISTRIBUTES
            for cable in cables
            for end in ("actor", "partner")
        )
    return True


def _force(lab: Lab, namespace: str, lines: Sequence[str]) -> None:
    """Run iproute2 commands of which some may fail: a device may be gone with another one."""
    batch = Path(lab.directory, "batch")
    batch.write_text("".join(f"{line}\n" for line in lines))
    lab.run(namespace, ["ip", "-force", "-batch", str(batch)])


def _links(lab: Lab, namespace: str) -> list[Any]:
    return list(json.loads(lab.run(namespace, ["ip", "-j", "-d", "link", "show"]).stdout))


def _names(lab: Lab, namespace: str) -> set[str]:
    return {link["ifname"] for link in _links(lab, namespace)}


def _cable(fabric: str, n: int) -> Iterator[str]:
    near, far = ((NODE_MAC, FABRIC_MAC), ("02:6b:7a:00:51:12", "02:6b:7a:00:51:11"))[n]
    yield f"link add n{n} address {near} type veth peer name f{n} address {far} netns {fabric}"
    # One segment a packet, so that the fabric counts packets as a wire carries them.
    yield f"link set n{n} gso_max_segs 1 up"


def _node_lines(lab: Lab, layout: Layout) -> Iterator[str]:
    yield f"link set {layout.device} up"
    yield from _addresses(layout.device, NODE, FABRIC, FABRIC_MAC)
    tables = ("main", "10") if layout.vrf else ("main",)
    for table in tables:
        for to in _of_node(lab, "b1"):
            via = FABRIC[":" in to]
            yield f"route add {to} via {via} dev {layout.device} onlink table {table}"
    yield from _vrf_routes(lab, layout)


def _vrf_routes(lab: Lab, layout: Layout) -> Iterator[str]:
    """Routes from the VRF to the pods, which are outside it."""
    for pod in lab.plan.pods_of(lab.node("a1")) if layout.vrf else ():
        for to in (pod.ipv4, pod.ipv6):
            yield f"route add {to} dev {pod.veth} table 10"


def _fabric_lines(lab: Lab, layout: Layout) -> Iterator[str]:
    for n in range(CABLES):
        yield f"link set f{n} up"
    yield from layout.fabric
    yield from _addresses(layout.peer, FABRIC, NODE, layout.mac)
    for pod in lab.plan.pods_of(lab.node("a1")):
        for to in (pod.ipv4, pod.ipv6):
            yield f"route add {to} via {NODE[':' in to]} dev {layout.peer}"
    if layout.pod:
        for address in POD:
            yield f"neigh add {address} lladdr {layout.pod_mac} dev {layout.peer} nud permanent"


def _addresses(
    device: str, own: tuple[str, str], others: tuple[str, str], mac: str
) -> Iterator[str]:
    yield f"addr add {own[0]}/24 dev {device}"
    yield f"addr add {own[1]}/64 dev {device} nodad"
    for address in others:
        yield f"neigh add {address} lladdr {mac} dev {device} nud permanent"


def _attach_pod(lab: Lab, name: str, layout: Layout) -> None:
    pod = lab.pod("a1-p1")
    words = {"mac": layout.pod_mac, "pod": pod.namespace}
    configure(lab, name, lab.node("a1").namespace, [line.format(**words) for line in layout.pod])
    other = lab.pod("b1-p2")
    lab.configure(
        pod.namespace,
        [
            "link set net1 up",
            *_addresses("net1", POD, FABRIC, FABRIC_MAC),
            f"route add {other.ipv4} via {FABRIC[0]} dev net1",
            f"route add {other.ipv6} via {FABRIC[1]} dev net1",
        ],
    )


def _of_node(lab: Lab, name: str) -> list[str]:
    node = lab.node(name)
    pods = lab.plan.pods_of(node)
    return [node.ipv4, node.ipv6, *(ip for pod in pods for ip in (pod.ipv4, pod.ipv6))]


def _datapath(lab: Lab, name: str, namespace: str) -> None:
    done = lab.run(namespace, ["ovs-dpctl", "add-dp", "dp7"])
    if done.returncode:
        lacks(name, done.stderr)
        raise AssertionError(done.stderr)


def _switch(lab: Lab, namespace: str, layout: Layout) -> None:
    for words in (
        *(["add-if", "dp7", port] for port in layout.ports),
        *(
            ["add-flow", "dp7", _flow(match, kind), action]
            for match, action in layout.flows
            for kind in ETHERTYPES
        ),
    ):
        done = lab.run(namespace, ["ovs-dpctl", *words])
        assert done.returncode == 0, (words, done.stderr)


def _flow(match: str, ethertype: str) -> str:
    ether = "" if "eth(" in match else ",eth()"
    return f"{match}{ether},{ethertype}"


def _call_netfilter(lab: Lab, node: Node, *, calls: bool) -> None:
    lab.run(node.namespace, ["modprobe", "-q", "br_netfilter"])
    with namespaces.inside(node.namespace):
        for family in ("ip", "ip6"):
            path = Path(f"/proc/sys/net/bridge/bridge-nf-call-{family}tables")
            if not path.exists():
                pytest.xfail("this kernel has no br_netfilter")
            path.write_text(str(int(calls)))


def datagrams(
    sender: str,
    receiver: str,
    to: tuple[str, int],
    *,
    times: int,
    source: str = "",
    device: str = "",
) -> None:
    """Datagrams of 1,000 bytes from one namespace to another, each received before the next."""
    family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
    with namespaces.inside(receiver):
        server = socket.socket(family, socket.SOCK_DGRAM)
    with namespaces.inside(sender):
        client = socket.socket(family, socket.SOCK_DGRAM)
    with client, server:
        server.settimeout(WAIT)
        server.bind(to)
        if device:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if source:
            client.bind((source, 0))
        for _ in range(times):
            client.sendto(bytes(1000), to)
            assert len(server.recv(2000)) == 1000
