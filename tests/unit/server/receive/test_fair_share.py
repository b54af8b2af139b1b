"""The CPU budget by address, and the memory limit on unfinished frames."""

import pytest

from kzn.server.receive import fair_share
from kzn.server.receive.fair_share import FairShare
from kzn.server.receive.frame_memory import FREE_BYTES, UnfinishedFrames


def test_an_address_below_its_share_never_waits() -> None:
    shares = FairShare(share=0.25, burst=1.0)
    waits = [shares.charge("a", 0.2, now) for now in range(100)]
    assert waits == [0.0] * 100


def test_an_address_above_its_share_is_throttled_to_it_and_others_are_not() -> None:
    shares = FairShare(share=0.25, burst=1.0)
    now = work = 0.0
    for _ in range(200):
        now += 0.1
        work += 0.1
        now += shares.charge("hog", 0.1, now)
    assert work / now == pytest.approx(0.25, rel=0.3)
    assert shares.charge("other", 0.1, now) == 0.0


def test_the_only_address_never_waits() -> None:
    shares = FairShare(share=0.25, burst=1.0)
    shares.single_address = True
    assert shares.charge("hog", 100.0, 0.0) == 0.0
    shares.single_address = False
    assert shares.charge("hog", 0.0, 0.0) == 99.0 / 0.25


def test_the_number_of_addresses_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_share, "MAX_ADDRESSES", 3)
    shares = FairShare(share=0.25, burst=1.0)
    for i in range(10):
        shares.charge(f"10.0.0.{i}", 1.0, 0.0)
    assert len(shares) == 3


class Holder:
    """Counts its evictions."""

    def __init__(self) -> None:
        self.evicted = 0

    def evict(self) -> None:
        self.evicted += 1


def test_the_first_bytes_of_each_connection_are_free() -> None:
    frames = UnfinishedFrames(limit=10)
    for holder in (Holder(), Holder(), Holder()):
        frames.update(holder, FREE_BYTES)
    assert frames.held_bytes == 0


def test_the_oldest_frames_are_evicted_until_the_total_is_within_the_limit() -> None:
    frames = UnfinishedFrames(limit=100)
    first, second, third = Holder(), Holder(), Holder()
    frames.update(first, FREE_BYTES + 40)
    frames.update(second, FREE_BYTES + 40)
    frames.update(first, FREE_BYTES + 50)
    assert frames.held_bytes == 90
    frames.update(third, FREE_BYTES + 60)
    assert (first.evicted, second.evicted, third.evicted) == (1, 0, 0)
    assert frames.held_bytes == 100
    frames.update(second, 0)
    assert frames.held_bytes == 60
    frames.update(third, FREE_BYTES + 101)
    assert third.evicted == 1
    assert frames.held_bytes == 0
