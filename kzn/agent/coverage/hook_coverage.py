"""Measures how many of the bytes that the uplinks sent the hook has seen.

In: the totals of the active buffer and the devices' transmit counters, at both ends of a window.
Out: `Passed` of a window; over several windows a ratio, and when it falls and recovers.
Never: a window in which the buffers were switched or the uplinks were unknown.

The totals count L3 bytes. A device counts the link-layer header too, so one is subtracted for each
packet. Bytes are compared, not packets: some drivers count a GSO super-packet once, others its
segments, so packets differ forty-fold and bytes by 3 % (docs/accuracy.md).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Literal, Protocol

from kzn.agent.devices.link_stats import Sent
from kzn.agent.devices.table import Device
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import TOTALS_SIZE, unpack_counts
from kzn.errors import KznError
from kzn.libbpf.library import possible_cpus
from kzn.model.totals import INBOUND_IN_FLOWS, SLOTS, Slot

ETHERNET_HEADER = 14
_NOT_LEAVING = (  # slots of the totals
    *(SLOTS.index(Slot("ignored", reason)) for reason in ("local", "inbound", "tunnel")),
    INBOUND_IN_FLOWS,
)
_WORDS = TOTALS_SIZE // 8  # of one CPU: packets and bytes alternate

LOW = 0.9
RECOVERED = 0.95
"""Below `LOW` the hook misses traffic, until the ratio is at least `RECOVERED` again."""
INTERVALS = 6
"""The fewest intervals of the agent in one ratio: a minute by default."""
MIN_SENT_BYTES = 1 << 20
"""The fewest sent bytes in one ratio; with fewer, packets without IP (such as ARP) would count."""
EXPIRY_INTERVALS = 10 * INTERVALS
"""The last ratio expires after so many intervals with fewer bytes in sum."""


@dataclass(frozen=True, slots=True)
class Passed:
    """L3 bytes of one or more windows: ``seen`` leaving by the hook, ``sent`` by the uplinks.

    ``sent`` includes packets other than IP, which the hook does not see.
    """

    seen: int = 0
    sent: int = 0

    def plus(self, other: "Passed") -> "Passed":
        """The sum of both."""
        return Passed(self.seen + other.seen, self.sent + other.sent)


class Counters(Protocol):
    """The method of `kzn.agent.devices.link_stats.LinkStats` that a meter uses."""

    def sent(self, indices: Iterable[int]) -> dict[int, Sent]: ...


def leaving(maps: MapSet, buffer: int) -> int:
    """Bytes in a buffer's totals that left by an uplink; valid only while the uplinks are known.

    Without numpy, since a probe is selected before that is imported (main.py says why).
    """
    raw = memoryview(maps.totals.read(buffer, TOTALS_SIZE * possible_cpus())).cast("Q")
    seen = sum(
        unpack_counts(*packed)[1] for packed in zip(raw[0::_WORDS], raw[1::_WORDS], strict=True)
    )
    return seen - sum(sum(raw[2 * slot + 1 :: _WORDS]) for slot in _NOT_LEAVING)


def carried(counters: Counters, devices: Iterable[Device]) -> dict[int, int]:
    """L3 bytes that each device has sent since it exists, by index."""
    headers = {device.index: ETHERNET_HEADER if device.is_ethernet else 0 for device in devices}
    found = counters.sent(headers)
    return {index: sent.bytes - headers[index] * sent.packets for index, sent in found.items()}


def between(before: dict[int, int], after: dict[int, int]) -> int | None:
    """L3 bytes sent; None when a device was added, removed, or has reset its counters."""
    if before.keys() != after.keys() or any(after[index] < before[index] for index in before):
        return None
    return sum(after.values()) - sum(before.values())


class Meter:
    """Compares one map set's hook with the uplinks, window by window; thread-safe.

    Only `take` raises, so that a cut or a change of uplinks does not fail because of the meter.
    """

    def __init__(self, maps: MapSet, counters: Counters) -> None:
        self._maps = maps
        self._counters = counters
        self._devices: tuple[Device, ...] = ()
        self._is_paused = False
        self._window: tuple[int, int, dict[int, int]] | None = None
        """The active buffer, and at the beginning: bytes seen, bytes sent by device."""
        self._sum = Passed()
        self._error: KznError | None = None
        self._lock = Lock()

    def measure(self, devices: tuple[Device, ...]) -> None:
        """Compare with these devices from now on; with none while the uplinks are unknown."""
        with self._lock:
            self._end()
            self._devices = devices
            self._begin()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Measure nothing while the caller switches or clears buffers."""
        self._pause(is_paused=True)
        try:
            yield
        finally:
            self._pause(is_paused=False)

    def take(self) -> Passed:
        """The sum of all windows since the last call; KznError when it could not be measured."""
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
            self._window = active, leaving(self._maps, active), sent
        except KznError as error:
            self._error = error

    def _end(self) -> None:
        if self._window is None:
            return
        active, seen_before, sent_before = self._window
        self._window = None
        try:
            sent = between(sent_before, carried(self._counters, self._devices))
            seen = leaving(self._maps, active) - seen_before
            if sent is not None and self._maps.active() == active:
                self._sum = self._sum.plus(Passed(seen, sent))
        except KznError as error:
            self._error = error


Change = Literal["fell", "recovered"]


class Coverage:
    """The ratio over the last intervals with enough sent bytes, and when it falls and recovers."""

    def __init__(self) -> None:
        self.ratio: float | None = None
        """None while too few bytes were sent."""
        self.of = Passed()
        """The bytes of the ratio."""
        self.low_in_a_row = 0
        """Ratios below `LOW` in a row."""
        self._is_low = False
        self._sum = Passed()
        self._intervals = 0

    def interval(self, passed: Passed) -> Change | None:
        """Add the bytes of one interval; how that changed the state."""
        self._sum = self._sum.plus(passed)
        self._intervals += 1
        if self._sum.sent < MIN_SENT_BYTES:
            if self._intervals >= EXPIRY_INTERVALS:
                self._start_over()
                self.ratio, self.low_in_a_row = None, 0
            return None
        if self._intervals < INTERVALS:
            return None
        self.of = self._sum
        self.ratio = self._sum.seen / self._sum.sent
        self._start_over()
        return self._change(self.ratio)

    def _start_over(self) -> None:
        self._sum, self._intervals = Passed(), 0

    def _change(self, ratio: float) -> Change | None:
        self.low_in_a_row = self.low_in_a_row + 1 if ratio < LOW else 0
        if ratio < LOW and not self._is_low:
            self._is_low = True
            return "fell"
        if ratio >= RECOVERED and self._is_low:
            self._is_low = False
            return "recovered"
        return None
