"""Puts one probe into the kernel: the one that was named, or the one that `auto` finds.

In: what the agent is told. Out: a probe that is attached, alone, and its maps.
Never: two probes whose batches are shipped; nothing is loaded or attached after this, but for
uplinks that come later.

`auto` keeps the probe that is pinned and counts, unless an agent has left word that it misses
traffic (watchdog.py). Else it tries the candidates, side by side: those of one kind of hook share a
place, so that the first of them that can be attached stands for all.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from kzn.agent.config import AgentConfig
from kzn.agent.devices import uplinks
from kzn.agent.devices.link_stats import LinkStats
from kzn.agent.devices.netlink_child import find_egress_devices
from kzn.agent.devices.uplinks import Device
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import boottime_ns
from kzn.agent.pins import directory, install
from kzn.agent.pins.attachments import AttachmentStore, PinnedAttachments, ProcessAttachments
from kzn.agent.pins.notes import LastTrial, Notes
from kzn.agent.select import decide, takeover, trial
from kzn.agent.select.candidates import Candidates, hook_point
from kzn.agent.select.decide import Choice, TrialResult
from kzn.agent.select.trial import LONG_SECONDS, SHORT_SECONDS, Trial, Uplinks
from kzn.errors import KznError
from kzn.probes.declaration import Probe
from kzn.probes.registry import AUTO

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AttachedProbe:
    """A probe that is attached: alone, but for those of other agents."""

    probe: Probe
    maps: MapSet
    links: AttachmentStore
    alternatives: tuple[str, ...] = ()
    """With `auto`: others that could be tried in its place."""
    uncounted_bytes: int = 0
    """Bytes that may be in no batch, because another probe gave way to it just now."""


@contextmanager
def attach_probe(config: AgentConfig, candidates: Sequence[Probe]) -> Iterator[AttachedProbe]:
    """Attach for the length of the block, and if pinned for longer.

    ``candidates`` is the one that was named, or all that `auto` may take, in order.
    UnsupportedError when this kernel or process cannot, KernelError when the kernel refuses.
    """
    with ExitStack() as stack:
        if config.server is None:
            yield _UnpinnedSelection(config, candidates, stack).begin()
        else:
            yield _PinnedSelection(config, candidates, stack).begin()


class _Selection:
    """What starting with pins and without have in common."""

    def __init__(self, config: AgentConfig, candidates: Sequence[Probe], stack: ExitStack) -> None:
        self._config = config
        self._order = [probe.name for probe in candidates]
        self._able = Candidates.of(candidates)
        self._stack = stack
        self._uplinks: Uplinks | None = None
        self._is_auto = config.probe == AUTO

    def _try(self, probe: Probe) -> Trial:
        raise NotImplementedError

    def _devices(self, probe: Probe) -> tuple[Device, ...]:
        """Those that the probe's hooks are put on."""
        if not probe.device_hooks():
            return ()
        found = self._known().last
        return found if self._config.uplinks else tuple(d for d in found if d.ethernet)

    def _known(self) -> Uplinks:
        if self._uplinks is None:
            self._uplinks = _ask(self._config)
        return self._uplinks

    def _examine(self, seconds: float) -> tuple[Choice, Trial]:
        """Try all and end the trials of those that lose."""
        trials = self._trials()
        if not trials:
            raise self._able.none()
        tried = self._observe(trials, seconds)
        for name, reason in self._able.reasons().items():
            tried[name] = TrialResult(name, refused=reason)
        choice = decide.decide([tried[name] for name in self._order if name in tried])
        for loser in trials:
            if loser.probe.name != choice.name:
                loser.end.close()
        return choice, next(t for t in trials if t.probe.name == choice.name)

    def _trials(self) -> list[Trial]:
        trials: list[Trial] = []
        for probe in self._able.probes:
            if any(hook_point(probe) == hook_point(other.probe) for other in trials):
                continue
            try:
                self._require_device(probe)
                trials.append(self._try(probe))
            except KznError as error:
                self._able = self._able.without(probe, error)
        return trials

    def _require_device(self, probe: Probe) -> None:
        if probe.device_hooks() and not self._devices(probe):
            raise KznError("no device that leads off this node takes a program")

    def _observe(self, trials: list[Trial], seconds: float) -> dict[str, TrialResult]:
        if len(trials) == 1:
            return {trials[0].probe.name: TrialResult(trials[0].probe.name)}
        known = self._known()
        for one in trials:
            if self._config.uplinks is not None:
                known.tell(one.maps, skip_inbound=self._config.skip_inbound)
        with LinkStats() as counters:
            return trial.observe(trials, known, counters, seconds)


