"""What an agent with `--probe auto` leaves to the next: names of empty folders beside the sets.

    <pin-dir>/auto+distrusted              the suspicion: the pinned probe was seen to miss traffic
    <pin-dir>/auto+examined+SECONDS+TIMES  when the last trial after a suspicion was
                                           (CLOCK_BOOTTIME), and how many in a row changed nothing

In: a pin directory. Out: the suspicion and the last trial. Never: needs a capability: an agent
that has dropped all of them can still make a folder. Notes, like sets, are gone after a reboot.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from kzn.agent.pins.directory import NOTE

log = logging.getLogger(__name__)

SUSPECTED = f"{NOTE}distrusted"
LAST_TRIAL = f"{NOTE}examined+"

APART_SECONDS = 3600.0
"""Between two trials after a suspicion; doubled for each in a row that changed nothing."""
LONGEST_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class LastTrial:
    """The last trial after a suspicion; ``unchanged``: how many in a row changed nothing."""

    seconds: float
    unchanged: int = 0

    @property
    def next_seconds(self) -> float:
        """The earliest time of the next one."""
        doublings = min(self.unchanged, 10)  # the name of a folder may have any number
        return self.seconds + min(APART_SECONDS * 2.0**doublings, LONGEST_SECONDS)


class Notes:
    """The notes in one pin directory."""

    def __init__(self, pin_dir: Path) -> None:
        self._dir = pin_dir

    @property
    def suspected_blind(self) -> bool:
        """Whether an agent has seen the pinned probe miss traffic since the last trial."""
        return (self._dir / SUSPECTED).exists()

    def suspect(self) -> bool:
        """Note that the pinned probe misses traffic; False when that cannot be written."""
        try:
            (self._dir / SUSPECTED).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            log.error("cannot write %s: %s", self._dir / SUSPECTED, error.strerror)
            return False
        return True

    def last_trial(self) -> LastTrial | None:
        """The last trial after a suspicion; None when there was none since the node has started."""
        trials = [_parse(path.name) for path in self._dir.glob(f"{LAST_TRIAL}*")]
        return max((one for one in trials if one), key=lambda one: one.seconds, default=None)

    def record(self, trial: LastTrial) -> None:
        """Replace the last trial and clear the suspicion. OSError when that cannot be written."""
        old = [*self._dir.glob(f"{LAST_TRIAL}*"), self._dir / SUSPECTED]
        name = f"{LAST_TRIAL}{int(trial.seconds)}+{trial.unchanged}"
        (self._dir / name).mkdir(mode=0o700, exist_ok=True)
        for path in old:
            if path.name != name and path.exists():
                path.rmdir() if path.is_dir() else path.unlink()


def _parse(name: str) -> LastTrial | None:
    seconds, _, unchanged = name.removeprefix(LAST_TRIAL).partition("+")
    if not (seconds.isdecimal() and unchanged.isdecimal()):
        return None
    return LastTrial(float(seconds), int(unchanged))
