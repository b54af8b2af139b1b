"""Probes on trial: attached side by side for a moment, and compared with what the uplinks send.

In: probes that are attached, and the devices that lead off the node. Out: what each one saw.
Never: a batch; what is counted on trial is nobody's until the trial is won.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from kzn.agent.coverage.hook_coverage import Counters, between, carried, leaving
from kzn.agent.devices.uplinks import Device, index_with_flags
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import MAX_UPLINKS
from kzn.agent.pins.attachments import AttachmentStore
from kzn.agent.select.decide import Mark, TrialResult
from kzn.probes.declaration import Probe

LOOK_SECONDS = 0.05
SHORT_SECONDS = 1.0
"""How long an agent looks at its first start on a node, at most."""
LONG_SECONDS = 10.0
"""How long when there must be traffic, since it is known that a probe does not see it."""
ENOUGH = 1 << 20
"""Bytes sent that end a trial early."""
LITTLE = 1 << 16
"""Bytes sent below which nothing is compared: a packet of our own must do."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One probe, attached; closing ``end`` takes it away."""

    probe: Probe
    maps: MapSet
    links: AttachmentStore
    end: ExitStack
    is_new: bool = True
    """No batch of it was ever shipped: nothing is in its other buffer."""


@dataclass(frozen=True, slots=True)
class Uplinks:
    """Devices that lead off the node, and of them those that a packet passes last."""

    leading: tuple[Device, ...]
    last: tuple[Device, ...]

    def tell(self, maps: MapSet, *, skip_inbound: bool) -> None:
        """Without them nobody knows what of the totals left the node."""
        indices = tuple(index_with_flags(device) for device in self.leading)
        maps.set_uplinks(indices, skip_inbound=skip_inbound)

    def can_tell(self, probe: Probe) -> bool:
        """Whether what left can be told from what stayed; on devices all has left."""
        return bool(probe.device_hooks()) or 0 < len(self.leading) <= MAX_UPLINKS


def observe(
    trials: Sequence[Trial],
    uplinks: Uplinks,
    counters: Counters,
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, TrialResult]:
    """What each probe on trial saw, by its name."""
    told = {t.probe.name: t.maps for t in trials if uplinks.can_tell(t.probe)}
    shares = _shares(told, uplinks, counters, seconds, clock, sleep)
    marks = {} if shares else _marks(trials)
    return {
        t.probe.name: TrialResult(
            t.probe.name,
            share=shares.get(t.probe.name),
            mark=marks.get(t.probe.name, "unknown"),
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
    before = carried(counters, uplinks.last)
    seen = {name: leaving(its, its.active()) for name, its in maps.items()}
    end = clock() + seconds
    sent: int | None = 0
    while sent is not None and sent < ENOUGH and clock() < end:
        sleep(LOOK_SECONDS)
        sent = between(before, carried(counters, uplinks.last))
    if sent is None or sent < LITTLE:
        return {}
    return {name: (leaving(its, its.active()) - seen[name]) / sent for name, its in maps.items()}


def _marks(trials: Sequence[Trial]) -> dict[str, Mark]:
    """What became of datagrams of our own, by probe.

    Of new sets they go to the other buffer, which is then emptied: they are in no batch of theirs.
    """
    from kzn.agent.maps import buffers  # noqa: PLC0415 - numpy, once all is loaded

    new = [(trial.maps, trial.maps.active()) for trial in trials if trial.is_new]
    for maps, active in new:
        maps.switch_and_wait(1 - active)
    marks = {trial.probe.name: _mark(trial) for trial in trials}
    for maps, active in new:
        maps.switch_and_wait(active)
        buffers.clear(maps, 1 - active)
    return marks


def _mark(trial: Trial) -> Mark:
    from kzn.agent.select.selftest import look_for  # noqa: PLC0415 - as above

    states = {found.state for found in look_for(trial.probe, trial.maps, random.SystemRandom())}
    if "ok" in states:
        return "seen"
    return "unseen" if "fail" in states else "unknown"
