"""Keeps the hooks of the attached probe attached, as the kernel reports them.

In: the devices that lead off the node, and a timer. Out: hooks on new devices, and again where
another program detached them; `AgentStats.attached`, `lost` and `reattached`.
Never: takes a pin for a proof that a hook is attached, or ends the agent.
"""

import asyncio
import logging

from kzn.agent.devices.table import Device
from kzn.agent.pins.attachments import attach_again, attached_devices, follow
from kzn.agent.select.attach import AttachedProbe
from kzn.agent.stats import AgentStats
from kzn.daemon.logs import RateLimited
from kzn.errors import KznError

log = logging.getLogger(__name__)

CHECK_SECONDS = 5.0
"""Between two checks: nothing notifies of a link that was detached, as netlink does of a filter."""
PACKETS_EVERY = 12
"""Checks from one that also sends packets to the next: a minute."""


class Hooks:
    """The hooks of one attached probe."""

    def __init__(self, attached: AttachedProbe, stats: AgentStats) -> None:
        self._probe = attached.probe
        self._store = attached.attachments
        self._maps = attached.maps
        self._checks = 0
        self._stats = stats
        self._devices: tuple[Device, ...] = ()
        self._done: tuple[Device, ...] | None = None
        """The devices that were all attached to at the last change."""
        self._attached: frozenset[int] = frozenset()
        """Devices that have been attached to and still lead off the node."""
        self._lock = asyncio.Lock()
        self._failing = RateLimited(log)

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self.check()

    async def check(self) -> None:
        """Ask the kernel which hooks are attached, and attach the others again."""
        self._checks += 1
        asks_packets = self._checks % PACKETS_EVERY == 0
        async with self._lock:
            if self._probe.kind.is_on_devices:
                await self._check_devices()
            for hook in self._probe.netfilter_hooks():
                try:
                    maps = self._maps if asks_packets else None
                    if await asyncio.to_thread(attach_again, self._probe, hook, self._store, maps):
                        self._stats.reattached[hook.name] += 1
                except KznError as error:
                    self._warn_unknown(error)

    async def follow(self, devices: tuple[Device, ...], changed_filters: frozenset[int]) -> None:
        """Attach to these devices alone, if they are others or their filters have changed."""
        if devices == self._done and not changed_filters & {device.index for device in devices}:
            return
        async with self._lock:
            self._devices = devices
            await self._attach()

    async def _check_devices(self) -> None:
        try:
            now = await asyncio.to_thread(attached_devices, self._probe, self._store)
        except KznError as error:
            self._warn_unknown(error)
            return
        if self._attached - now:
            await self._attach()

    async def _attach(self) -> None:
        probe, store, devices = self._probe, self._store, self._devices
        wanted = frozenset(device.index for device in devices)
        try:
            before = await asyncio.to_thread(attached_devices, probe, store)
            self._done = devices
            try:
                await asyncio.to_thread(follow, probe, store, devices)
            except KznError as error:
                self._done = None  # tried again at the next change
                self._failing.warn(
                    "attach", "probe %s is not attached to every uplink: %s", probe.name, error
                )
            now = await asyncio.to_thread(attached_devices, probe, store)
        except KznError as error:
            self._done = None
            self._warn_unknown(error)
            return
        before_lost = self._attached & wanted - before
        self._attached = self._attached & wanted | now
        for device in devices:
            self._stats.reattached[device.name] += device.index in before_lost & now
        self._stats.attached = tuple(d.name for d in devices if d.index in now)
        self._stats.lost = tuple(d.name for d in devices if d.index in self._attached - now)

    def _warn_unknown(self, error: KznError) -> None:
        self._failing.warn(
            "check", "cannot check whether probe %s is attached: %s", self._probe.name, error
        )
