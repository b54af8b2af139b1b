"""Attaches the probe that is named, or the one that `auto` selects (the states: __init__.py).

In: the configuration and the probes that may be tried, in order.
Out: `AttachedProbe`. Never: a second probe that ships; nothing is loaded after this, and nothing
attached but to devices that appear later.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from kzn.agent.config import AgentConfig
from kzn.agent.devices.datapath import read_facts
from kzn.agent.devices.link_stats import LinkStats
from kzn.agent.devices.table import Device, read_devices
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import boottime_ns
from kzn.agent.pins import directory, install
from kzn.agent.pins.attachments import AttachmentStore, PinnedAttachments, ProcessAttachments
from kzn.agent.pins.notes import LastTrial, Notes
from kzn.agent.pins.one_agent import only_agent
from kzn.agent.select import decide, takeover, trial
from kzn.agent.select.candidates import Candidates, hook_point
from kzn.agent.select.decide import Choice, TrialResult
from kzn.agent.select.trial import LONG_SECONDS, SHORT_SECONDS, Trial, Uplinks
from kzn.daemon.stop_flag import StopFlag
from kzn.errors import KznError
from kzn.probes.declaration import Probe
from kzn.probes.registry import AUTO

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AttachedProbe:
    """The probe that this agent reads; probes of other agents on the node may be attached too."""

    probe: Probe
    maps: MapSet
    attachments: AttachmentStore
    alternatives: tuple[str, ...] = ()
    """With `auto`: other probes to try if this one turns out to miss traffic."""
    uncounted_bytes: int = 0
    """Upper bound of what is in no batch because this set has just replaced another."""
    lost: takeover.Lost = takeover.Lost()
    """Retired sets that were removed undrained, because there were too many."""
    saw_traffic: bool = False
    """Whether a trial on the node's traffic selected it; test packets are none."""


@contextmanager
def attach_probe(
    config: AgentConfig, probes: Sequence[Probe], stop: StopFlag
) -> Iterator[AttachedProbe]:
    """Attach one of ``probes`` for the length of the block; if pinned, it stays attached.

    ``probes`` is the one that was named, or all that `auto` may select, in order.
    UnsupportedError when this kernel or process cannot, KernelError when the kernel refuses.
    StopRequested between two steps once ``stop`` is set: what was on trial is detached.
    """
    with ExitStack() as stack:
        kind = _UnpinnedSelection if config.server is None else _PinnedSelection
        selection = kind(config, probes, stack, stop)
        attached = selection.attach()
        selection.write_devices(attached.maps)
        yield attached


