"""Probes on trial: attached side by side for a moment, and compared with what the uplinks sent.

In: attached probes, and the devices that lead off the node. Out: what each probe saw.
Never: ships what a new set counts while it is on trial.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from kzn.agent.coverage.hook_coverage import Counters, between, carried, leaving
from kzn.agent.devices.table import Device, DeviceTable
from kzn.agent.maps.mapset import MapSet
from kzn.agent.pins.attachments import AttachmentStore
from kzn.agent.select.decide import TestPackets, TrialResult
from kzn.probes.declaration import Probe

POLL_SECONDS = 0.05
SHORT_SECONDS = 1.0
"""The longest trial at the first start on a node."""
LONG_SECONDS = 10.0
"""The longest trial after a suspicion: there is traffic that the pinned probe does not see."""
ENOUGH_BYTES = 1 << 20
"""A trial ends early once the uplinks have sent this much."""
LEAST_BYTES = 1 << 16
"""Below this nothing is compared, and test packets decide."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One attached probe; closing ``cleanup`` detaches it."""

    probe: Probe
    maps: MapSet
    attachments: AttachmentStore
    cleanup: ExitStack
    is_new: bool = True
    """No batch of the set was ever shipped, so its inactive buffer is empty."""


@dataclass(frozen=True, slots=True)
class Uplinks:
    """The devices of the node, and the outermost of them, which packets pass last."""

    table: DeviceTable
    outermost: tuple[Device, ...]

    def write_to(self, maps: MapSet, *, skip_inbound: bool) -> None:
        """Write roles and addresses to the maps, from which a program knows what left the node."""
        maps.set_devices(self.table.roles())
        maps.set_addresses(self.table.addresses())
        maps.set_skip_inbound(skip=skip_inbound)

    def can_measure(self, probe: Probe) -> bool:
        """Whether the probe's totals show what left the node; on devices everything has left."""
        return probe.kind.is_on_devices or bool(self.outermost)


def observe(
    trials: Sequence[Trial],
    uplinks: Uplinks,
    counters: Counters,
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, TrialResult]:
    """What each probe on trial saw, by name; lasts ``seconds`` at most, but for test packets."""
    measurable = {t.probe.name: t.maps for t in trials if uplinks.can_measure(t.probe)}
    shares = _shares(measurable, uplinks, counters, seconds, clock, sleep)
    test_packets = {} if shares else _send_test_packets(trials, sleep)
    return {
        t.probe.name: TrialResult(
            t.probe.name,
            share=shares.get(t.probe.name),
            test_packets=test_packets.get(t.probe.name, "unknown"),
        )
        for t in trials
    }


def _shares(
    maps: Mapping[str, MapSet],
    uplinks: Uplinks,
    counters: Counters,
    seconds: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> dict[str, float]:
    if not maps:
        return {}
    before = carried(counters, uplinks.outermost)
    seen = {name: leaving(its, its.active()) for name, its in maps.items()}
    end = clock() + seconds
    sent: int | None = 0
    while sent is not None and sent < ENOUGH_BYTES and clock() < end:
        sleep(POLL_SECONDS)
        sent = between(before, carried(counters, uplinks.outermost))
    if sent is None or sent < LEAST_BYTES:
        return {}
    return {name: (leaving(its, its.active()) - seen[name]) / sent for name, its in maps.items()}


def _send_test_packets(
    trials: Sequence[Trial], sleep: Callable[[float], None]
) -> dict[str, TestPackets]:
    """Whether each probe saw the packets of the self-test.

    New sets count them in the inactive buffer, which is then cleared: no batch has them.
    """
    from kzn.agent.maps import buffers  # noqa: PLC0415 - numpy, after the programs (main.py)

    new = [(trial.maps, trial.maps.active()) for trial in trials if trial.is_new]
    for maps, active in new:
        maps.switch_and_wait(1 - active)
    seen = {trial.probe.name: _sees_test_packets(trial, sleep) for trial in trials}
    for maps, active in new:
        maps.switch_and_wait(active)
        buffers.clear(maps, 1 - active)
    return seen


def _sees_test_packets(trial: Trial, sleep: Callable[[float], None]) -> TestPackets:
    from kzn.agent.select.selftest import run_selftest  # noqa: PLC0415 - as above

    rng = random.SystemRandom()
    results = run_selftest(trial.probe.families, trial.maps, rng, sleep=sleep)
    outcomes = {result.outcome for result in results}
    if "counted" in outcomes:
        return "seen"
    return "unseen" if outcomes & {"unseen", "miscounted"} else "unknown"
