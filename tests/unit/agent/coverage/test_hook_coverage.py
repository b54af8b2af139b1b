"""Coverage: what is compared, when there is a ratio, and when it falls and recovers."""

import struct
from collections.abc import Iterable
from types import SimpleNamespace
from typing import cast

import pytest

from kzn.agent.coverage import hook_coverage
from kzn.agent.coverage.hook_coverage import (
    EXPIRY_INTERVALS,
    INTERVALS,
    MIN_SENT_BYTES,
    Coverage,
    Meter,
    Passed,
    between,
    carried,
    leaving,
)
from kzn.agent.devices.link_stats import Sent
from kzn.agent.devices.table import Device
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import PACKED_BYTES
from kzn.errors import KernelError
from kzn.model.totals import INBOUND_IN_FLOWS, SLOTS, Slot

ETH = Device(2, "eth0")
PPP = Device(3, "ppp0", is_ethernet=False)
CPUS = 2


class FakeMaps:
    """The totals of two buffers on two CPUs, half on each."""

    def __init__(self) -> None:
        self.buffers = [[0] * 16, [0] * 16]
        self.at = 0
        self.totals = SimpleNamespace(read=self._read)

    def active(self) -> int:
        return self.at

    def add(self, size: int, slot: int = 0) -> None:
        self.buffers[self.at][slot] += size

    def _read(self, buffer: int, size: int) -> bytes:
        rows = [(1, total // CPUS) for total in self.buffers[buffer]]
        rows[0] = (1 << PACKED_BYTES | rows[0][1] % (1 << 39), rows[0][1] >> 39)
        rows *= CPUS
        raw = b"".join(struct.pack("<QQ", *row) for row in rows)
        assert len(raw) == size
        return raw


class FakeCounters:
    """Transmit counters by device index."""

    def __init__(self) -> None:
        self.devices = {2: Sent(0, 0)}
        self.fails = False

    def send(self, size: int, index: int = 2) -> None:
        before = self.devices[index]
        self.devices[index] = Sent(before.packets + 1, before.bytes + size + 14)

    def sent(self, indices: Iterable[int]) -> dict[int, Sent]:
        if self.fails:
            raise KernelError("ask netlink: EIO", errno=5)
        return {index: self.devices[index] for index in indices if index in self.devices}


@pytest.fixture
def maps(monkeypatch: pytest.MonkeyPatch) -> FakeMaps:
    monkeypatch.setattr(hook_coverage, "possible_cpus", lambda: CPUS)
    return FakeMaps()


def slot(reason: str) -> int:
    return SLOTS.index(Slot("ignored", reason))


def test_local_inbound_and_encapsulated_packets_have_not_left(maps: FakeMaps) -> None:
    maps.add(10_000)
    for reason, size in (("local", 100), ("inbound", 20), ("tunnel", 4), ("multicast", 6000)):
        maps.add(size, slot(reason))
    maps.add(2000, INBOUND_IN_FLOWS)
    assert leaving(cast(MapSet, maps), 0) == 10_000 - 100 - 20 - 4 - 2000


def test_link_layer_headers_are_subtracted_from_what_a_device_sent() -> None:
    counters = FakeCounters()
    counters.devices = {2: Sent(10, 1140), 3: Sent(10, 1000)}
    assert carried(counters, [ETH, PPP]) == {2: 1000, 3: 1000}


@pytest.mark.parametrize("after", [{}, {2: 5}, {2: 10, 3: 0}])
def test_a_device_added_removed_or_reset_makes_a_window_invalid(after: dict[int, int]) -> None:
    assert between({2: 7}, after) is None
    assert between({2: 7}, {2: 9}) == 2


def make(maps: FakeMaps, counters: FakeCounters) -> Meter:
    meter = Meter(cast(MapSet, maps), counters)
    meter.measure((ETH,))
    return meter


def test_a_meter_returns_the_traffic_between_two_calls(maps: FakeMaps) -> None:
    counters = FakeCounters()
    maps.add(500)
    counters.send(700)
    meter = make(maps, counters)
    maps.add(1000)
    counters.send(2000)
    assert meter.take() == Passed(1000, 2000)
    assert meter.take() == Passed()


def test_traffic_during_a_cut_is_in_no_window_and_the_rest_is(maps: FakeMaps) -> None:
    counters = FakeCounters()
    meter = make(maps, counters)
    maps.add(100)
    counters.send(100)
    with meter.paused():
        maps.at = 1
        maps.add(7)
        counters.send(900)
        meter.measure((ETH,))
    maps.add(50)
    counters.send(50)
    assert meter.take() == Passed(150, 150)


def test_a_window_in_which_the_buffers_were_switched_is_dropped(maps: FakeMaps) -> None:
    counters = FakeCounters()
    meter = make(maps, counters)
    maps.add(100)
    counters.send(100)
    maps.at = 1
    assert meter.take() == Passed()


def test_nothing_is_measured_while_the_uplinks_are_unknown(maps: FakeMaps) -> None:
    counters = FakeCounters()
    meter = make(maps, counters)
    maps.add(10)
    counters.send(10)
    meter.measure(())
    maps.add(100)
    counters.send(5)
    meter.measure((ETH,))
    assert meter.take() == Passed(10, 10)


def test_a_failure_is_raised_once_by_take_and_the_meter_continues(maps: FakeMaps) -> None:
    counters = FakeCounters()
    meter = make(maps, counters)
    counters.fails = True
    with meter.paused():
        pass
    with pytest.raises(KernelError):
        meter.take()
    counters.fails = False
    assert meter.take() == Passed()
    maps.add(4)
    counters.send(4)
    assert meter.take() == Passed(4, 4)


def played(*ratios: float) -> tuple[Coverage, list[str]]:
    """A coverage after these ratios, and the changes that they caused."""
    its, turns = Coverage(), []
    for ratio in ratios:
        for _ in range(INTERVALS):
            turn = its.interval(Passed(int(MIN_SENT_BYTES * ratio), MIN_SENT_BYTES))
            turns += [turn] if turn else []
    return its, [str(turn) for turn in turns]


def test_a_ratio_needs_six_intervals() -> None:
    its = Coverage()
    for _ in range(INTERVALS - 1):
        assert its.interval(Passed(MIN_SENT_BYTES, MIN_SENT_BYTES)) is None
        assert its.ratio is None
    its.interval(Passed(MIN_SENT_BYTES, MIN_SENT_BYTES))
    assert its.ratio == 1.0


def test_a_quiet_node_has_no_ratio_until_enough_was_sent() -> None:
    its = Coverage()
    for _ in range(EXPIRY_INTERVALS - 1):
        its.interval(Passed(0, MIN_SENT_BYTES // EXPIRY_INTERVALS))
        assert its.ratio is None
    its.interval(Passed(0, MIN_SENT_BYTES))
    assert its.ratio is not None
    assert its.low_in_a_row == 1


def test_the_ratio_of_a_node_that_becomes_quiet_expires() -> None:
    its, _ = played(0.5)
    for _ in range(EXPIRY_INTERVALS):
        assert its.interval(Passed(0, 10)) is None
    assert (its.ratio, its.low_in_a_row) == (None, 0)


def test_coverage_falls_once_and_recovers_once() -> None:
    _, turns = played(1.0, 0.89, 0.5, 0.91, 0.89, 0.94, 0.96, 1.0)
    assert turns == ["fell", "recovered"]


def test_only_ratios_in_a_row_count_as_low() -> None:
    assert played(0.8, 0.8, 0.91, 0.8)[0].low_in_a_row == 1
    assert played(0.8, 0.8, 0.8)[0].low_in_a_row == 3
