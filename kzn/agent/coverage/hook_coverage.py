"""How much of what the uplinks sent the hook has seen: measured in windows, judged over several.

In: the totals of the active buffer, and the devices' own counters, at both ends of a window.
Out: `Passed`; of several `Passed` a ratio, and when it falls and recovers. Never: a batch's flows,
or a window in which a buffer was changed or the uplinks were not known for certain.

A hook's books count L3 bytes. A device counts the link-layer header too, so one for each packet is
taken off. Bytes are compared, not packets: drivers differ in whether they count a super-packet
once or by its segments, which makes packets differ forty-fold and bytes by 3 %
(docs/accuracy.md).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Literal, Protocol

from kzn.agent.devices.link_stats import Sent
from kzn.agent.devices.uplinks import Device
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import TOTALS_SIZE
from kzn.errors import KznError
from kzn.libbpf.library import possible_cpus
from kzn.model.totals import INBOUND_IN_FLOWS, SLOTS, Slot

ETHERNET_HEADER = 14
_NOT_LEAVING = (
    *(SLOTS.index(Slot("ignored", reason)) for reason in ("local", "inbound", "tunnel")),
    INBOUND_IN_FLOWS,
)
_WORDS = TOTALS_SIZE // 8  # of one CPU: packets and bytes by turns

LOW = 0.9
FINE = 0.95
"""Below `LOW` the hook is said to miss traffic, until it is above `FINE` again."""
INTERVALS = 6
"""Of the agent, that a ratio is made of at least: a minute."""
EVIDENCE = 1 << 20
"""Bytes sent that make a ratio; below, neighbour discovery and the like would weigh in."""
FORGET = 10 * INTERVALS
"""Intervals without that much after which the last ratio says nothing any more."""


@dataclass(frozen=True, slots=True)
class Passed:
    """L3 bytes of one or more windows: ``seen`` by the hook on their way out, ``sent`` by uplinks.

    The hook does not see what is no IP packet; ``sent`` may be more by as much.
    """

    seen: int = 0
    sent: int = 0

    def plus(self, other: "Passed") -> "Passed":
        """The sum of both."""
        return Passed(self.seen + other.seen, self.sent + other.sent)


class Counters(Protocol):
    """What `kzn.agent.devices.link_stats.LinkStats` does for a meter."""

    def sent(self, indices: Iterable[int]) -> dict[int, Sent]: ...


def leaving(maps: MapSet, buffer: int) -> int:
    """Bytes in a buffer's books that left by an uplink; true only while the uplinks are known.

    Read without numpy, since a probe is chosen before that is imported (main.py says why).
    """
    raw = memoryview(maps.totals.read(buffer, TOTALS_SIZE * possible_cpus())).cast("Q")
    seen = sum(raw[1::_WORDS])
    return seen - sum(sum(raw[2 * slot + 1 :: _WORDS]) for slot in _NOT_LEAVING)


def carried(counters: Counters, devices: Iterable[Device]) -> dict[int, int]:
    """L3 bytes that each device has sent since it is there, by index."""
    headers = {device.index: ETHERNET_HEADER if device.ethernet else 0 for device in devices}
    found = counters.sent(headers)
    return {index: sent.bytes - headers[index] * sent.packets for index, sent in found.items()}


def between(before: dict[int, int], after: dict[int, int]) -> int | None:
    """L3 bytes sent; None when a device came, went, or began to count anew."""
    if before.keys() != after.keys() or any(after[index] < before[index] for index in before):
        return None
    return sum(after.values()) - sum(before.values())


class Meter:
    """Windows in which one set's hook is compared with devices; for any thread.

    Only `take` raises: a cut or a change of uplinks must not fail because of it.
    """

    def __init__(self, maps: MapSet, counters: Counters) -> None:
        self._maps = maps
        self._counters = counters
        self._devices: tuple[Device, ...] = ()
        self._is_paused = False
        self._begun: tuple[int, int, dict[int, int]] | None = None
        self._sum = Passed()
        self._error: KznError | None = None
        self._lock = Lock()

    def measure(self, devices: tuple[Device, ...]) -> None:
        """From now on compare with these; with none while the uplinks are not certain."""
        with self._lock:
            self._end()
            self._devices = devices
            self._begin()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around whatever changes or clears the active buffer."""
        self._pause(is_paused=True)
        try:
            yield
        finally:
            self._pause(is_paused=False)

    def take(self) -> Passed:
        """What passed in all windows since this was asked for the last time.

        KznError when that could not be measured.
        """
        with self._lock:
            self._end()
            passed, self._sum = self._sum, Passed()
            self._begin()
            error, self._error = self._error, None
        if error:
            raise error
        return passed

    def _pause(self, *, is_paused: bool) -> None:
        with self._lock:
            self._end()
            self._is_paused = is_paused
            self._begin()

    def _begin(self) -> None:
        if self._is_paused or not self._devices:
            return
        try:
            sent = carried(self._counters, self._devices)
            active = self._maps.active()
            self._begun = active, leaving(self._maps, active), sent
        except KznError as error:
            self._error = error

    def _end(self) -> None:
        if self._begun is None:
            return
        active, before, sent_before = self._begun
        self._begun = None
        try:
            sent = between(sent_before, carried(self._counters, self._devices))
            seen = leaving(self._maps, active) - before
            if sent is not None and self._maps.active() == active:
                self._sum = self._sum.plus(Passed(seen, sent))
        except KznError as error:
            self._error = error


Turn = Literal["fell", "recovered"]


class Coverage:
    """The ratio over the last intervals in which enough was sent, and its turns."""

    def __init__(self) -> None:
        self.ratio: float | None = None
        """None while too little was sent to tell."""
        self.of = Passed()
        """What the ratio was made of."""
        self.low_in_a_row = 0
        """Ratios below `LOW` in a row."""
        self._is_low = False
        self._sum = Passed()
        self._intervals = 0

    def interval(self, passed: Passed) -> Turn | None:
        """Take in what passed in one interval; what has turned by it."""
        self._sum = self._sum.plus(passed)
        self._intervals += 1
        if self._sum.sent < EVIDENCE:
            if self._intervals >= FORGET:
                self._start_over()
                self.ratio, self.low_in_a_row = None, 0
            return None
        if self._intervals < INTERVALS:
            return None
        self.of = self._sum
        self.ratio = self._sum.seen / self._sum.sent
        self._start_over()
        return self._turn(self.ratio)

    def _start_over(self) -> None:
        self._sum, self._intervals = Passed(), 0

    def _turn(self, ratio: float) -> Turn | None:
        self.low_in_a_row = self.low_in_a_row + 1 if ratio < LOW else 0
        if ratio < LOW and not self._is_low:
            self._is_low = True
            return "fell"
        if ratio >= FINE and self._is_low:
            self._is_low = False
            return "recovered"
        return None
