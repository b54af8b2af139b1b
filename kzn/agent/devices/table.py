"""The role of each device of this node: keeps a packet, encapsulates it, or sends it off the node.

In: links, addresses and routes as netlink.py reads them, dumped once and then change by change.
Out: a role for each device, the devices that a packet leaves by last, and this node's addresses.
Never: I/O, but for `read_devices`. A device that is not in the table has no role: the kernel counts
what it sends.

A device keeps what it is given only where that is certain: the loopback device, dummies, a veth or
netkit whose peer is in another network namespace, or a bridge of nothing but those. A route through
it to a gateway, an address of a subnet on a veth, or a VLAN or bond above it makes it one that
leads off the node: nodes that are containers have such uplinks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kzn.agent.devices.host_routes import HostRoutes
from kzn.agent.devices.netlink import Routes, RouteSocket, read_neighbours
from kzn.agent.devices.netlink_messages import (
    Change,
    GatewayRoute,
    HostRoute,
    InterfaceAddress,
    Link,
    LinkGone,
    TcChange,
)
from kzn.agent.maps.senders import SHARED, Neighbours, Senders, number, ranked
from kzn.agent.maps.structs import Role

POD_KINDS = frozenset({"veth", "netkit"})
TUNNELS = frozenset(
    {"amt", "bareudp", "erspan", "geneve", "gre", "gretap", "gtp", "ip6erspan", "ip6gre"}
    | {"ip6gretap", "ip6tnl", "ipip", "l2tp", "sit", "tun", "vti", "vti6", "vxlan", "wireguard"}
    | {"xfrm"}
)
"""Kinds of devices that wrap a packet into another one, which leaves by another device."""
ENCRYPTING = frozenset({"vti", "vti6", "wireguard", "xfrm"})
KEEPS_INNER_HEADERS = TUNNELS - ENCRYPTING - {"amt", "gtp", "l2tp", "tun"}
"""Kinds of devices that keep the offsets of inner headers (iptunnel_handle_offloads)."""
NO_EGRESS = frozenset({"dummy", "ifb", "nlmon", "vcan"})
BONDS = frozenset({"bond", "team"})
PASSES_AGAIN = frozenset({"vrf"})
"""Masters at which netfilter sees a packet of the node itself before it sees it at a port."""
SWITCHES = frozenset({"openvswitch"})
"""Ports inside a switch: what leaves the node leaves by a physical port of it."""
THROUGH_OTHERS = frozenset({"ppp"})
"""What these send leaves by another device, with its IP header in sight there (PPPoE)."""
SERVICE_DEVICES = frozenset({"kube-ipvs0"})
"""Devices that have the addresses of all Services, on every node (kube-proxy with IPVS)."""
JUDGED_BY_GATEWAYS = POD_KINDS | SWITCHES | {"bridge"}
LINK_LOCAL = (b"\xfe\x80", bytes(10) + b"\xff\xff\xa9\xfe")


@dataclass(frozen=True, slots=True)
class Device:
    """A device that leads off the node."""

    index: int
    name: str
    is_ethernet: bool = True
    is_up: bool = True


def read_devices(wanted: Sequence[str] = ()) -> "DeviceTable":
    """The devices of the caller's network namespace, now. KernelError when netlink fails."""
    found = DeviceTable(wanted)
    with RouteSocket() as questions:
        found.load(questions.links(), questions.addresses(), questions.routes())
    return found


