"""Shares of the event loop, and the bound on unfinished frames."""

import pytest

from kzn.server.receive import fair_share
from kzn.server.receive.fair_share import FairShare
from kzn.server.receive.frame_memory import FREE, UnfinishedFrames


def test_whoever_stays_below_the_share_never_waits() -> None:
    shares = FairShare(share=0.25, burst=1.0)
    waits = [shares.spent("a", 0.2, now) for now in range(100)]
    assert waits == [0.0] * 100


def test_whoever_takes_more_waits_until_the_share_is_kept() -> None:
    shares = FairShare(share=0.25, burst=1.0)
    now = work = 0.0
    for _ in range(200):
        now += 0.1
        work += 0.1
        now += shares.spent("hog", 0.1, now)
    assert work / now == pytest.approx(0.25, rel=0.3)
    assert shares.spent("other", 0.1, now) == 0.0


def test_whoever_is_alone_does_not_wait() -> None:
    shares = FairShare(share=0.25, burst=1.0)
    shares.alone = True
    assert shares.spent("hog", 100.0, 0.0) == 0.0
    shares.alone = False
    assert shares.spent("hog", 0.0, 0.0) == 99.0 / 0.25


def test_only_the_latest_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_share, "MAX_ADDRESSES", 3)
    shares = FairShare(share=0.25, burst=1.0)
    for i in range(10):
        shares.spent(f"10.0.0.{i}", 1.0, 0.0)
    assert len(shares) == 3


class Holder:
    """Notes that it was cut off."""

    def __init__(self) -> None:
        self.gone = 0

    def give_way(self) -> None:
        self.gone += 1


def test_small_frames_are_nobodys_business() -> None:
    backlog = UnfinishedFrames(limit=10)
    for holder in (Holder(), Holder(), Holder()):
        backlog.keep(holder, FREE)
    assert backlog.held == 0


def test_the_slowest_gives_way_until_the_bound_holds() -> None:
    backlog = UnfinishedFrames(limit=100)
    first, second, third = Holder(), Holder(), Holder()
    backlog.keep(first, FREE + 40)
    backlog.keep(second, FREE + 40)
    backlog.keep(first, FREE + 50)
    assert backlog.held == 90
    backlog.keep(third, FREE + 60)
    assert (first.gone, second.gone, third.gone) == (1, 0, 0)
    assert backlog.held == 100
    backlog.keep(second, 0)
    assert backlog.held == 60
    backlog.keep(third, FREE + 101)
    assert third.gone == 1
    assert backlog.held == 0
