"""What a change of the node's devices leads to, without a wait of the event loop for netlink."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from kzn.agent.config import AgentConfig
from kzn.agent.coverage.hook_coverage import Meter
from kzn.agent.device_updates import UNKNOWN_SECONDS, DeviceUpdates
from kzn.agent.devices.netlink import Routes
from kzn.agent.devices.netlink_messages import InterfaceAddress, Link
from kzn.agent.devices.table import Device, DeviceTable
from kzn.agent.hooks import Hooks
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import Role
from kzn.agent.pins.attachments import ProcessAttachments
from kzn.agent.select.attach import AttachedProbe
from kzn.agent.stats import AgentStats
from kzn.model.ip import pack
from kzn.probes import postrouting
from kzn.probes.settings import Settings

ETH0 = Link(2, "eth0")
ADDRESS = pack("192.0.2.7")
CONFIG = AgentConfig(
    node="a1",
    server=None,
    probe="postrouting",
    settings=Settings(),
    interval=10.0,
    pin_dir=Path("/pins"),
    listen_http=None,
    uplinks=(),
)


class FakeMaps:
    """The maps that a change is written to."""

    def __init__(self) -> None:
        self.roles: dict[int, Role] = {}
        self.own: set[bytes] = set()

    def set_skip_inbound(self, *, skip: bool) -> None:
        assert not skip

    def set_devices(self, roles: Mapping[int, Role]) -> int:
        self.roles = dict(roles)
        return 0

    def set_addresses(self, addresses: Iterable[bytes]) -> int:
        self.own = set(addresses)
        return 0


class FakeMeter:
    """A meter that may wait, as netlink does while the kernel holds RTNL."""

    def __init__(self, wait: Callable[[], object] = bool) -> None:
        self._wait = wait
        self.asked = threading.Event()
        self.devices: list[str] = []

    def measure(self, devices: tuple[Device, ...]) -> None:
        self.asked.set()
        assert self._wait() is not None
        self.devices = [device.name for device in devices]


def table(*, is_up: bool = True) -> DeviceTable:
    made = DeviceTable(())
    link = replace(ETH0, is_up=is_up)
    address = InterfaceAddress(2, ADDRESS, is_ipv4=True, prefix=24, is_link_scope=False)
    made.load([link], [address], Routes(frozenset({2}), frozenset()))
    return made


def updates(maps: FakeMaps, meter: FakeMeter, stats: AgentStats) -> DeviceUpdates:
    attached = AttachedProbe(postrouting.PROBE, cast(MapSet, maps), ProcessAttachments())
    return DeviceUpdates(CONFIG, attached, stats, cast(Meter, meter), Hooks(attached, stats))


def test_a_change_reaches_the_kernel_the_meter_and_the_metrics() -> None:
    maps, meter, stats = FakeMaps(), FakeMeter(), AgentStats("postrouting", 10.0)
    its = updates(maps, meter, stats)
    asyncio.run(its.apply(table(), frozenset()))
    assert maps.roles == table().roles()
    assert maps.own == {ADDRESS}
    assert (its.addresses, meter.devices, stats.uplinks) == ((ADDRESS,), ["eth0"], 1)
    assert stats.told_addresses == 1
    asyncio.run(its.apply(table(is_up=False), frozenset()))
    assert (meter.devices, stats.uplinks) == ([], 0)


def test_netlink_that_waits_does_not_stop_the_event_loop() -> None:
    turned = threading.Event()
    meter = FakeMeter(lambda: turned.wait(10) or None)
    its = updates(FakeMaps(), meter, AgentStats("postrouting", 10.0))

    async def apply() -> None:
        applying = asyncio.create_task(its.apply(table(), frozenset()))
        assert await asyncio.to_thread(meter.asked.wait, 10)
        assert not applying.done()
        turned.set()
        await applying

    asyncio.run(apply())
    assert meter.devices == ["eth0"]


def test_unknown_names_are_warned_of_again_while_they_are_unknown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    stats = AgentStats("postrouting", 10.0)
    attached = AttachedProbe(postrouting.PROBE, cast(MapSet, FakeMaps()), ProcessAttachments())
    meter, hooks = cast(Meter, FakeMeter()), Hooks(attached, stats)
    its = DeviceUpdates(CONFIG, attached, stats, meter, hooks, lambda: now)

    def warned(*names: str) -> int:
        made = DeviceTable(names)
        made.load([ETH0], [], Routes(frozenset(), frozenset()))
        caplog.clear()
        asyncio.run(its.apply(made, frozenset()))
        return sum("no device eth9" in message for message in caplog.messages)

    caplog.set_level(logging.WARNING)
    assert [warned("eth0", "eth9"), warned("eth0", "eth9")] == [1, 0]
    now = UNKNOWN_SECONDS
    assert [warned("eth0", "eth9"), warned("eth9", "eth10")] == [1, 1]
    assert [warned("eth0"), warned("eth0", "eth9")] == [0, 1]
