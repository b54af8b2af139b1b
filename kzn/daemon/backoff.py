"""Exponential backoff with full jitter, so that many clients do not retry at the same time."""

import random

_MAX_DOUBLINGS = 16


class Backoff:
    """Each wait is uniform between 0 and a ceiling that doubles up to ``longest`` seconds.

    A minimum would keep clients that fail together in step. A wait close to 0 is harmless, since
    the ceiling doubles anyway.
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
        """Call after a success: the next wait is a first one."""
        self._tries = 0
