"""Which interfaces lead off this node: asked of netlink, and asked again when it says so.

A device stays on the node only where that is certain: a veth or netkit whose other end is in
another network namespace, or a bridge of nothing but those, and no route leads through it to a
gateway. Everything else that is up may lead off the node, tunnels included.

pyroute2 answers, in a child process that lives for a tenth of a second: in the agent itself it
would cost 10 MB for good. A plain netlink socket tells when to ask again; from that moment until
the answer nothing is taken to stay on the node.
"""

import asyncio
import json
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kzn.agent.maps.structs import ENCRYPTS, TUNNEL
from kzn.errors import KznError

log = logging.getLogger(__name__)

GROUPS = 0x1 | 0x40 | 0x400
"""RTMGRP_LINK, RTMGRP_IPV4_ROUTE and RTMGRP_IPV6_ROUTE (include/uapi/linux/rtnetlink.h)."""
POD_KINDS = frozenset({"veth", "netkit"})
TUNNELS = frozenset(
    {"amt", "bareudp", "erspan", "geneve", "gre", "gretap", "gtp", "ip6erspan", "ip6gre"}
    | {"ip6gretap", "ip6tnl", "ipip", "l2tp", "sit", "tun", "vti", "vti6", "vxlan", "wireguard"}
    | {"xfrm"}
)
"""Kinds of devices that wrap a packet into another one, which leaves by another device."""
ENCRYPTING = frozenset({"vti", "vti6", "wireguard", "xfrm"})
"""Those that encrypt: what they send is charged to the ends of the tunnel."""
KEEPS_INNER_HEADERS = TUNNELS - ENCRYPTING - {"amt", "gtp", "l2tp", "tun"}
"""Those whose packets keep note of the headers inside (iptunnel_handle_offloads)."""
NO_EGRESS = frozenset({"dummy", "ifb", "nlmon", "vcan"})
ARPHRD_ETHER = 1  # include/uapi/linux/if_arp.h
LOOPBACK = 1
ASK_SECONDS = 20.0
QUIET_SECONDS = 10.0
"""The least time between two questions, however much changes."""
SETTLE_SECONDS = 0.5
"""A change is rarely alone."""


@dataclass(frozen=True, slots=True)
class Device:
    """What is asked of a device; ``kind`` is empty for hardware, ``master`` 0 for none."""

    index: int
    name: str
    kind: str
    master: int
    peer_in_other_netns: bool
    """Its other end is in another network namespace."""
    lower_device: int = 0
    """The device of this node that its packets leave by (a VLAN's, a macvlan's), 0 for none."""
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


def tc_attachable(leading: Iterable[Device]) -> tuple[Device, ...]:
    """Those of `outermost` that take a program at tc: with an Ethernet header."""
    return tuple(device for device in outermost(leading) if device.ethernet)


def outermost(leading: Iterable[Device]) -> tuple[Device, ...]:
    """Of devices that lead off, those that a packet leaves by last: each packet passes one.

    What goes into a tunnel, a VLAN, a bond or a bridge leaves by another of them.
    """
    devices = tuple(leading)
    masters = {device.master for device in devices}

    def is_last(device: Device) -> bool:
        if device.kind in POD_KINDS:
            return device.peer_in_other_netns
        return not device.lower_device and device.kind not in TUNNELS | NO_EGRESS

    return tuple(d for d in devices if d.index not in masters and is_last(d))


