"""The plan of a lab: nodes, pods, addresses, and the commands that create them.

In: a `LabSpec`. Out: frozen nodes and pods, and iproute2 batches for each namespace.
Never: runs anything.

Neighbours are permanent, duplicate address detection and link-local addresses are off, so that
wires of the lab carry only what sockets send.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from kzn.errors import UsageError

ULA = "fd6b:7a6e:0"
UPLINK = "eth0"
POD_DEVICE = "eth0"

SYSCTLS = {
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/ping_group_range": "0 0",
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv6/conf/default/disable_ipv6": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/addr_gen_mode": "1",
    # The first multicast report is sent when the link comes up; its repetition would be counted.
    "ipv6/conf/default/mldv2_unsolicited_report_interval": "2000000000",
}
ROUTER_SYSCTLS = {"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"}

OUTSIDE = ("8.8.8.8", "2001:4860:4860::8888")
"""Addresses of the host outside: of the internet, which kzn tells from reserved ones."""
CONNTRACK = """
table inet track {
  chain arrive { type filter hook prerouting priority 0; ct state new accept; }
  chain send { type filter hook output priority 0; ct state new accept; }
}"""
"""Rules of nftables that turn connection tracking on in a namespace, and change nothing else."""


@dataclass(frozen=True, slots=True)
class LabSpec:
    """The size of a lab; at most 9 zones, 9 nodes a zone, 90 pods a node.

    ``outside`` adds a host behind the fabric, ``conntrack`` turns connection tracking on in nodes.
    """

    prefix: str = "kzn"
    zones: tuple[str, ...] = ("zone-a", "zone-b")
    nodes_per_zone: int = 1
    pods_per_node: int = 2
    mtu: int = 1500
    outside: bool = False
    conntrack: bool = False

    def __post_init__(self) -> None:
        """UsageError for the first size that is out of range."""
        for name, value, low, high in (
            ("zones", len(self.zones), 1, 9),
            ("nodes per zone", self.nodes_per_zone, 1, 9),
            ("pods per node", self.pods_per_node, 0, 90),
            ("MTU", self.mtu, 1280, 65521),
        ):
            if not low <= value <= high:
                raise UsageError(f"lab: {name} {value} is not between {low} and {high}")


@dataclass(frozen=True, slots=True)
class Node:
    """A node's namespace: a router between its pods and the fabric; `uplink` faces the fabric."""

    name: str
    namespace: str
    zone: str
    ipv4: str
    ipv6: str
    uplink: str
    number: int
    subnet: str


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod's namespace behind a node; `veth` is the node's end of its veth pair."""

    name: str
    namespace: str
    node: str
    zone: str
    ipv4: str
    ipv6: str
    device: str
    veth: str
    number: int


@dataclass(frozen=True, slots=True)
class Fabric:
    """The router between the nodes; nodes reach a server inside it at these addresses."""

    namespace: str
    ipv4: str
    ipv6: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The fabric, nodes and pods of a lab; the host outside, if there is one, is of no node."""

    spec: LabSpec
    fabric: Fabric
    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]
    outside: Pod | None = None

    def pods_of(self, node: Node) -> list[Pod]:
        """The pods behind a node."""
        return [pod for pod in self.pods if pod.node == node.name]

    @property
    def namespaces(self) -> list[str]:
        """Names of all network namespaces."""
        nodes, pods = (node.namespace for node in self.nodes), (pod.namespace for pod in self.pods)
        outside = [self.outside.namespace] if self.outside else []
        return [self.fabric.namespace, *nodes, *pods, *outside]


def make_plan(spec: LabSpec) -> Plan:
    """Names and addresses: node ``a1`` is the first of the first zone, ``a1-p1`` its first pod."""
    nodes = tuple(_nodes(spec))
    pods = tuple(pod for node in nodes for pod in _pods(spec, node))
    fabric = Fabric(f"{spec.prefix}-fabric", "10.0.0.1", f"{ULA}:f000::1")
    return Plan(spec, fabric, nodes, pods, _outside(spec) if spec.outside else None)


