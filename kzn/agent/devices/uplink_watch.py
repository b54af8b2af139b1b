"""Keeps the agent's list of uplinks current: asks netlink, and again after each change.

A netlink socket in the agent's process receives the kernel's notifications. From a notification
until the next answer the uplinks count as unknown, so no traffic is taken to stay on the node.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

from kzn.agent.devices.netlink_child import find_egress_devices
from kzn.agent.devices.uplinks import Device, index_with_flags, named_devices
from kzn.errors import KznError

log = logging.getLogger(__name__)

GROUPS = 0x1 | 0x40 | 0x400
"""RTMGRP_LINK, RTMGRP_IPV4_ROUTE and RTMGRP_IPV6_ROUTE (include/uapi/linux/rtnetlink.h)."""
QUIET_SECONDS = 10.0
"""The least time between two questions, however often the network changes."""
SETTLE_SECONDS = 0.5
"""Wait after a notification: changes rarely come alone."""


class UplinkWatch:
    """Calls ``on_indices`` with the uplinks' `index_with_flags`, or () while they are unknown.

    ``on_devices`` is called before it, with the devices themselves, and only when they are known.
    ``names`` limits the uplinks to these; empty for all.
    """

    def __init__(
        self,
        on_indices: Callable[[tuple[int, ...]], None],
        names: tuple[str, ...] = (),
        on_devices: Callable[[tuple[Device, ...]], Awaitable[None]] | None = None,
    ) -> None:
        self._on_indices = on_indices
        self._names = names
        self._on_devices = on_devices
        self._logged: tuple[str, ...] = ()

    async def run(self) -> None:
        """Watch until cancelled."""
        kind = socket.SOCK_RAW
        with socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as notifications:
            notifications.bind((0, GROUPS))
            notifications.setblocking(False)
            clock = asyncio.get_running_loop().time
            while True:
                asked = clock()
                if await self._update(notifications):
                    await _wait_for_change(notifications)
                self._on_indices(())
                await asyncio.sleep(max(SETTLE_SECONDS, asked + QUIET_SECONDS - clock()))

    async def _update(self, notifications: socket.socket) -> bool:
        """Ask once; False when the network changed meanwhile, so that it must be asked again."""
        _drain_notifications(notifications)
        try:
            found = named_devices(await find_egress_devices(), self._names)
        except (KznError, OSError, ValueError) as error:
            log.warning("uplinks unknown, so every packet is counted: %s", error)
            return True
        if _drain_notifications(notifications):
            return False
        if self._on_devices:
            await self._on_devices(found)
        self._on_indices(tuple(index_with_flags(device) for device in found))
        self._log(tuple(device.name for device in found))
        return True

    def _log(self, names: tuple[str, ...]) -> None:
        if names and names != self._logged:
            log.info("uplinks (devices that lead off this node): %s", ", ".join(names))
        self._logged = names


def _drain_notifications(notifications: socket.socket) -> bool:
    """Empty the socket; True when there was a notification, or when the kernel lost some."""
    changed = False
    while True:
        try:
            notifications.recv(1 << 16)
        except BlockingIOError:
            return changed
        except OSError:  # ENOBUFS: more came than the socket holds
            pass
        changed = True


async def _wait_for_change(notifications: socket.socket) -> None:
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(notifications, changed.set)
    try:
        await changed.wait()
    finally:
        loop.remove_reader(notifications)
