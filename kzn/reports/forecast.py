"""What a period will have been at its end, if it goes on as in the last seven days. Pure."""

from dataclasses import dataclass

DAY = 86_400
RECENT = 7 * DAY
"""Seconds whose mean rate is taken for the rest: whole weeks have each weekday once."""
LEAST = DAY
LATE_SECONDS = 900
"""What is newer may be missing from a period that runs: a minute is written when it is over, and an
engine may have it later."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """How much longer the period is than what is known of it, in seconds of the recent span.

    ``factor`` times what the recent span has is added to what was used.
    """

    factor: float

    def of(self, used: float, recent: float) -> float:
        """The amount at the end of the period."""
        return used + recent * self.factor


def recent_span(until: int, complete_from: int | None) -> tuple[int, int] | None:
    """The span whose rate is taken: the last seven days that are known, less if the history is
    shorter. ``until`` is where what is known ends.

    None if it is shorter than a day.
    """
    begin = max(until - RECENT, complete_from if complete_from is not None else until)
    return (begin, until) if until - begin >= LEAST else None


def forecast(end: int, until: int, seconds: int) -> Forecast | None:
    """For a period that ends at ``end`` and of which is known what was sent ``until`` then.

    ``seconds`` are those that are known of the recent span; None if they are less than a day.
    """
    if seconds < LEAST:
        return None
    return Forecast(max(0, end - until) / seconds)
