"""Which probe an agent with `--probe auto` would begin with, as far as that is known beforehand."""

from collections.abc import Sequence
from pathlib import Path

from kzn.agent.pins.notes import Notes
from kzn.agent.select.candidates import Candidates
from kzn.agent.select.takeover import current
from kzn.errors import KznError, UnsupportedError
from kzn.probes.declaration import Probe


def preview_auto(candidates: Sequence[Probe], pin_dir: Path) -> tuple[Probe | None, str]:
    """The probe and why; None when this kernel or process can load none.

    Nothing is loaded, attached or sent: what decides in the end is what an agent sees at its start.
    """
    try:
        able = Candidates.of(candidates).probes
    except UnsupportedError as error:
        return None, error.message
    pinned = next((p for p in able if p.name == _pinned(pin_dir)), None)
    if pinned and Notes(pin_dir).distrusted:
        return (
            pinned,
            "it is pinned here, but it was seen to miss traffic: the next agent tries all",
        )
    if pinned:
        return pinned, "it is pinned here, and nobody saw it miss traffic"
    if len(able) == 1:
        return able[0], "the only one that can run here"
    return able[0], "the first that can run here, if an agent finds that it sees what leaves"


def _pinned(pin_dir: Path) -> str:
    try:
        return current(pin_dir) if pin_dir.is_dir() else ""
    except (KznError, OSError):  # nobody but root may look
        return ""
