"""Readings of a window of time, and the rates between them. Pure."""

from collections import deque
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Literal, NamedTuple, TypeVar

from kzn.client.api import Status
from kzn.top.reading import CROSS, Cost, Pair, Reading, Workload, ZonePair

SortKey = Literal["rate", "total", "name", "cost"]
HOURS_A_MONTH = 730
_K = TypeVar("_K", bound=tuple[str, ...])


class Amount(NamedTuple):
    """Bytes in all and bytes a second; None before the second reading."""

    total: int
    rate: float | None
    cost: "MonthlyCost | None" = None
    """None if nothing is known of it, from an older server."""

    @property
    def cost_order(self) -> tuple[float, float]:
        """What to sort by cost by."""
        return self.cost.order if self.cost else (0.0, 0.0)


class MonthlyCost(NamedTuple):
    """Money a month at the present rate by currency (None: not known yet), and so far.

    A currency that is there with 0 is free; without any nothing has a price. ``unpriced`` is
    whether some bytes have none.
    """

    month: Mapping[str, float] | None
    total: Mapping[str, float]
    unpriced: bool

    @property
    def order(self) -> tuple[float, float]:
        """What to sort by; currencies are not converted."""
        return sum((self.month or {}).values()), sum(self.total.values())


class History:
    """The readings of the last ``window`` seconds; a restart of the server clears them."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._readings: deque[Reading] = deque()

    def add(self, reading: Reading) -> None:
        """Add the newest reading; those older than the window are dropped, but for the last two."""
        if self._readings and _any_restarted(self._readings[-1], reading):
            self._readings.clear()
        self._readings.append(reading)
        while len(self._readings) > 2 and self._readings[1].at <= reading.at - self._window:
            self._readings.popleft()

    @property
    def last(self) -> Reading:
        """The newest reading; there must be one."""
        return self._readings[-1]

    @property
    def seconds(self) -> float:
        """From the first reading of the window to the newest."""
        return self._readings[-1].at - self._readings[0].at

    def zones(self) -> dict[ZonePair, Amount]:
        """Amounts of each pair of zones and class."""
        return self._amounts(lambda reading: reading.zones, lambda reading: reading.zone_costs)

    def pairs(self) -> dict[Pair, Amount]:
        """Amounts of each pair of workloads."""
        return self._amounts(lambda reading: reading.pairs, lambda reading: reading.pair_costs)

    def workloads(self, column: str) -> dict[Workload, Amount]:
        """Amounts of one column of each workload that has it."""

        def of(reading: Reading) -> dict[Workload, int]:
            return {
                name: sums[column] for name, sums in reading.workloads.items() if column in sums
            }

        return self._amounts(of, lambda reading: reading.workload_costs)

    def sent_rates(self, name: Workload) -> tuple[float, ...]:
        """Bytes a second that a workload sent across zones between each two readings."""
        sent = [reading.workloads.get(name, {}).get("sent", 0) for reading in self._readings]
        return self._between(sent)

    def crossing_rates(self) -> tuple[float, ...]:
        """The same of all that crosses zones or regions."""
        return self._between(
            [
                sum(n for key, n in reading.zones.items() if key.traffic_class in CROSS)
                for reading in self._readings
            ]
        )

    def _between(self, totals: list[int]) -> tuple[float, ...]:
        times = [reading.at for reading in self._readings]
        return tuple(
            _grown(a, b) / (t2 - t1)
            for (a, b), (t1, t2) in zip(pairwise(totals), pairwise(times), strict=True)
            if t2 > t1
        )

    def listed_workloads(self, sort: SortKey) -> dict[Workload, Amount]:
        """The workloads of the list, with what they sent across zones or regions.

        By cost it has also those of which only other traffic costs something, with no bytes.
        """
        found = self.workloads("sent")
        if sort != "cost":
            return found
        rate = 0.0 if self.seconds > 0 else None
        for name, cost in self._costs(lambda reading: reading.workload_costs).items():
            if name not in found and any(cost.total.values()):
                found[name] = Amount(0, rate, cost)
        return found

    def _amounts(
        self,
        of: Callable[[Reading], Mapping[_K, int]],
        costs: Callable[[Reading], Mapping[_K, Cost]],
    ) -> dict[_K, Amount]:
        first, last, seconds = of(self._readings[0]), of(self.last), self.seconds
        found = self._costs(costs)
        return {
            key: Amount(
                total,
                None if seconds <= 0 else _grown(first.get(key, 0), total) / seconds,
                found.get(key),
            )
            for key, total in last.items()
        }

    def _costs(self, of: Callable[[Reading], Mapping[_K, Cost]]) -> dict[_K, MonthlyCost]:
        first = of(self._readings[0])
        return {
            key: _monthly(first.get(key), cost, self.seconds) for key, cost in of(self.last).items()
        }


def _monthly(first: Cost | None, last: Cost, seconds: float) -> MonthlyCost:
    before = first.by_currency if first is not None else {}
    month = None
    if seconds > 0:
        hours = seconds / 3600
        month = {
            currency: _grown(before.get(currency, 0.0), now) / hours * HOURS_A_MONTH
            for currency, now in last.by_currency.items()
        }
    return MonthlyCost(month, dict(last.by_currency), last.unpriced > 0)


def _grown(before: float, now: float) -> float:
    """The growth of a series; one that is new, or smaller than before, began at zero."""
    return now - before if now >= before else now


def ordered(amounts: Mapping[_K, Amount], sort: SortKey) -> list[tuple[_K, Amount]]:
    """Sort by name, or by rate, largest first; by total while rates are not known."""
    by_name = sorted(amounts.items())
    if sort == "name":
        return by_name
    if sort == "cost":
        return sorted(by_name, key=lambda item: item[1].cost_order, reverse=True)
    if sort == "total":
        return sorted(by_name, key=lambda item: item[1].total, reverse=True)
    return sorted(by_name, key=lambda item: (item[1].rate or 0.0, item[1].total), reverse=True)


def _any_restarted(before: Reading, now: Reading) -> bool:
    """Whether one of the servers began anew; the growth of others may hide it in the sums."""
    pairs = zip(before.servers, now.servers, strict=True)
    return _restarted(before.status, now.status) or any(_restarted(*pair) for pair in pairs)


def _restarted(before: Status, now: Status) -> bool:
    return now.batches < before.batches or now.bytes.seen < before.bytes.seen
