"""Waits between tries: doubling, bounded, and jittered so that many clients spread out."""

import random

_MAX_DOUBLINGS = 16


class Backoff:
    """Full jitter: each wait is uniform between 0 and a ceiling that doubles up to ``longest``.

    A floor under the wait would keep clients that fail together together; that a single one may
    wait almost nothing is harmless, since the ceiling doubles all the same.
    """

    def __init__(self, rng: random.Random, first: float = 1.0, longest: float = 30.0) -> None:
        self._rng = rng
        self._first = first
        self._longest = longest
        self._tries = 0

    def next(self) -> float:
        """Seconds to wait before the next try."""
        ceiling = min(self._longest, self._first * 2.0**self._tries)
        self._tries = min(self._tries + 1, _MAX_DOUBLINGS)
        return self._rng.uniform(0.0, ceiling)

    def reset(self) -> None:
        """The last try went well: the next wait is a first one."""
        self._tries = 0
