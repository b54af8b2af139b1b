"""What agents in a row remember of `--probe auto`: names of empty folders beside the pinned sets.

    <pin-dir>/auto+distrusted              the probe that is pinned was seen to miss traffic
    <pin-dir>/auto+examined+SECONDS+TIMES  when that was last looked into (CLOCK_BOOTTIME), and how
                                           often in a row nothing better was found

They go with a reboot, as the sets do. To make a folder takes no capability, so that an agent that
has given up all of them can leave word for the next one.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

PREFIX = "auto+"
DISTRUSTED = f"{PREFIX}distrusted"
EXAMINED = f"{PREFIX}examined+"

APART_SECONDS = 3600.0
"""Between two examinations; doubled for each that found nothing better."""
LONGEST_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class LastTrial:
    """The last examination: when, and how many in a row were in vain, it included."""

    seconds: float
    in_vain: int = 0

    @property
    def next_seconds(self) -> float:
        """Not before this is another one worth its while."""
        doublings = min(self.in_vain, 10)  # a name of a folder may say any number
        return self.seconds + min(APART_SECONDS * 2.0**doublings, LONGEST_SECONDS)


class Notes:
    """The notes in one pin directory."""

    def __init__(self, pin_dir: Path) -> None:
        self._dir = pin_dir

    @property
    def distrusted(self) -> bool:
        """An agent has seen the pinned probe miss traffic, and nobody has looked into it since."""
        return (self._dir / DISTRUSTED).exists()

    def examined(self) -> LastTrial | None:
        """The last examination; None when there was none since the node has started."""
        found = [_parse(path.name) for path in self._dir.glob(f"{EXAMINED}*")]
        return max((e for e in found if e), key=lambda e: e.seconds, default=None)

    def distrust(self) -> bool:
        """Leave word that the pinned probe is to be looked into; False when that cannot be."""
        try:
            (self._dir / DISTRUSTED).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            log.error("%s cannot be noted: %s", DISTRUSTED, error.strerror)
            return False
        return True

    def note(self, examined: LastTrial) -> None:
        """Write an examination down, and trust what it chose. OSError when that cannot be."""
        old = [*self._dir.glob(f"{EXAMINED}*"), self._dir / DISTRUSTED]
        name = f"{EXAMINED}{int(examined.seconds)}+{examined.in_vain}"
        (self._dir / name).mkdir(mode=0o700, exist_ok=True)
        for path in old:
            if path.name != name and path.exists():
                path.rmdir()


def _parse(name: str) -> LastTrial | None:
    seconds, _, times = name.removeprefix(EXAMINED).partition("+")
    if not (seconds.isdecimal() and times.isdecimal()):
        return None
    return LastTrial(float(seconds), int(times))
