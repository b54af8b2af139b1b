"""The uplinks of a real namespace, and what happens when they change."""

import asyncio
import time
from collections.abc import Callable

import pytest

from kzn.agent.devices import uplink_watch
from kzn.agent.devices.netlink_child import find_egress_devices
from kzn.lab import namespaces
from kzn.lab.lab import Lab


def test_a_nodes_uplink_is_found_among_its_pod_devices(lab: Lab) -> None:
    node = lab.node("a1")
    with namespaces.inside(node.namespace):
        found = asyncio.run(find_egress_devices())
    assert [device.name for device in found] == [node.uplink]


def test_a_change_makes_the_uplinks_uncertain_until_they_are_asked_for_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = lab.node("b1")
    told: list[int] = []

    async def scenario() -> None:
        watch = uplink_watch.UplinkWatch(lambda indices: told.append(len(indices)))
        watching = asyncio.create_task(watch.run())
        try:
            await until(lambda: told == [1])
            await asyncio.to_thread(
                lab.ip,
                [
                    "-n",
                    node.namespace,
                    "link",
                    "add",
                    "late0",
                    "type",
                    "vxlan",
                    "id",
                    "9",
                    "dstport",
                    "4789",
                ],
            )
            await until(lambda: told[:2] == [1, 0])
            await until(lambda: told[-1] == 2)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    monkeypatch.setattr(uplink_watch, "QUIET_SECONDS", 0.05)
    try:
        with namespaces.inside(node.namespace):
            asyncio.run(scenario())
    finally:
        lab.ip(["-n", node.namespace, "link", "del", "late0"])


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        await asyncio.sleep(0.01)
