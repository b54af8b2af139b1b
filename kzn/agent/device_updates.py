"""Carries what is known of this node's devices to everything that depends on it.

In: the device table after each change. Out: roles and addresses in the kernel's maps, hooks on the
devices, the devices that coverage is measured at, `AgentStats.uplinks`.
Never: a question to netlink.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from kzn.agent.config import AgentConfig
from kzn.agent.coverage.hook_coverage import Meter
from kzn.agent.devices.table import Device, DeviceTable
from kzn.agent.hooks import Hooks
from kzn.agent.maps.senders import Senders
from kzn.agent.select.attach import AttachedProbe
from kzn.agent.stats import AgentStats
from kzn.daemon.logs import RateLimited

log = logging.getLogger(__name__)

UNKNOWN_SECONDS = 300.0
"""Between two warnings of the same unknown names, while devices change."""


class DeviceUpdates:
    """Applies device tables to one attached probe.

    ``addresses`` are those of this node that the server is told; None while they are not known.
    ``senders`` are what is behind pods' devices.
    """

    def __init__(
        self,
        config: AgentConfig,
        attached: AttachedProbe,
        stats: AgentStats,
        meter: Meter,
        hooks: Hooks,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.addresses: tuple[bytes, ...] | None = None
        self.senders = Senders()
        self.known = asyncio.Event()
        """Set once a first table was applied."""
        self._attached = attached
        self._hooks = hooks
        self._stats = stats
        self._meter = meter
        self._accounts_local = config.uplinks is None
        self._measured: tuple[Device, ...] | None = None
        self._unknown = RateLimited(log, UNKNOWN_SECONDS, clock)
        self._missing = 0
        self._headerless = ""
        attached.maps.set_skip_inbound(skip=config.skip_inbound)

    async def apply(self, table: DeviceTable, changed_filters: frozenset[int]) -> None:
        """Write what differs; ``changed_filters`` are devices whose qdiscs or filters changed."""
        self.addresses = table.told_addresses()
        self._stats.told_addresses = len(self.addresses)
        self.senders = table.senders().after(self.senders)
        self.known.set()
        maps = self._attached.maps
        missing = maps.set_devices({} if self._accounts_local else table.roles())
        self._warn(missing + maps.set_addresses(table.addresses()), table.unknown_names())
        outermost = table.outermost()
        measured = tuple(device for device in outermost if device.is_up)
        self._stats.uplinks = len(measured)
        if measured != self._measured:
            self._measured = measured
            await asyncio.to_thread(self._meter.measure, measured)  # netlink may wait for RTNL
            names = ", ".join(device.name for device in measured)
            log.info("uplinks (devices that lead off this node): %s", names or "none")
        if self._attached.probe.kind.is_on_devices:
            probe = self._attached.probe
            devices = tuple(d for d in outermost if probe.takes(is_ethernet=d.is_ethernet))
            self._warn_of_headerless(set(outermost) - set(devices))
            await self._hooks.follow(devices, changed_filters)

    def _warn_of_headerless(self, devices: AbstractSet[Device]) -> None:
        names = ", ".join(sorted(device.name for device in devices if device.is_up))
        if names and names != self._headerless:
            log.warning(
                "probe %s counts nothing at %s: it has no program for devices without an Ethernet"
                " header (kzn's own probes have)",
                self._attached.probe.name,
                names,
            )
        self._headerless = names

    def _warn(self, missing: int, unknown: tuple[str, ...]) -> None:
        if missing and missing != self._missing:
            log.warning(
                "%d devices or addresses of this node do not fit in the kernel's maps: their"
                " traffic is accounted even if it stays on the node",
                missing,
            )
        if unknown:
            names = ", ".join(unknown)
            self._unknown.warn(
                names,
                "--uplink: this node has no device %s; what leaves by another one is not accounted"
                " (ignored, local)",
                names,
            )
        else:
            self._unknown.resolved_all()
        self._missing = missing
