"""Group commit, in virtual time: acks after commits, few commits, nothing shown ahead of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from virtual import play as run

from kzn.errors import StateError
from kzn.server.ledger.family import FamilyChanges
from kzn.server.ledger.labels import Labels
from kzn.server.state.checkpoint import Changes
from kzn.server.state.group_commit import CommitIntervals, Committer

PACE = CommitIntervals(pending_ack=0.2, idle=1.0, failed=1.0, view=5.0)


@dataclass
class Scene:
    """A counter, and a store that remembers what was committed of it; may be told to fail."""

    counted: int = 0
    committed: list[int] = field(default_factory=list)
    full: bool = False
    closed: bool = False
    taken: int = 0

    def take(self) -> Changes:
        grown, self.taken = self.counted - self.taken, self.counted
        rows: dict[Labels, int] = {("n", "p"): self.counted} if grown else {}
        return Changes({"pod": FamilyChanges([], rows, 0, 0)}, {}, [], [], [], {})

    def write(self, changes: Changes) -> None:
        if self.full:
            raise StateError("state file f: database or disk is full", reason="disk_full")
        self.committed.append(changes.families["pod"].rows["n", "p"])

    def close(self) -> None:
        self.closed = True

    def snapshot(self) -> int:
        return self.counted

    def start(self) -> None:
        self.committer = Committer[int](self, self.take, self.snapshot, intervals=PACE)

    async def apply(self) -> int:
        """As a peer does with a batch; returns what was committed when the ack went out."""
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


def test_five_hundred_batches_at_once_are_two_commits_at_most() -> None:
    async def act(scene: Scene) -> None:
        await asyncio.sleep(10.0)
        begun = now()
        await asyncio.gather(*(scene.apply() for _ in range(500)))
        assert len(scene.committed) <= 2
        assert now() - begun <= 0.5

    play(act)


def test_batches_that_keep_coming_are_five_commits_a_second() -> None:
    async def act(scene: Scene) -> None:
        async def agent(number: int) -> None:
            await asyncio.sleep(number * 0.01)
            await scene.apply()

        await asyncio.gather(*(agent(number) for number in range(1000)))
        assert len(scene.committed) <= 51

    play(act)


def test_a_repeat_of_what_is_committed_is_acked_without_a_commit() -> None:
    async def act(scene: Scene) -> None:
        await scene.apply()
        await scene.committer.durable()
        assert len(scene.committed) == 1

    play(act)


def test_a_repeat_waits_for_the_commit_of_the_batch_that_it_repeats() -> None:
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


def test_what_changed_without_a_batch_is_committed_within_a_second() -> None:
    async def act(scene: Scene) -> None:
        await asyncio.sleep(10.0)
        scene.counted += 1
        await asyncio.sleep(1.01)
        assert scene.committed == [1]

    play(act)


def test_while_the_disk_is_full_nothing_is_acked_and_afterwards_everything(
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
    assert [message.split(";")[0] for message in caplog.messages] == [
        "state file f: database or disk is full",
        "the state file is written again",
    ]


def test_acks_that_nobody_waits_for_any_more_are_not_kept() -> None:
    async def act(scene: Scene) -> None:
        scene.full = True
        for _ in range(50):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2.0):
                    await scene.apply()
        assert len(scene.committer._acks) < 5
        scene.full = False

    assert play(act).committed[-1] == 50


def test_what_is_shown_is_committed() -> None:
    async def act(scene: Scene) -> None:
        assert await scene.committer.view() == 0
        scene.counted = 1
        assert await scene.committer.view() == 1
        scene.full, scene.counted = True, 2
        begun = now()
        assert await scene.committer.view() == 1
        assert now() - begun == PACE.view
        scene.full = False
        assert await scene.committer.view() == 2

    play(act)


def test_closing_commits_what_came_last() -> None:
    async def act(scene: Scene) -> None:
        await asyncio.sleep(5.0)
        scene.counted = 7

    assert play(act).committed == [7]


def test_closing_with_a_full_disk_says_so_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    async def act(scene: Scene) -> None:
        scene.full, scene.counted = True, 7

    assert play(act).committed == []
    assert "agents send them again" in caplog.text