def _outside(spec: LabSpec) -> Pod:
    ipv4, ipv6 = OUTSIDE
    return Pod(
        name="outside",
        namespace=f"{spec.prefix}-outside",
        node="",
        zone="",
        ipv4=ipv4,
        ipv6=ipv6,
        device=POD_DEVICE,
        veth="outside",
        number=0,
    )


def _nodes(spec: LabSpec) -> Iterator[Node]:
    for place, zone in enumerate(spec.zones, start=1):
        for index in range(1, spec.nodes_per_zone + 1):
            number = (place - 1) * spec.nodes_per_zone + index
            name = f"{chr(ord('a') + place - 1)}{index}"
            yield Node(
                name=name,
                namespace=f"{spec.prefix}-{name}",
                zone=zone,
                ipv4=f"10.0.{number}.2",
                ipv6=f"{ULA}:f{number:03x}::2",
                uplink=UPLINK,
                number=number,
                subnet=f"{place}{index}",
            )


def _pods(spec: LabSpec, node: Node) -> Iterator[Pod]:
    for number in range(1, spec.pods_per_node + 1):
        yield Pod(
            name=f"{node.name}-p{number}",
            namespace=f"{node.namespace}-p{number}",
            node=node.name,
            zone=node.zone,
            ipv4=f"10.{node.subnet}.0.{9 + number}",
            ipv6=f"{ULA}:{node.subnet}::{number + 9:x}",
            device=POD_DEVICE,
            veth=f"pod{number}",
            number=number,
        )


def host_pod(node: Node, name: str) -> Pod:
    """A pod on a node's network at an address of its own, as a load balancer's virtual address is.

    The plan has no such pod: `host_pod_batches` makes it.
    """
    return Pod(
        name=name,
        namespace=node.namespace,
        node=node.name,
        zone=node.zone,
        ipv4=f"10.0.{node.number}.3",
        ipv6=f"{ULA}:f{node.number:03x}::3",
        device=node.uplink,
        veth="",
        number=0,
    )


def host_pod_batches(plan: Plan, pod: Pod) -> Iterator[tuple[str, list[str]]]:
    """(namespace, iproute2 commands) that give a `host_pod` its addresses."""
    node = next(node for node in plan.nodes if node.name == pod.node)
    yield pod.namespace, _addresses(pod.device, f"{pod.ipv4}/24", f"{pod.ipv6}/64")
    # Without it a node would answer ARP: a packet of its device that is not of IP.
    neighbour = f"lladdr {_mac(node.number, 2)} dev {node.name} nud permanent"
    addresses = (pod.ipv4, pod.ipv6)
    yield plan.fabric.namespace, [f"neigh add {address} {neighbour}" for address in addresses]


def batches(plan: Plan) -> Iterator[tuple[str, list[str]]]:
    """(namespace, iproute2 commands) in the order of execution."""
    for node in plan.nodes:
        yield node.namespace, _node_batch(plan, node)
    for pod in plan.pods:
        yield pod.namespace, _pod_batch(plan, pod)
    if plan.outside is not None:
        yield plan.outside.namespace, _outside_batch(plan, plan.outside)
    yield plan.fabric.namespace, _fabric_batch(plan)


def _node_batch(plan: Plan, node: Node) -> list[str]:
    mtu, number = plan.spec.mtu, node.number
    lines = [
        "link set lo up",
        f"link add {UPLINK} mtu {mtu} address {_mac(number, 2)} type veth"
        f" peer name {node.name} mtu {mtu} address {_mac(number, 1)} netns {plan.fabric.namespace}",
        # One segment a packet, so that device and fabric count packets as a wire carries them.
        f"link set {UPLINK} gso_max_segs 1 up",
        *_addresses(UPLINK, f"{node.ipv4}/24", f"{node.ipv6}/64"),
    ]
    for gateway in (f"10.0.{number}.1", f"{ULA}:f{number:03x}::1"):
        lines += [
            f"neigh add {gateway} lladdr {_mac(number, 1)} dev {UPLINK} nud permanent",
            f"route add default via {gateway}",
        ]
    for pod in plan.pods_of(node):
        lines += _veth_pair(plan, node, pod)
    return lines


