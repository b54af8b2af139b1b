"""Group commit, in virtual time: acks and snapshots after their commit, and few commits."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from virtual import play as run

from kzn.errors import StateError
from kzn.server.ledger.family import FamilyChanges, SeriesState
from kzn.server.ledger.labels import Labels
from kzn.server.state.checkpoint import Changes
from kzn.server.state.group_commit import CommitIntervals, Committer

INTERVALS = CommitIntervals(pending_ack=0.2, idle=1.0, after_error=1.0, snapshot=5.0)


@dataclass
class Scene:
    """A counter, and a store that records its committed values; fails while ``full``."""

    counted: int = 0
    committed: list[int] = field(default_factory=list)
    full: bool = False
    closed: bool = False
    taken: int = 0

    def take(self) -> Changes:
        grown, self.taken = self.counted - self.taken, self.counted
        state = SeriesState(self.counted, True, 0.0)
        rows: dict[Labels, SeriesState] = {("n", "p"): state} if grown else {}
        changes = FamilyChanges([], rows, SeriesState(0, True, 0.0), 0)
        return Changes({"pod": changes}, {}, [], [], [], {})

    def write(self, changes: Changes) -> None:
        if self.full:
            raise StateError("state file f: database or disk is full", reason="disk_full")
        self.committed.append(dict(changes.families["pod"].rows.items())["n", "p"].bytes)

    def close(self) -> None:
        self.closed = True

    def snapshot(self) -> int:
        return self.counted

    def start(self) -> None:
        self.committer = Committer[int](self, self.take, self.snapshot, intervals=INTERVALS)

    async def apply(self) -> int:
        """Apply a batch; returns the committed value at the time of its ack."""
        self.counted += 1
        await self.committer.durable()
        return self.committed[-1]


def play(act: Callable[[Scene], Awaitable[None]]) -> Scene:
    scene = Scene()

    async def main() -> None:
        scene.start()
        await scene.committer.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(scene.committer.run())
            await act(scene)
            await scene.committer.close()

    run(main())
    assert scene.closed
    return scene


def now() -> float:
    return asyncio.get_running_loop().time()


def test_an_ack_waits_for_the_commit_of_its_batch() -> None:
    async def act(scene: Scene) -> None:
        for number in range(1, 4):
            assert await scene.apply() >= number

    play(act)


def test_five_hundred_batches_at_once_take_at_most_two_commits() -> None:
    async def act(scene: Scene) -> None:
        await asyncio.sleep(10.0)
        started = now()
        await asyncio.gather(*(scene.apply() for _ in range(500)))
        assert len(scene.committed) <= 2
        assert now() - started <= 0.5

    play(act)


def test_continuous_batches_take_five_commits_a_second() -> None:
    async def act(scene: Scene) -> None:
        async def agent(number: int) -> None:
            await asyncio.sleep(number * 0.01)
            await scene.apply()

        await asyncio.gather(*(agent(number) for number in range(1000)))
        assert len(scene.committed) <= 51

    play(act)


def test_a_repeat_of_a_committed_batch_is_acked_without_a_commit() -> None:
    async def act(scene: Scene) -> None:
        await scene.apply()
        await scene.committer.durable()
        assert len(scene.committed) == 1

    play(act)


def test_a_repeat_waits_for_the_commit_of_its_batch() -> None:
    async def act(scene: Scene) -> None:
        scene.full = True
        first = asyncio.create_task(scene.apply())
        await asyncio.sleep(3.0)
        repeat = asyncio.create_task(scene.committer.durable())
        await asyncio.sleep(3.0)
        assert not first.done()
        assert not repeat.done()
        scene.full = False
        await asyncio.gather(first, repeat)

    play(act)


def test_changes_without_a_batch_are_committed_within_a_second() -> None:
    async def act(scene: Scene) -> None:
        await asyncio.sleep(10.0)
        scene.counted += 1
        await asyncio.sleep(1.01)
        assert scene.committed == [1]

    play(act)


def test_while_the_disk_is_full_no_batch_is_acked_and_afterwards_all_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act(scene: Scene) -> None:
        scene.full = True
        acks = [asyncio.create_task(scene.apply()) for _ in range(3)]
        await asyncio.sleep(30.0)
        assert not any(ack.done() for ack in acks)
        assert 25 <= scene.committer.stats.failures["disk_full"] <= 31
        scene.full = False
        assert await asyncio.gather(*acks) == [3, 3, 3]

    with caplog.at_level(logging.INFO):
        play(act)
    failed, succeeded = caplog.messages
    assert failed.startswith("state file f: database or disk is full")
    assert "commits succeed again" in succeeded


def test_acks_that_timed_out_are_removed() -> None:
    async def act(scene: Scene) -> None:
        scene.full = True
        for _ in range(50):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2.0):
                    await scene.apply()
        assert scene.committer.pending_acks < 5
        scene.full = False

    assert play(act).committed[-1] == 50


def test_a_snapshot_is_shown_after_its_commit() -> None:
    async def act(scene: Scene) -> None:
        assert await scene.committer.committed_snapshot() == 0
        scene.counted = 1
        assert await scene.committer.committed_snapshot() == 1
        scene.full, scene.counted = True, 2
        started = now()
        assert await scene.committer.committed_snapshot() == 1
        assert now() - started == INTERVALS.snapshot
        scene.full = False
        assert await scene.committer.committed_snapshot() == 2

    play(act)


def test_close_commits_the_last_changes() -> None:
    async def act(scene: Scene) -> None:
        await asyncio.sleep(5.0)
        scene.counted = 7

    assert play(act).committed == [7]


def test_close_with_a_full_disk_logs_it_and_returns(caplog: pytest.LogCaptureFixture) -> None:
    async def act(scene: Scene) -> None:
        scene.full, scene.counted = True, 7

    assert play(act).committed == []
    assert "not in the state file" in caplog.text