class _UnpinnedSelection(_Selection):
    def begin(self) -> AttachedProbe:
        """Held by this process alone, beside whatever is pinned."""
        if len(self._able.probes) == 1:
            won = self._try(self._able.probes[0])
        else:
            choice, won = self._examine(SHORT_SECONDS)
            log.info("probe %s", choice.sentence())
        return AttachedProbe(won.probe, won.maps, won.links)

    def _try(self, probe: Probe) -> Trial:
        held, end = ProcessAttachments(), self._stack.enter_context(ExitStack())
        devices = self._devices(probe)
        maps = end.enter_context(install.unpinned(probe, self._config.settings, devices, held))
        return Trial(probe, maps, held, end)


class _PinnedSelection(_Selection):
    def begin(self) -> AttachedProbe:
        """What is pinned if it serves, else a new set in its place."""
        pin_dir = self._config.pin_dir
        self._stack.enter_context(directory.locked(pin_dir))
        takeover.remove_unfinished(pin_dir)
        self._current = takeover.current(pin_dir)
        takeover.set_aside(pin_dir, keep=self._current)
        self._remembered = Notes(pin_dir)
        if not self._is_auto:
            return self._alone(self._able.probes[0])
        return self._keep() or self._choose()

    def _keep(self) -> AttachedProbe | None:
        """The probe that is pinned, unless there is word against it."""
        if self._remembered.distrusted:
            return None
        probe = next((p for p in self._able.probes if p.name == self._current), None)
        if probe is None:
            return None
        try:
            attach_probe = self._alone(probe)
        except KznError as error:
            log.warning("%s cannot stay: %s", probe.name, error.message.partition("\n")[0])
            self._able = self._able.without(probe, error)
            self._current = takeover.current(self._config.pin_dir)  # it may have gone half way
            if not self._able.probes:
                raise
            return None
        log.info("probe %s: it is pinned here, and nobody saw it miss traffic", probe.name)
        return attach_probe

    def _choose(self) -> AttachedProbe:
        is_suspected = self._remembered.distrusted
        choice, won = self._examine(LONG_SECONDS if is_suspected else SHORT_SECONDS)
        log.info("probe %s", choice.sentence())
        stays = won.probe.name == self._current
        if is_suspected:
            self._note(in_vain=stays)
        if stays:
            return self._begun(won.probe, won.maps)
        return self._win(won)

    def _note(self, *, in_vain: bool) -> None:
        last = self._remembered.examined()
        times = last.in_vain + 1 if last and in_vain else int(in_vain)
        with directory.file_errors(self._config.pin_dir):
            self._remembered.note(LastTrial(boottime_ns() / 1e9, times))

    def _win(self, won: Trial) -> AttachedProbe:
        """The set on trial becomes the one that counts."""
        pin_dir, name = self._config.pin_dir, won.probe.name
        uncounted_bytes = 0
        if self._current:
            uncounted_bytes = takeover.replace_probe(pin_dir, self._current, name, won.maps)
        else:
            takeover.take(pin_dir, name)
        won.end.pop_all()
        return self._begun(won.probe, self._stack.enter_context(won.maps), uncounted_bytes)

    def _alone(self, probe: Probe) -> AttachedProbe:
        """This probe and no other, without a trial."""
        if self._current and self._current != probe.name:
            return self._win(self._try(probe))
        return self._begun(probe, self._stack.enter_context(self._install(probe)))

    def _try(self, probe: Probe) -> Trial:
        end = self._stack.enter_context(ExitStack())
        if probe.name == self._current:
            maps = end.enter_context(self._install(probe))
            links = PinnedAttachments(self._config.pin_dir / probe.name)
            return Trial(probe, maps, links, end, is_new=False)
        folder = directory.new(self._config.pin_dir / probe.name)
        end.callback(install.remove, folder)
        maps = install.on_trial(
            probe, self._config.settings, self._config.pin_dir, self._devices(probe)
        )
        end.enter_context(maps)
        return Trial(probe, maps, PinnedAttachments(folder), end)

    def _install(self, probe: Probe) -> MapSet:
        config, devices = self._config, self._devices(probe)
        return install.install(probe, config.settings, config.pin_dir, devices)

    def _begun(self, probe: Probe, maps: MapSet, uncounted_bytes: int = 0) -> AttachedProbe:
        alternatives = self._able.alternatives(probe) if self._is_auto else ()
        return AttachedProbe(
            probe,
            maps,
            PinnedAttachments(self._config.pin_dir / probe.name),
            alternatives,
            uncounted_bytes,
        )


def _ask(config: AgentConfig) -> Uplinks:
    found = asyncio.run(find_egress_devices())
    if config.uplinks:
        named = uplinks.named_devices(found, config.uplinks)
        return Uplinks(named, named)
    return Uplinks(found, uplinks.outermost(found))
