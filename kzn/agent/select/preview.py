"""Which probe an agent with `--probe auto` would attach, as far as that is known before a trial.

In: probes, in order, and a pin directory. Out: the probe and why. Never: loads, attaches or sends.
"""

from collections.abc import Sequence
from pathlib import Path

from kzn.agent.devices.datapath import Bypass, read_facts
from kzn.agent.devices.table import read_devices
from kzn.agent.pins.notes import Notes
from kzn.agent.select.candidates import Candidates
from kzn.agent.select.takeover import current_probe
from kzn.errors import KznError, UnsupportedError
from kzn.probes.declaration import Probe


def preview_auto(probes: Sequence[Probe], pin_dir: Path) -> tuple[Probe | None, str]:
    """The probe and why; None when this kernel or process can load none."""
    try:
        candidates = Candidates.of(probes).probes
    except UnsupportedError as error:
        return None, error.message
    name = _pinned(pin_dir)
    pinned = next((probe for probe in candidates if probe.name == name), None)
    if pinned and Notes(pin_dir).suspected_blind:
        return pinned, "already attached, but seen to miss traffic: the next agent tries all probes"
    bypasses = _bypasses(pin_dir)
    if pinned and not pinned.kind.is_on_devices and _on_devices(candidates) and bypasses:
        sentence = bypasses[0].sentence()
        return pinned, f"already attached, but {sentence}: the next agent tries all probes"
    if pinned:
        return pinned, "already attached and healthy"
    if len(candidates) == 1:
        return candidates[0], "the only one that can run here"
    return _untried(candidates, bypasses)


def _on_devices(candidates: Sequence[Probe]) -> list[Probe]:
    return [probe for probe in candidates if probe.kind.is_on_devices]


def _untried(candidates: Sequence[Probe], bypasses: Sequence[Bypass]) -> tuple[Probe, str]:
    """The first candidate that no fact speaks against, as `decide` prefers it."""
    tries = "the agent tries whether it sees the traffic"
    first = candidates[0]
    if bypasses:
        first = next(iter(_on_devices(candidates)), first)
    if first is candidates[0]:
        return first, f"the first that can run here; {tries}"
    return first, f"{bypasses[0].sentence()}; {tries}"


def _bypasses(pin_dir: Path) -> tuple[Bypass, ...]:
    try:
        return read_facts(read_devices(), pin_dir).bypasses()
    except KznError:  # without netlink the agent cannot select either
        return ()


def _pinned(pin_dir: Path) -> str:
    try:
        return current_probe(pin_dir) if pin_dir.is_dir() else ""
    except (KznError, OSError):  # only root may read a pin directory
        return ""
