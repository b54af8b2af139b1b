"""Which network devices lead off this node (uplinks), decided from what netlink reports. Pure.

A device stays on the node only where that is certain: a veth or netkit whose peer is in another
network namespace, or a bridge of nothing but those, without a route to a gateway. Every other
device may lead off the node, tunnels included.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kzn.agent.maps.structs import ENCRYPTS, TUNNEL

POD_KINDS = frozenset({"veth", "netkit"})
TUNNELS = frozenset(
    {"amt", "bareudp", "erspan", "geneve", "gre", "gretap", "gtp", "ip6erspan", "ip6gre"}
    | {"ip6gretap", "ip6tnl", "ipip", "l2tp", "sit", "tun", "vti", "vti6", "vxlan", "wireguard"}
    | {"xfrm"}
)
"""Kinds of devices that encapsulate a packet; the result leaves by another device."""
ENCRYPTING = frozenset({"vti", "vti6", "wireguard", "xfrm"})
"""Tunnels that encrypt: their traffic is accounted to the tunnel's endpoints."""
KEEPS_INNER_HEADERS = TUNNELS - ENCRYPTING - {"amt", "gtp", "l2tp", "tun"}
"""Tunnels that record the offsets of the inner headers in the skb (iptunnel_handle_offloads)."""
NO_EGRESS = frozenset({"dummy", "ifb", "nlmon", "vcan"})
LOOPBACK = 1


@dataclass(frozen=True, slots=True)
class Device:
    """A network device; ``kind`` is empty for hardware, ``master`` is 0 for none."""

    index: int
    name: str
    kind: str
    master: int
    peer_in_other_netns: bool
    lower_device: int = 0
    """The device of this node that its packets leave by (a VLAN's, a macvlan's); 0 for none."""
    ethernet: bool = True


def egress_devices(devices: Iterable[Device], gateways: frozenset[int]) -> tuple[Device, ...]:
    """Devices that may lead off the node, by index; ``gateways`` have a route to a gateway."""
    all_devices = sorted(devices, key=lambda device: device.index)
    ports: dict[int, list[Device]] = {}
    for device in all_devices:
        ports.setdefault(device.master, []).append(device)

    def stays(device: Device) -> bool:
        if device.index in gateways:
            return False
        if device.kind in POD_KINDS:
            return device.peer_in_other_netns
        members = ports.get(device.index, [])
        return device.kind == "bridge" and all(
            member.kind in POD_KINDS and member.peer_in_other_netns for member in members
        )

    return tuple(d for d in all_devices if d.index != LOOPBACK and not stays(d))


def outermost(egress: Iterable[Device]) -> tuple[Device, ...]:
    """Of the egress devices, those that a packet leaves by last: each packet passes exactly one.

    A packet that enters a tunnel, VLAN, bond or bridge leaves by another egress device.
    """
    devices = tuple(egress)
    masters = {device.master for device in devices}

    def is_last(device: Device) -> bool:
        if device.kind in POD_KINDS:
            return device.peer_in_other_netns
        return not device.lower_device and device.kind not in TUNNELS | NO_EGRESS

    return tuple(d for d in devices if d.index not in masters and is_last(d))


def tc_attachable(egress: Iterable[Device]) -> tuple[Device, ...]:
    """Those of `outermost` with an Ethernet header, which the programs at tc expect."""
    return tuple(device for device in outermost(egress) if device.ethernet)


def named_devices(devices: tuple[Device, ...], names: tuple[str, ...]) -> tuple[Device, ...]:
    """The devices with one of ``names``; all devices when ``names`` is empty."""
    return tuple(device for device in devices if not names or device.name in names)


def index_with_flags(device: Device) -> int:
    """Its index for `struct control`, with `TUNNEL` where the program recognizes the outer packet.

    It does so by the recorded inner headers, or because the packet is encrypted (`ENCRYPTS`).
    """
    if device.kind in ENCRYPTING:
        return device.index | TUNNEL | ENCRYPTS
    return device.index | (TUNNEL if device.kind in KEEPS_INNER_HEADERS else 0)