async def ask() -> tuple[Device, ...]:
    """The devices that may lead off this node; KznError when they cannot be learned."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "kzn.agent.devices.uplinks",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(ASK_SECONDS):
            out, err = await child.communicate()
    except BaseException:
        with suppress(ProcessLookupError):
            child.kill()
        await child.communicate()  # else its pipes outlive the event loop, which is told on stderr
        raise
    if child.returncode != 0:
        words = err.decode(errors="replace").strip().splitlines() or [f"exit {child.returncode}"]
        raise KznError(f"ask netlink for the uplinks: {words[-1]}")
    return tuple(Device(**row) for row in json.loads(out))


def index_with_flags(device: Device) -> int:
    """Its index, with `TUNNEL` when what it wraps up is known again: by notes, or as encrypted."""
    if device.kind in ENCRYPTING:
        return device.index | TUNNEL | ENCRYPTS
    return device.index | (TUNNEL if device.kind in KEEPS_INNER_HEADERS else 0)


class Watch:
    """Keeps ``tell`` informed: indices of the uplinks, or none while they are not certain.

    The indices are `index_with_flags`.

    ``follow`` is told of the devices themselves, before, and only when they are certain.
    """

    def __init__(
        self,
        tell: Callable[[tuple[int, ...]], None],
        wanted: tuple[str, ...] = (),
        follow: Callable[[tuple[Device, ...]], Awaitable[None]] | None = None,
    ) -> None:
        self._tell = tell
        self._wanted = wanted
        self._follow = follow
        self.names: tuple[str, ...] = ()
        """The uplinks in force, empty while they are not certain."""

    async def run(self) -> None:
        """Watch until cancelled."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as bell:
            bell.bind((0, GROUPS))
            bell.setblocking(False)
            clock = asyncio.get_running_loop().time
            while True:
                asked = clock()
                if await self._learn(bell):
                    await _wait_for_change(bell)
                self._set(())
                await asyncio.sleep(max(SETTLE_SECONDS, asked + QUIET_SECONDS - clock()))

    async def _learn(self, bell: socket.socket) -> bool:
        """Whether what was learned holds until the bell rings; else it must be asked again."""
        _drain_notifications(bell)
        try:
            found = chosen(await ask(), self._wanted)
        except (KznError, TimeoutError, OSError, ValueError) as error:
            log.warning("the uplinks are not known, so every packet is counted: %s", error)
            return True
        if _drain_notifications(bell):  # it changed while it was asked
            return False
        if self._follow:
            await self._follow(found)
        self._set(found)
        return True

    def _set(self, found: tuple[Device, ...]) -> None:
        names = tuple(device.name for device in found)
        self._tell(tuple(index_with_flags(device) for device in found))
        if names and names != self.names:
            log.info("uplinks: %s", ", ".join(names))
        self.names = names


def chosen(found: tuple[Device, ...], wanted: tuple[str, ...]) -> tuple[Device, ...]:
    """Those of the names wanted; all when none is."""
    return tuple(device for device in found if not wanted or device.name in wanted)


def _drain_notifications(bell: socket.socket) -> bool:
    """Take all notices off the socket; True when there was one, or when some were lost."""
    rang = False
    while True:
        try:
            bell.recv(1 << 16)
        except BlockingIOError:
            return rang
        except OSError:  # ENOBUFS: more came than the socket holds
            pass
        rang = True


async def _wait_for_change(bell: socket.socket) -> None:
    loop, rang = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(bell, rang.set)
    try:
        await rang.wait()
    finally:
        loop.remove_reader(bell)


def _describe(link: Mapping[str, Any]) -> Device:
    attributes = dict(link["attrs"])
    info = dict(attributes.get("IFLA_LINKINFO", {}).get("attrs", []))
    peer_in_other_netns = attributes.get("IFLA_LINK_NETNSID") is not None
    return Device(
        index=link["index"],
        name=attributes["IFLA_IFNAME"],
        kind=info.get("IFLA_INFO_KIND", ""),
        master=attributes.get("IFLA_MASTER") or 0,
        peer_in_other_netns=peer_in_other_netns,
        lower_device=0 if peer_in_other_netns else attributes.get("IFLA_LINK") or 0,
        ethernet=link["ifi_type"] == ARPHRD_ETHER,
    )


def _gateways(routes: Iterable[Mapping[str, Any]]) -> frozenset[int]:
    found: set[int] = set()
    for route in routes:
        attributes = dict(route["attrs"])
        hops = [
            attributes,
            *(dict(hop["attrs"]) | hop for hop in attributes.get("RTA_MULTIPATH", [])),
        ]
        is_default = route["dst_len"] == 0
        for hop in hops:
            if is_default or hop.get("RTA_GATEWAY") or hop.get("RTA_VIA"):
                found.add(hop.get("RTA_OIF") or hop.get("oif") or 0)
    return frozenset(found)


def _answer() -> None:
    """The child: one JSON list on stdout."""
    from dataclasses import asdict  # noqa: PLC0415 - only the child

    from pyroute2 import IPRoute  # noqa: PLC0415 - only the child: 25 MB

    with IPRoute() as netlink:
        links = [_describe(link) for link in netlink.get_links()]
        gateways = _gateways(netlink.get_routes())
    sys.stdout.write(json.dumps([asdict(device) for device in egress_devices(links, gateways)]))


if __name__ == "__main__":
    _answer()
