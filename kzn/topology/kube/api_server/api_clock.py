"""How far the API server's clock is from this machine's, by the Date headers of its answers.

In: the Date of an answer, and when it was asked for and arrived. Out: how far its clock can be
ahead at most. Never: a guess; two servers that disagree count as unknown.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MEMORY_SECONDS = 300.0
"""How long an answer counts, at least; clocks drift and are set."""
MARGIN = 0.1
"""Seconds that the clocks of several API servers behind one address may differ by."""


class ApiClock:
    """An answer with Date D (whole seconds), asked for at t0 and arrived at t1, was made between
    both, in [D, D + 1) by the API server's clock: it is ahead by more than D - t1 and less than
    D + 1 - t0. Many answers narrow that down to the time of a round trip.
    """

    def __init__(self) -> None:
        self._bounds: list[tuple[float, float]] = []  # of the current span and the one before
        self._began = 0.0

    def observe(self, date: str, asked: float, arrived: float) -> None:
        """An answer with this Date header; times are seconds since the epoch by our clock."""
        try:
            moment = parsedate_to_datetime(date)
        except (ValueError, TypeError, OverflowError):
            return
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        stamp = moment.timestamp()
        low, high = stamp - arrived, stamp + 1.0 - asked
        if not self._bounds or not 0.0 <= arrived - self._began < MEMORY_SECONDS:
            self._bounds = [(low, high), *self._bounds[:1]]
            self._began = arrived
        else:
            was_low, was_high = self._bounds[0]
            self._bounds[0] = max(low, was_low), min(high, was_high)

    def ahead_at_most(self) -> float | None:
        """Seconds; None without an answer, or when answers contradict each other."""
        if not self._bounds:
            return None
        low = max(one for one, _ in self._bounds)
        high = min(one for _, one in self._bounds)
        return high + MARGIN if low <= high + MARGIN else None

    def earliest(self, stamp: datetime) -> float | None:
        """When, by our clock, something can have happened that it stamped; None if unknown."""
        ahead = self.ahead_at_most()
        return stamp.timestamp() - ahead if ahead is not None else None
