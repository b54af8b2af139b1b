"""What a server had counted at one moment, and at what rate it grew. Pure."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeVar

from kzn.client.api import Pair, Reading, Status, Workload, ZonePair

SortKey = Literal["rate", "total", "name"]
_K = TypeVar("_K", bound=tuple[str, ...])


class Amount(NamedTuple):
    """Bytes in all, and bytes a second; None before there were two looks."""

    total: int
    rate: float | None


class History:
    """The looks of a window of seconds; a server that began anew begins a new window."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._looks: deque[Reading] = deque()

    def add(self, look: Reading) -> None:
        """The newest look."""
        if self._looks and _began_anew(self._looks[-1].status, look.status):
            self._looks.clear()
        self._looks.append(look)
        while len(self._looks) > 2 and self._looks[1].at <= look.at - self._window:
            self._looks.popleft()

    @property
    def last(self) -> Reading:
        """The newest look; there must be one."""
        return self._looks[-1]

    @property
    def seconds(self) -> float:
        """From the first look of the window to the newest."""
        return self._looks[-1].at - self._looks[0].at

    def zones(self) -> dict[ZonePair, Amount]:
        """Amounts of each pair of zones and class."""
        return self._amounts(lambda look: look.zones)

    def pairs(self) -> dict[Pair, Amount]:
        """Amounts of each pair of workloads."""
        return self._amounts(lambda look: look.pairs)

    def workloads(self, column: str) -> dict[Workload, Amount]:
        """Amounts of one column of each workload that has it."""

        def of(look: Reading) -> dict[Workload, int]:
            return {name: sums[column] for name, sums in look.workloads.items() if column in sums}

        return self._amounts(of)

    def _amounts(self, of: Callable[[Reading], Mapping[_K, int]]) -> dict[_K, Amount]:
        first, last, seconds = of(self._looks[0]), of(self.last), self.seconds
        if seconds <= 0:
            return {key: Amount(total, None) for key, total in last.items()}
        return {
            key: Amount(total, _grown(first.get(key, 0), total) / seconds)
            for key, total in last.items()
        }


def _grown(before: int, now: int) -> int:
    """A series that is new began at zero; so did one that has less than it had."""
    return now - before if now >= before else now


def ordered(amounts: Mapping[_K, Amount], sort: SortKey) -> list[tuple[_K, Amount]]:
    """By name, or the largest first; by total where there is no rate."""
    by_name = sorted(amounts.items())
    if sort == "name":
        return by_name
    if sort == "total":
        return sorted(by_name, key=lambda item: item[1].total, reverse=True)
    return sorted(by_name, key=lambda item: (item[1].rate or 0.0, item[1].total), reverse=True)


def _began_anew(before: Status, now: Status) -> bool:
    return now.batches < before.batches or now.seen < before.seen