class DeviceTable:
    """Links, addresses and gateways of one network namespace; ``wanted`` are names of `--uplink`.

    Without names every device that may lead off does. With names only these do, and what lies
    above them; tunnels stay what they are.
    """

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        self._wanted = tuple(wanted)
        self._links: dict[int, Link] = {}
        self._addresses: dict[int, set[InterfaceAddress]] = {}
        self._gateways: frozenset[int] = frozenset()
        self._gateways_down: frozenset[int] = frozenset()
        self._hosts = HostRoutes()
        self._carriers: frozenset[int] | None = None

    def load(
        self,
        links: Iterable[Link],
        addresses: Iterable[InterfaceAddress],
        routes: Routes,
    ) -> None:
        """Replace everything by what three dumps gave."""
        self._carriers = None
        self._links = {link.index: link for link in links}
        self._addresses = {}
        for address in addresses:
            self._addresses.setdefault(address.index, set()).add(address)
        up = {link.index for link in self._links.values() if link.is_up}
        self._gateways = routes.gateways & up
        self._gateways_down = routes.gateways - up
        self._hosts = HostRoutes(routes.hosts)

    def apply(self, change: Change) -> frozenset[int]:
        """Apply a change; returns devices whose routes must be read again."""
        match change:
            case Link():
                self._carriers = None
                self._links[change.index] = change
                return self._went_up_or_down(change)
            case LinkGone():
                self._carriers = None
                self._links.pop(change.index, None)
                self._addresses.pop(change.index, None)
                self._gateways -= {change.index}
                self._gateways_down -= {change.index}
                self._hosts.drop(change.index)
            case InterfaceAddress():
                return self._enter(change)
            case GatewayRoute(devices, is_gone=True):
                return self._judged_by_gateways() & frozenset(devices)
            case GatewayRoute(devices, replaces=replaces):
                self._gateways |= frozenset(devices)
                return self._judged_by_gateways() - {*devices} if replaces else frozenset()
            case HostRoute():
                return self._hosts.apply(change)
            case TcChange():
                pass
        return frozenset()

    def set_routes(self, index: int, routes: Routes) -> None:
        """Replace the routes through a device by those that were read again."""
        self._gateways = self._gateways - {index} | routes.gateways & {index}
        self._hosts.set_device(index, routes.hosts)

    def name(self, index: int) -> str:
        """The name of a device, or its index when it is not in the table."""
        link = self._links.get(index)
        return link.name if link else str(index)

    def roles(self) -> dict[int, Role]:
        """The role of every device by its index."""
        ports = self._ports()
        wanted = self._above_wanted(ports) if self._wanted else None
        return {index: self._role(link, ports, wanted) for index, link in self._links.items()}

    def outermost(self) -> tuple[Device, ...]:
        """Devices that a packet leaves by last, each packet by one; with names just these.

        What goes into a tunnel, a VLAN, a bond, a bridge, a VRF or a switch leaves by another one.
        """
        if self._wanted:
            found = [link for link in self._links.values() if link.name in self._wanted]
        else:
            roles, ports = self.roles(), self._ports()
            found = [
                link
                for link in self._links.values()
                if roles[link.index] == Role.LEADS_OFF
                and link.index not in ports
                and not link.lower
                and link.kind not in TUNNELS | SWITCHES | THROUGH_OTHERS
                and (link.kind not in POD_KINDS or link.peer_in_other_netns)
            ]
        return tuple(
            Device(link.index, link.name, link.is_ethernet, link.is_up)
            for link in sorted(found, key=lambda link: link.index)
        )

    def links(self) -> tuple[Link, ...]:
        """All devices."""
        return tuple(self._links.values())

    def pods(self) -> tuple[Link, ...]:
        """This node's ends of pods' devices."""
        return tuple(link for link in self._links.values() if self._is_pods(link))

    def senders(self, neighbours: Neighbours = read_neighbours) -> Senders:
        """Which addresses are behind pods' devices: those of one network namespace together."""
        links = self.pods()
        behind: dict[tuple[int, int], set[bytes]] = {}
        for link in links:
            behind.setdefault(_namespace(link), set()).update(self._hosts.behind(link.index))
        groups = dict(zip(behind, ranked(behind.values()), strict=True))
        ports = self._ports()
        bridges = [
            link.index
            for link in self._links.values()
            if link.kind == "bridge" and ports.get(link.index) and self._stays(link, ports)
        ]
        devices: dict[int, int] = {}
        for index in self._links:
            devices[number(index)] = SHARED if number(index) in devices else index
        pods = {
            number(link.index): group
            for link in links
            if (group := groups[_namespace(link)]) and devices[number(link.index)] != SHARED
        }
        return Senders(
            pods=pods,
            bridges={number(index): index for index in bridges if devices[number(index)] != SHARED},
            neighbours=neighbours,
            devices=devices,
            indices={at: devices[at] for at in pods},
        )

    def has_gateway(self, index: int) -> bool:
        """Whether a route leads through a device to a gateway."""
        return index in self._gateways

    def unknown_names(self) -> tuple[str, ...]:
        """Names of ``wanted`` that no device has."""
        names = {link.name for link in self._links.values()}
        return tuple(name for name in self._wanted if name not in names)

    def addresses(self) -> frozenset[bytes]:
        """This node's own addresses, 16 bytes each, but for loopback and link-local ones."""
        return frozenset(
            address.address
            for index, held in self._addresses.items()
            if (link := self._links.get(index)) is not None and not link.is_loopback
            for address in held
            if not address.is_link_scope and not address.address.startswith(LINK_LOCAL)
        )

    def told_addresses(self) -> tuple[bytes, ...]:
        """`addresses` but for those of Services, for the server; those of dummies come last."""
        on_dummies: dict[bytes, bool] = {}
        for index, held in self._addresses.items():
            link = self._links.get(index)
            if link is not None and link.name not in SERVICE_DEVICES:
                for address in held:
                    is_dummy = on_dummies.get(address.address, True) and link.kind in NO_EGRESS
                    on_dummies[address.address] = is_dummy
        usable = self.addresses() & on_dummies.keys()
        return tuple(sorted(usable, key=lambda address: (on_dummies[address], address)))

    def _went_up_or_down(self, link: Link) -> frozenset[int]:
        """Devices whose routes must be read again.

        The kernel removes the routes of a device that goes down. It revives those with further
        nexthops when the device is up again. It tells of neither.
        """
        if not link.is_up:
            self._hosts.drop_down(link.index)
            self._gateways_down |= self._gateways & {link.index}
            self._gateways -= {link.index}
            return frozenset()
        again = self._gateways_down & {link.index}
        self._gateways_down -= again
        return again

    def _enter(self, change: InterfaceAddress) -> frozenset[int]:
        """Devices whose routes must be read again."""
        held = self._addresses.setdefault(change.index, set())
        for old in [old for old in held if old.address == change.address]:
            if (old.prefix, old.peer) == (change.prefix, change.peer):
                held.discard(old)
        if not change.is_gone:
            held.add(change)
            return frozenset()
        if not change.is_ipv4:
            return frozenset()
        # The kernel removes further IPv4 routes with it. It tells of none that goes with the last
        # address of a device, and since 2023 (4b2b606075e5) of those that prefer it as source.
        if not any(one.is_ipv4 for one in held):
            self._hosts.drop_ipv4(change.index)
        if not self._is_own(change.address):
            self._hosts.drop_source(change.address)
        return self._judged_by_gateways()

    def _is_own(self, address: bytes) -> bool:
        return any(
            one.address == address
            for index, held in self._addresses.items()
            if (link := self._links.get(index)) is not None and link.is_up
            for one in held
        )

    def _judged_by_gateways(self) -> frozenset[int]:
        """Devices with a gateway that would be something else without it."""
        return frozenset(
            index
            for index in self._gateways
            if (link := self._links.get(index)) and link.kind in JUDGED_BY_GATEWAYS
        )

    def _ports(self) -> dict[int, list[Link]]:
        """Ports by the index of their master."""
        ports: dict[int, list[Link]] = {}
        for link in self._links.values():
            if link.master:
                ports.setdefault(link.master, []).append(link)
        return ports

    def _role(
        self, link: Link, ports: dict[int, list[Link]], wanted: frozenset[int] | None
    ) -> Role:
        if link.kind in PASSES_AGAIN:
            return Role.PASSES_AGAIN
        if link.kind in ENCRYPTING:
            return Role.TUNNEL | Role.ENCRYPTS
        if link.kind in KEEPS_INNER_HEADERS:
            return Role.TUNNEL
        if wanted is not None and link.kind not in TUNNELS:
            return Role.LEADS_OFF if link.index in wanted else Role.STAYS
        return Role.STAYS if self._stays(link, ports) else Role.LEADS_OFF

    def _stays(self, link: Link, ports: dict[int, list[Link]]) -> bool:
        if link.is_loopback or link.kind in NO_EGRESS:
            return True
        if link.index in self._gateways:
            return False
        if link.kind == "bridge":
            return all(self._is_pods(port) for port in ports.get(link.index, ()))
        return self._is_pods(link)

    def _is_pods(self, link: Link) -> bool:
        """Whether a device is this node's end of a pod's."""
        return (
            link.kind in POD_KINDS
            and link.peer_in_other_netns
            and link.index not in self._gateways
            and link.index not in self._carriers_of_others()
            and not any(address.is_subnet for address in self._addresses.get(link.index, ()))
        )

    def _carriers_of_others(self) -> frozenset[int]:
        """Devices below a VLAN, macvlan or tunnel of this namespace, and ports of bonds."""
        if self._carriers is None:
            links = self._links.values()
            bonds = {link.index for link in links if link.kind in BONDS}
            below = {link.lower for link in links if link.kind not in POD_KINDS}
            self._carriers = frozenset(below | {x.index for x in links if x.master in bonds})
        return self._carriers

    def _above_wanted(self, ports: dict[int, list[Link]]) -> frozenset[int]:
        """The wanted devices, and the devices above that send through them."""
        found = {link.index for link in self._links.values() if link.name in self._wanted}
        while True:
            more = {
                link.index
                for link in self._links.values()
                if link.lower in found or any(p.index in found for p in ports.get(link.index, ()))
            }
            if more <= found:
                return frozenset(found)
            found |= more


def _namespace(link: Link) -> tuple[int, int]:
    """What identifies the network namespace of a device's peer: its number, or the device."""
    return (link.peer_netns, 0) if link.peer_netns >= 0 else (-1, link.index)