class _Selection(ABC):
    """What selecting with and without pins have in common."""

    def __init__(
        self, config: AgentConfig, probes: Sequence[Probe], stack: ExitStack, stop: StopFlag
    ) -> None:
        self._config = config
        self._stop = stop
        self._order = [probe.name for probe in probes]
        self._candidates = Candidates.of(probes)
        self._stack = stack
        self._uplinks: Uplinks | None = None
        self._is_auto = config.probe == AUTO
        self._uncounted_bytes = 0

    @abstractmethod
    def attach(self) -> AttachedProbe: ...

    @abstractmethod
    def _start_trial(self, probe: Probe) -> Trial: ...

    def write_devices(self, maps: MapSet) -> None:
        """At once, not when the daemon runs: what enters a tunnel is accounted twice until then."""
        if self._config.uplinks is not None:
            self._find_uplinks().write_to(maps, skip_inbound=self._config.skip_inbound)

    def _devices(self, probe: Probe) -> tuple[Device, ...]:
        """The devices that the probe is attached to."""
        if not probe.kind.is_on_devices:
            return ()
        return tuple(
            device
            for device in self._find_uplinks().outermost
            if probe.takes(is_ethernet=device.is_ethernet)
        )

    def _find_uplinks(self) -> Uplinks:
        """By netlink, once."""
        if self._uplinks is None:
            table = read_devices(self._config.uplinks or ())
            self._uplinks = Uplinks(table, table.outermost())
        return self._uplinks

    def _compare(self, seconds: float) -> tuple[Choice, Trial]:
        """Try all candidates, decide, and end the trials of the others."""
        trials = self._start_trials()
        if not trials:
            raise self._candidates.none_left()
        results = self._observe(trials, seconds)
        self._stop.check()
        results = self._with_doubts(trials, results)
        for name, reason in self._candidates.reasons().items():
            results[name] = TrialResult(name, rejected=reason)
        choice = decide.decide([results[name] for name in self._order if name in results])
        for one in trials:
            if one.probe.name != choice.name:
                one.cleanup.close()
        return choice, next(one for one in trials if one.probe.name == choice.name)

    def _with_doubts(
        self, trials: Sequence[Trial], results: dict[str, TrialResult]
    ) -> dict[str, TrialResult]:
        """The results, with what is known to carry pods' packets past netfilter."""
        doubt = self._doubt()
        return results | {
            one.probe.name: replace(results[one.probe.name], doubt=doubt)
            for one in trials
            if doubt and not one.probe.kind.is_on_devices
        }

    def _doubt(self) -> str:
        """What carries pods' packets past netfilter on this node; empty for nothing known."""
        facts = read_facts(self._find_uplinks().table, self._config.pin_dir)
        return next((bypass.sentence() for bypass in facts.bypasses()), "")

    def _start_trials(self) -> list[Trial]:
        """One for each hook point: probes of one point see the same packets."""
        trials: list[Trial] = []
        for probe in self._candidates.probes:
            if any(hook_point(probe) == hook_point(other.probe) for other in trials):
                continue
            self._stop.check()
            try:
                self._require_device(probe)
                trials.append(self._start_trial(probe))
            except KznError as error:
                self._candidates = self._candidates.without(probe, error)
        return trials

    def _require_device(self, probe: Probe) -> None:
        if probe.kind.is_on_devices and not self._devices(probe):
            raise KznError("no uplink of this node takes a tc program")

    def _observe(self, trials: list[Trial], seconds: float) -> dict[str, TrialResult]:
        if len(trials) == 1:
            return {trials[0].probe.name: TrialResult(trials[0].probe.name)}
        found = self._find_uplinks()
        for one in trials:
            self.write_devices(one.maps)
        with LinkStats() as counters:
            return trial.observe(trials, found, counters, seconds, sleep=self._stop.sleep)


class _UnpinnedSelection(_Selection):
    """Attached by this process alone, beside programs that are pinned."""

    def attach(self) -> AttachedProbe:
        """The only candidate, or the best of several."""
        if len(self._candidates.probes) == 1:
            selected = self._start_trial(self._candidates.probes[0])
        else:
            choice, selected = self._compare(SHORT_SECONDS)
            log.info("selected probe %s", choice.sentence())
        return AttachedProbe(selected.probe, selected.maps, selected.attachments)

    def _start_trial(self, probe: Probe) -> Trial:
        held, cleanup = ProcessAttachments(), self._stack.enter_context(ExitStack())
        devices = self._devices(probe)
        maps = cleanup.enter_context(install.unpinned(probe, self._config.settings, devices, held))
        return Trial(probe, maps, held, cleanup)