def _veth_pair(plan: Plan, node: Node, pod: Pod) -> list[str]:
    mtu, inner, outer = plan.spec.mtu, _mac(node.number, 9 + pod.number), _mac(node.number, 3)
    lines = [
        f"link add {pod.veth} mtu {mtu} address {outer} type veth"
        f" peer name {pod.device} mtu {mtu} address {inner} netns {pod.namespace}",
        f"link set {pod.veth} up",
        *_addresses(pod.veth, *(f"{gateway}/{n}" for gateway, n in _gateways(node))),
    ]
    for address in (pod.ipv4, pod.ipv6):
        lines += [
            f"neigh add {address} lladdr {inner} dev {pod.veth} nud permanent",
            f"route add {address} dev {pod.veth}",
        ]
    return lines


def _pod_batch(plan: Plan, pod: Pod) -> list[str]:
    node = next(node for node in plan.nodes if node.name == pod.node)
    lines = [
        "link set lo up",
        f"link set {pod.device} up",
        *_addresses(pod.device, f"{pod.ipv4}/32", f"{pod.ipv6}/128"),
    ]
    for gateway, _ in _gateways(node):
        lines += [
            f"neigh add {gateway} lladdr {_mac(node.number, 3)} dev {pod.device} nud permanent",
            f"route add {gateway} dev {pod.device}",
            f"route add default via {gateway} dev {pod.device}",
        ]
    return lines


def _outside_batch(plan: Plan, host: Pod) -> list[str]:
    mtu = plan.spec.mtu
    lines = [
        "link set lo up",
        f"link add {host.device} mtu {mtu} address {_mac(0, 2)} type veth"
        f" peer name {host.veth} mtu {mtu} address {_mac(0, 1)} netns {plan.fabric.namespace}",
        f"link set {host.device} gso_max_segs 1 up",
        *_addresses(host.device, f"{host.ipv4}/32", f"{host.ipv6}/128"),
    ]
    for gateway in (plan.fabric.ipv4, plan.fabric.ipv6):
        lines += [
            f"neigh add {gateway} lladdr {_mac(0, 1)} dev {host.device} nud permanent",
            f"route add {gateway} dev {host.device}",
            f"route add default via {gateway} dev {host.device}",
        ]
    return lines


def _fabric_batch(plan: Plan) -> list[str]:
    lines = [
        "link set lo up",
        *_addresses("lo", f"{plan.fabric.ipv4}/32", f"{plan.fabric.ipv6}/128"),
    ]
    for node in plan.nodes:
        lines += [
            f"link set {node.name} gso_max_segs 1 up",
            *_addresses(node.name, f"10.0.{node.number}.1/24", f"{ULA}:f{node.number:03x}::1/64"),
        ]
        for address, pods in (
            (node.ipv4, f"10.{node.subnet}.0.0/24"),
            (node.ipv6, f"{ULA}:{node.subnet}::/64"),
        ):
            lines += [
                f"neigh add {address} lladdr {_mac(node.number, 2)} dev {node.name} nud permanent",
                f"route add {pods} via {address}",
            ]
    if plan.outside is not None:
        host = plan.outside
        lines.append(f"link set {host.veth} gso_max_segs 1 up")
        for address in (host.ipv4, host.ipv6):
            lines += [
                f"neigh add {address} lladdr {_mac(0, 2)} dev {host.veth} nud permanent",
                f"route add {address} dev {host.veth}",
            ]
    return lines


def _gateways(node: Node) -> tuple[tuple[str, int], tuple[str, int]]:
    return (f"10.{node.subnet}.0.1", 32), (f"{ULA}:{node.subnet}::1", 128)


def _addresses(device: str, ipv4: str, ipv6: str) -> list[str]:
    return [f"addr add {ipv4} dev {device}", f"addr add {ipv6} dev {device} nodad"]


def _mac(number: int, port: int) -> str:
    return f"02:6b:7a:00:{number:02x}:{port:02x}"
