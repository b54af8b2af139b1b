"""The answer of /api/v1/traffic as values, with costs where the server has prices.

In: a JSON answer. Out: `PastTraffic`, whose rows and rest add up to its total.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kzn.history.query import TrafficQuery, Value

Money = Mapping[str, float]
"""An amount by currency."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What bytes cost both ends, and how many of them have no price."""

    sender: Money
    receiver: Money
    unpriced: int

    @property
    def both(self) -> dict[str, float]:
        """What both ends pay."""
        names = {**self.sender, **self.receiver}
        return {name: self.sender.get(name, 0.0) + self.receiver.get(name, 0.0) for name in names}


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of one group; ``cost`` is None without prices."""

    bytes: int
    packets: int
    cost: Cost | None = None

    @classmethod
    def from_json(cls, found: Any) -> "Sums":
        """Read the sums of one object."""
        cost = None
        if "sender_cost" in found:
            unpriced = int(found["unpriced_bytes"])
            cost = Cost(_money(found["sender_cost"]), _money(found["receiver_cost"]), unpriced)
        return cls(int(found["bytes"]), int(found["packets"]), cost)


@dataclass(frozen=True, slots=True)
class Missing:
    """A span in which bytes are missing."""

    begin: int
    end: int
    reason: str


class PriceUsed(NamedTuple):
    """A price list that an answer has costs by, and the date when the prices were read."""

    list: str
    currency: str
    date: str

    def __str__(self) -> str:
        return f"{self.list} of {self.date} ({self.currency})"


@dataclass(frozen=True, slots=True)
class PastTraffic:
    """An answer: ``rows`` by the values of the dimensions. Times are Unix seconds."""

    begin: int
    end: int
    rows: Mapping[tuple[Value, ...], Sums]
    other: Sums
    total: Sums
    of: int
    complete_from: int | None
    complete_to: int | None
    gaps: tuple[Missing, ...]
    source: str
    prices: tuple[PriceUsed, ...] = ()

    @property
    def known(self) -> tuple[int, int]:
        """Of the span that was answered, what there is data of."""
        begin, end = self.begin, self.end
        if self.complete_from is not None:
            begin = min(max(begin, self.complete_from), end)
        if self.complete_to is not None:
            end = max(min(end, self.complete_to), begin)
        return begin, end

    def known_seconds(self, until: int | None = None) -> int:
        """Seconds of `known` before ``until`` that no gap has: what a rate is to be divided by.

        0 if nothing is known. Gaps may have time in common.
        """
        if self.complete_from is None:
            return 0
        begin, end = self.known
        end = end if until is None else min(end, until)
        seconds, at = max(0, end - begin), begin
        for gap in sorted(self.gaps, key=lambda one: one.begin):
            first, last = max(gap.begin, at), min(gap.end, end)
            if last > first:
                seconds -= last - first
                at = last
        return seconds

    @classmethod
    def from_json(cls, found: Any) -> "PastTraffic":
        """Read an answer; KeyError, TypeError or ValueError for another shape."""
        by = found["by"]
        first, last = found["complete_from"], found["complete_to"]
        return cls(
            begin=int(found["from"]),
            end=int(found["to"]),
            rows={tuple(row[name] for name in by): Sums.from_json(row) for row in found["rows"]},
            other=Sums.from_json(found["other"]),
            total=Sums.from_json(found["total"]),
            of=int(found["of"]),
            complete_from=None if first is None else int(first),
            complete_to=None if last is None else int(last),
            gaps=tuple(
                Missing(int(gap["from"]), int(gap["to"]), str(gap["reason"]))
                for gap in found["gaps"]
            ),
            source=str(found["source"]),
            prices=tuple(
                PriceUsed(*(str(one[name]) for name in PriceUsed._fields))
                for one in found.get("prices", ())
            ),
        )


Ask = Callable[[TrafficQuery], PastTraffic]
"""Asks a history; raises KznError."""


def _money(found: Any) -> dict[str, float]:
    return {str(name): float(amount) for name, amount in found.items()}


def prices_note(prices: Iterable[PriceUsed]) -> Iterator[str]:
    """The sentence that stands beside costs, none without prices."""
    if names := sorted(map(str, set(prices))):
        yield f"Prices: {', '.join(names)}."
