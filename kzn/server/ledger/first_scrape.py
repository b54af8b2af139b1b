"""When the bytes of a new series may be scraped: after a scrape that could see it at 0.

A rate is growth between two scrapes, so Prometheus never counts the first value of a series. A new
series is therefore exposed at 0, its bytes are *pending*, and it is exposed with all of them once

- it was exposed for ``wait`` seconds: longer than the scrape interval of each Prometheus; and
- each Prometheus that scrapes completely received a scrape that contained it: an interval longer
  than ``wait`` and a missed scrape only delay it, also for one of two that scrape the same server.

In: the time, and which snapshots were scraped by whom. Out: the time before which a series must
have begun. Never: a decision per series; at every moment exposed + pending = counted.
"""

from collections import OrderedDict
from math import inf
from typing import NamedTuple

MAX_SCRAPERS = 16
LONGEST_SECONDS = 600.0
"""How long a Prometheus that has stopped can delay new series, at most."""
_MISSED = 3.0
"""Intervals without a scrape after which a Prometheus has stopped."""
_PROMETHEUS_SECONDS = 3600.0


class _Scraper(NamedTuple):
    """The newest snapshot that it received, when that was, and until when the next is awaited."""

    taken: float
    at: float
    until: float


class FirstScrape:
    """The rule for all series of a server; ``wait`` 0 exposes their bytes at once."""

    __slots__ = ("_prometheus_until", "_reached", "_scrapers", "_taken", "scrapes", "wait")

    def __init__(self, wait: float) -> None:
        self.wait = wait
        self.scrapes = 0
        self._taken = self._reached = -inf
        self._prometheus_until = -inf
        self._scrapers: OrderedDict[str, _Scraper] = OrderedDict()

    @property
    def holds(self) -> bool:
        """Whether new series begin at 0."""
        return self.wait > 0

    def scraped(self, taken: float, now: float, *, is_prometheus: bool, by: str) -> None:
        """A snapshot of the time ``taken`` was received completely by the client ``by``.

        While a Prometheus scrapes (its requests have a header of their own), other requests, such
        as those of a person, do not count.
        """
        self.scrapes += 1
        if is_prometheus:
            self._prometheus_until = now + _PROMETHEUS_SECONDS
            self._note(taken, now, by)
        if is_prometheus or now >= self._prometheus_until:
            self._taken = max(self._taken, taken)

    def begun_before(self, now: float) -> float:
        """Series that began before this time are to be exposed with their bytes.

        Never earlier than at the call before.
        """
        if not self.holds:
            return inf
        awaited = (one.taken for one in self._scrapers.values() if now < one.until)
        found = min(now - self.wait, self._taken, *awaited)
        self._reached = max(self._reached, found)
        return self._reached

    def _note(self, taken: float, now: float, by: str) -> None:
        before = self._scrapers.pop(by, _Scraper(taken, now - self.wait, 0.0))
        interval = now - before.at
        until = now + min(_MISSED * interval, LONGEST_SECONDS)
        # Two that share an address are one, of which the last interval may be short.
        self._scrapers[by] = _Scraper(max(taken, before.taken), now, max(until, before.until))
        if len(self._scrapers) > MAX_SCRAPERS:
            self._scrapers.popitem(last=False)
