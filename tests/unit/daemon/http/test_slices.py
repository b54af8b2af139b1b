"""Text made on the event loop in slices: how much at a time, and what others get meanwhile."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from itertools import count
from typing import Any

import pytest

from kzn.daemon.http.body import BodyMaker
from kzn.daemon.http.slices import LONGEST, SHARE, SHORTEST, Slices
from kzn.server.ledger.family import FAMILIES, Row
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.metrics.text import CHUNK, series
from kzn.server.metrics.traffic import FAMILY_METRICS

PIECE = 0.001


class AtOnce(Executor):
    """Does work at once: a thread would let any number of turns of the loop pass."""

    def submit(  # type: ignore[override] # all of it by position
        self, work: Callable[..., Any], /, *args: Any
    ) -> "Future[Any]":
        done: Future[Any] = Future()
        done.set_result(work(*args))
        return done


class Scene:
    """Slices on a clock that other work and pieces move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns = 0
        self.made: list[int] = []
        """The turn of the loop in which each piece was made."""
        self.slices = Slices(AtOnce(), clock=lambda: self.now)

    def pieces(self, number: int) -> Iterator[bytes]:
        for at in range(number):
            self.made.append(self.turns)
            self.now += PIECE
            yield b"%d\n" % at

    async def others(self, seconds: float) -> None:
        """Work of ``seconds`` in each turn of the loop."""
        while True:
            self.turns += 1
            self.now += seconds
            await asyncio.sleep(0)

    async def body(self, number: int, busy: float) -> bytes:
        other = asyncio.create_task(self.others(busy))
        body = await self.slices.body(self.pieces(number), BodyMaker())
        other.cancel()
        return b"".join(body.pieces())

    def sizes(self) -> set[int]:
        """How many pieces were made in each turn, but for the first and the last one."""
        turns = set(self.made) - {self.made[0], self.made[-1]}
        return {self.made.count(turn) for turn in turns}


TEXT = b"".join(b"%d\n" % at for at in range(200))


@pytest.mark.parametrize(
    ("busy", "seconds"),
    [(0.0, SHORTEST), (0.0001, SHORTEST), (1.0, LONGEST)],
    ids=["idle", "some work", "full"],
)
def test_a_slice_is_bounded_and_the_loop_turns_between_two(busy: float, seconds: float) -> None:
    scene = Scene()
    assert asyncio.run(scene.body(200, busy)) == TEXT
    assert max(scene.sizes()) in (round(seconds / PIECE), round(seconds / PIECE) + 1)


def test_a_busy_loop_gives_slices_their_share() -> None:
    scene = Scene()
    assert asyncio.run(scene.body(200, 0.015)) == TEXT
    # All that passes beside the pieces themselves is other work, also while a thread compresses.
    assert min(scene.sizes()) * PIECE >= 0.015 * SHARE / (1 - SHARE) - PIECE


def test_renderings_take_turns_slice_by_slice_with_a_turn_of_the_loop_between_two() -> None:
    slices: list[tuple[str, int]] = []

    async def both(scene: Scene) -> list[bytes]:
        def pieces(name: str) -> Iterator[bytes]:
            for piece in scene.pieces(20):
                if (name, scene.turns) not in slices:
                    slices.append((name, scene.turns))
                yield piece

        other = asyncio.create_task(scene.others(0.0))
        await asyncio.sleep(0)
        bodies = [scene.slices.body(pieces(name), BodyMaker()) for name in "ab"]
        found = [b"".join(body.pieces()) for body in await asyncio.gather(*bodies)]
        other.cancel()
        return found

    assert asyncio.run(both(Scene())) == [TEXT[: TEXT.index(b"20\n")]] * 2
    assert [name for name, _ in slices[:6]] == list("ababab")
    turns = [turn for _, turn in slices]
    assert len(set(turns)) == len(turns)


def test_a_rendering_that_fails_lets_the_next_one_begin() -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    async def both(scene: Scene) -> bytes:
        with pytest.raises(ZeroDivisionError):
            await scene.slices.body(broken(), BodyMaker())
        return await scene.body(200, 0.0)

    assert asyncio.run(both(Scene())) == TEXT


def test_batches_are_applied_during_the_scrape_of_a_large_ledger() -> None:
    """By the number of series alone: a clock that ticks with each call ends a slice at a piece."""
    size = 12 * CHUNK
    ledger = Ledger(LedgerLimits())
    ledger.load((Row("pod", ("shop", f"pod-{at}"), at) for at in range(size)), 0.0)
    snapshot = ledger.snapshot()
    ticks = count()
    slices = Slices(AtOnce(), clock=lambda: next(ticks) * LONGEST)
    applied: list[None] = []

    async def apply() -> None:
        while True:
            applied.append(None)
            await asyncio.sleep(0)

    async def scrape() -> bytes:
        applying = asyncio.create_task(apply())
        pieces = series(snapshot, FAMILIES["pod"], FAMILY_METRICS["pod"])
        body = await slices.body(pieces, BodyMaker())
        applying.cancel()
        return b"".join(body.pieces())

    assert asyncio.run(scrape()).count(b"\n") == size
    assert len(applied) >= size // CHUNK
