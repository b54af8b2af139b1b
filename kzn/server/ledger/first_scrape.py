"""When the bytes of a new series may be scraped: after a scrape that could see it at 0.

A rate is growth between two scrapes, so Prometheus never counts the first value of a series. A new
series is therefore exposed at 0, its bytes are *pending*, and it is exposed with all of them once

- it was exposed for ``wait`` seconds: longer than the scrape interval of each Prometheus; and
- at least one scrape that contained it was received completely: an interval longer than ``wait``
  and a missed scrape only delay it.

In: the time, and which snapshots were scraped. Out: the time before which a series must have begun.
Never: a decision per series; at every moment exposed + pending = counted.
"""

from math import inf

_PROMETHEUS_SECONDS = 3600.0


class FirstScrape:
    """The rule for all series of a server; ``wait`` 0 exposes their bytes at once."""

    __slots__ = ("_prometheus_until", "_taken", "scrapes", "wait")

    def __init__(self, wait: float) -> None:
        self.wait = wait
        self.scrapes = 0
        self._taken = -inf
        self._prometheus_until = -inf

    @property
    def holds(self) -> bool:
        """Whether new series begin at 0."""
        return self.wait > 0

    def scraped(self, taken: float, now: float, *, is_prometheus: bool) -> None:
        """A snapshot of the time ``taken`` was received completely.

        While a Prometheus scrapes (its requests have a header of their own), other requests, such
        as those of a person, do not count.
        """
        self.scrapes += 1
        if is_prometheus:
            self._prometheus_until = now + _PROMETHEUS_SECONDS
        if is_prometheus or now >= self._prometheus_until:
            self._taken = max(self._taken, taken)

    def begun_before(self, now: float) -> float:
        """Series that began before this time are to be exposed with their bytes."""
        return min(now - self.wait, self._taken) if self.holds else inf
