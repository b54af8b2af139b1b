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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kzn.errors import KznError

log = logging.getLogger(__name__)

GROUPS = 0x1 | 0x40 | 0x400
"""RTMGRP_LINK, RTMGRP_IPV4_ROUTE and RTMGRP_IPV6_ROUTE (include/uapi/linux/rtnetlink.h)."""
POD_KINDS = frozenset({"veth", "netkit"})
LOOPBACK = 1
ASK_SECONDS = 20.0
QUIET_SECONDS = 10.0
"""The least time between two questions, however much changes."""


@dataclass(frozen=True, slots=True)
class Device:
    """What is asked of a device; ``kind`` is empty for hardware, ``master`` 0 for none."""

    index: int
    name: str
    kind: str
    master: int
    elsewhere: bool
    """Its other end is in another network namespace."""


def leading_off(devices: Iterable[Device], gateways: frozenset[int]) -> tuple[Device, ...]:
    """Devices that may lead off the node, by index; ``gateways`` have a route to a gateway."""
    all_devices = sorted(devices, key=lambda device: device.index)
    ports: dict[int, list[Device]] = {}
    for device in all_devices:
        ports.setdefault(device.master, []).append(device)

    def stays(device: Device) -> bool:
        if device.index in gateways:
            return False
        if device.kind in POD_KINDS:
            return device.elsewhere
        members = ports.get(device.index, [])
        return device.kind == "bridge" and all(
            member.kind in POD_KINDS and member.elsewhere for member in members
        )

    return tuple(d for d in all_devices if d.index != LOOPBACK and not stays(d))


async def ask() -> tuple[Device, ...]:
    """The devices that may lead off this node; KznError when they cannot be learned."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "kzn.agent.uplinks",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(ASK_SECONDS):
            out, err = await child.communicate()
    except BaseException:
        if child.returncode is None:
            child.kill()
        raise
    if child.returncode != 0:
        words = err.decode(errors="replace").strip().splitlines() or [f"exit {child.returncode}"]
        raise KznError(f"ask netlink for the uplinks: {words[-1]}")
    return tuple(Device(**row) for row in json.loads(out))


class Watch:
    """Keeps ``tell`` informed: indices of the uplinks, or none while they are not certain."""

    def __init__(
        self, tell: Callable[[tuple[int, ...]], None], wanted: tuple[str, ...] = ()
    ) -> None:
        self._tell = tell
        self._wanted = wanted
        self.names: tuple[str, ...] = ()
        """The uplinks in force, empty while they are not certain."""

    async def run(self) -> None:
        """Watch until cancelled."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as bell:
            bell.bind((0, GROUPS))
            bell.setblocking(False)
            while True:
                await self._learn(bell)
                await _rings(bell)
                self._set(())
                await asyncio.sleep(QUIET_SECONDS)

    async def _learn(self, bell: socket.socket) -> None:
        _silence(bell)
        try:
            found = await ask()
        except (KznError, TimeoutError, OSError, ValueError) as error:
            log.warning("the uplinks are not known, so every packet is counted: %s", error)
            return
        if self._wanted:
            found = tuple(device for device in found if device.name in self._wanted)
        if not _silence(bell):  # nothing changed while it was asked
            self._set(found)

    def _set(self, found: tuple[Device, ...]) -> None:
        names = tuple(device.name for device in found)
        self._tell(tuple(device.index for device in found))
        if names and names != self.names:
            log.info("uplinks: %s", ", ".join(names))
        self.names = names


def _silence(bell: socket.socket) -> bool:
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


async def _rings(bell: socket.socket) -> None:
    loop, rang = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(bell, rang.set)
    try:
        await rang.wait()
    finally:
        loop.remove_reader(bell)


def _describe(link: Mapping[str, Any]) -> Device:
    attributes = dict(link["attrs"])
    info = dict(attributes.get("IFLA_LINKINFO", {}).get("attrs", []))
    return Device(
        index=link["index"],
        name=attributes["IFLA_IFNAME"],
        kind=info.get("IFLA_INFO_KIND", ""),
        master=attributes.get("IFLA_MASTER") or 0,
        elsewhere=attributes.get("IFLA_LINK_NETNSID") is not None,
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
    sys.stdout.write(json.dumps([asdict(device) for device in leading_off(links, gateways)]))


if __name__ == "__main__":
    _answer()