class _PinnedSelection(_Selection):
    """Attached by pins, in place of programs that are pinned."""

    def __init__(
        self, config: AgentConfig, probes: Sequence[Probe], stack: ExitStack, stop: StopFlag
    ) -> None:
        super().__init__(config, probes, stack, stop)
        self._trial_sets: dict[str, install.TrialSet] = {}

    def attach(self) -> AttachedProbe:
        """The pinned set if it serves, else a new one in its place."""
        pin_dir = self._config.pin_dir
        self._stack.enter_context(directory.locked(pin_dir))
        self._stack.enter_context(only_agent())
        self._uncounted_bytes += takeover.finish_or_remove(pin_dir)
        self._current = takeover.current_probe(pin_dir)
        takeover.retire_others(pin_dir, self._current)
        self._notes = Notes(pin_dir)
        attached = self._select()
        return replace(attached, lost=takeover.drop_excess(pin_dir))

    def _select(self) -> AttachedProbe:
        if not self._is_auto:
            return self._attach_untried(self._candidates.probes[0])
        return self._keep_current() or self._select_by_trial()

    def _keep_current(self) -> AttachedProbe | None:
        """The pinned probe; None when there is none, it is doubted, or it cannot be attached."""
        if self._notes.suspected_blind:
            return None
        probe = next((p for p in self._candidates.probes if p.name == self._current), None)
        if probe is None or self._is_doubted(probe):
            return None
        try:
            attached = self._attach_untried(probe)
        except KznError as error:
            reason = error.message.partition("\n")[0]
            log.warning("pinned probe %s cannot be attached: %s", probe.name, reason)
            self._candidates = self._candidates.without(probe, error)
            # A part of it may be gone by now.
            self._current = takeover.current_probe(self._config.pin_dir)
            if not self._candidates.probes:
                raise
            return None
        log.info("selected probe %s: already attached and healthy", probe.name)
        return attached

    def _is_doubted(self, pinned: Probe) -> bool:
        """Whether another probe could see what is known to pass the pinned one by."""
        others = (probe.kind.is_on_devices for probe in self._candidates.probes)
        if pinned.kind.is_on_devices or not any(others) or not (doubt := self._doubt()):
            return False
        log.info("pinned probe %s is tried anew beside the others: %s", pinned.name, doubt)
        return True

    def _with_doubts(
        self, trials: Sequence[Trial], results: dict[str, TrialResult]
    ) -> dict[str, TrialResult]:
        """With the suspicion too, where the trial saw too little to answer it."""
        results = super()._with_doubts(trials, results)
        pinned = results.get(self._current)
        if self._notes.suspected_blind and pinned and pinned.share is None:
            results[self._current] = replace(pinned, doubt="it was seen to miss traffic")
        return results

    def _select_by_trial(self) -> AttachedProbe:
        is_suspected = self._notes.suspected_blind
        choice, selected = self._compare(LONG_SECONDS if is_suspected else SHORT_SECONDS)
        log.info("selected probe %s", choice.sentence())
        is_unchanged = selected.probe.name == self._current
        if is_suspected:
            self._record_trial(is_unchanged=is_unchanged)
        if is_unchanged:
            attached = self._attached(selected.probe, selected.maps)
        else:
            attached = self._take_over(selected)
        return replace(attached, saw_traffic=choice.saw_traffic)

    def _record_trial(self, *, is_unchanged: bool) -> None:
        last = self._notes.last_trial()
        unchanged = last.unchanged + 1 if last and is_unchanged else int(is_unchanged)
        with directory.file_errors(self._config.pin_dir):
            self._notes.record(LastTrial(boottime_ns() / 1e9, unchanged))

    def _take_over(self, selected: Trial) -> AttachedProbe:
        """Make the set on trial the one that counts."""
        pin_dir, name = self._config.pin_dir, selected.probe.name
        trial = self._trial_sets[name]
        if self._current:
            self.write_devices(selected.maps)
            self._uncounted_bytes += takeover.replace_set(pin_dir, self._current, name, trial)
        else:
            takeover.accept(pin_dir, name, trial)
        selected.cleanup.pop_all()
        maps = self._stack.enter_context(selected.maps)
        return self._attached(selected.probe, maps)

    def _attach_untried(self, probe: Probe) -> AttachedProbe:
        """This probe, without a trial."""
        self._stop.check()
        if self._current and self._current != probe.name:
            selected = self._start_trial(probe)
            self._stop.check()
            return self._take_over(selected)
        return self._attached(probe, self._stack.enter_context(self._install(probe)))

    def _start_trial(self, probe: Probe) -> Trial:
        cleanup = self._stack.enter_context(ExitStack())
        if probe.name == self._current:
            maps = cleanup.enter_context(self._install(probe))
            pins = PinnedAttachments(self._config.pin_dir / probe.name)
            return Trial(probe, maps, pins, cleanup, is_new=False)
        trial = install.on_trial(
            probe, self._config.settings, self._config.pin_dir, self._devices(probe)
        )
        cleanup.callback(trial.end)
        self._trial_sets[probe.name] = trial
        return Trial(probe, trial.maps, trial.attachments, cleanup)

    def _install(self, probe: Probe) -> MapSet:
        maps, uncounted_bytes = takeover.install_or_replace(
            probe,
            self._config.settings,
            self._config.pin_dir,
            self._devices(probe),
            self.write_devices,
        )
        self._uncounted_bytes += uncounted_bytes
        return maps

    def _attached(self, probe: Probe, maps: MapSet) -> AttachedProbe:
        alternatives = self._candidates.alternatives(probe) if self._is_auto else ()
        pins = PinnedAttachments(self._config.pin_dir / probe.name)
        return AttachedProbe(probe, maps, pins, alternatives, self._uncounted_bytes)
