"""The watchdog: one line when coverage falls; it ends the agent only if another probe may help."""

import asyncio
import logging
import threading
from pathlib import Path
from typing import cast

import pytest

from kzn.agent.coverage.hook_coverage import INTERVALS, MIN_SENT_BYTES, Meter, Passed
from kzn.agent.coverage.watchdog import LOW_RATIOS, CoverageWatchdog, SwitchPolicy
from kzn.agent.pins.notes import APART_SECONDS, LastTrial, Notes
from kzn.agent.stats import AgentStats
from kzn.errors import KernelError, KznError


class FakeMeter:
    """Returns a share of the sent bytes as seen, or fails."""

    def __init__(self) -> None:
        self.share = 1.0
        self.fails = False

    def take(self) -> Passed:
        if self.fails:
            raise KernelError("ask netlink: EIO", errno=5)
        return Passed(int(self.share * MIN_SENT_BYTES), MIN_SENT_BYTES)


class Watched:
    """A watchdog over a fake meter and a fake clock."""

    def __init__(self, policy: SwitchPolicy) -> None:
        self.now = 10_000.0
        self.meter = FakeMeter()
        self.stats = AgentStats(probe="postrouting", interval=10.0)
        self.watchdog = CoverageWatchdog(
            cast(Meter, self.meter), self.stats, policy, lambda: self.now
        )

    def pass_by(self, share: float, ratios: int) -> None:
        self.meter.share = share
        self.measure(ratios * INTERVALS)

    def measure(self, times: int) -> None:
        async def measure() -> None:
            for _ in range(times):
                await self.watchdog.measure()

        asyncio.run(measure())


def test_a_fall_and_a_recovery_of_coverage_are_logged_once_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    watched = Watched(SwitchPolicy())
    watched.pass_by(1.0, 2)
    watched.pass_by(0.25, 20)
    watched.pass_by(1.0, 3)
    fell, recovered = [record.getMessage() for record in caplog.records]
    assert "postrouting misses traffic: it has seen 1572864 of 6291456 bytes" in fell
    assert "(25 %)" in fell
    assert "try --probe tcx" in fell
    assert "postrouting sees traffic that leaves this node again: 100 %" in recovered
    assert watched.stats.coverage == 1.0
    watched.watchdog.check()


def test_an_agent_with_low_coverage_is_not_unhealthy(tmp_path: Path) -> None:
    watched = Watched(SwitchPolicy(("tcx",), Notes(tmp_path)))
    watched.pass_by(0.0, 2 * LOW_RATIOS)
    assert watched.stats.unhealthy_reason() == ""


def test_with_auto_the_agent_ends_after_five_low_ratios_and_leaves_a_note(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    watched = Watched(SwitchPolicy(("tcx",), notes))
    watched.pass_by(0.1, LOW_RATIOS - 1)
    watched.watchdog.check()
    assert not notes.suspected_blind
    watched.pass_by(0.1, 1)
    with pytest.raises(KznError, match=r"sees 10% of the bytes.* tries tcx"):
        watched.watchdog.check()
    assert notes.suspected_blind


def test_a_probe_selected_without_traffic_is_doubted_at_its_first_low_ratio(
    tmp_path: Path,
) -> None:
    notes = Notes(tmp_path)
    watched = Watched(SwitchPolicy(("tcx",), notes, is_proven=False))
    watched.pass_by(0.1, 1)
    with pytest.raises(KznError, match=r"sees 10% of the bytes.* tries tcx"):
        watched.watchdog.check()
    assert notes.suspected_blind


def test_the_first_good_ratio_proves_a_probe(tmp_path: Path) -> None:
    watched = Watched(SwitchPolicy(("tcx",), Notes(tmp_path), is_proven=False))
    watched.pass_by(0.95, 1)
    watched.pass_by(0.1, LOW_RATIOS - 1)
    watched.watchdog.check()
    watched.pass_by(0.1, 1)
    with pytest.raises(KznError):
        watched.watchdog.check()


def test_one_good_ratio_resets_the_count_of_low_ones(tmp_path: Path) -> None:
    watched = Watched(SwitchPolicy(("tcx",), Notes(tmp_path)))
    for _ in range(3):
        watched.pass_by(0.1, LOW_RATIOS - 1)
        watched.pass_by(0.95, 1)
    watched.watchdog.check()


def test_without_another_probe_the_agent_does_not_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(SwitchPolicy((), Notes(tmp_path)))
    watched.pass_by(0.1, 3 * LOW_RATIOS)
    watched.watchdog.check()
    assert "no other probe can run here" in caplog.text


def test_the_agent_does_not_end_again_before_the_note_allows_it(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    notes.record(LastTrial(10_000.0))
    watched = Watched(SwitchPolicy(("tcx",), notes))
    watched.now += APART_SECONDS - 1
    watched.pass_by(0.1, 2 * LOW_RATIOS)
    watched.watchdog.check()
    watched.now += 1
    watched.pass_by(0.1, 1)
    with pytest.raises(KznError):
        watched.watchdog.check()


def test_the_agent_does_not_end_when_it_cannot_leave_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(SwitchPolicy(("tcx",), Notes(tmp_path / "gone")))
    watched.pass_by(0.1, 2 * LOW_RATIOS)
    watched.watchdog.check()
    assert "auto+distrusted" in caplog.text


def test_a_failing_meter_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(SwitchPolicy())
    watched.meter.fails = True
    watched.measure(5)
    assert caplog.text.count("coverage cannot be measured") == 1


class WaitingMeter(FakeMeter):
    """A meter whose netlink call waits until the event loop has made a turn."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.turned = threading.Event(), threading.Event()

    def take(self) -> Passed:
        self.asked.set()
        assert self.turned.wait(10)
        return super().take()


def test_netlink_that_waits_does_not_stop_the_event_loop() -> None:
    watched, meter = Watched(SwitchPolicy()), WaitingMeter()
    watchdog = CoverageWatchdog(cast(Meter, meter), watched.stats, SwitchPolicy())

    async def measure() -> None:
        measuring = asyncio.create_task(watchdog.measure())
        assert await asyncio.to_thread(meter.asked.wait, 10)
        assert not measuring.done()
        meter.turned.set()
        await measuring

    asyncio.run(measure())
