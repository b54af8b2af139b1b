"""Exactly once over any fault: random schedules, and proof that they find what is broken.

``KZN_SOAK=10000`` plays that many; the seed of the first is printed. One is played again by
``KZN_SEED=<seed> KZN_SOAK=1 make test ARGS="-k exactly_once"``.
"""

import logging
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest
from delivery import BrokenPromiseError, Parts, World, play_schedule

from kzn.agent.deliver.connection import ServerConnection
from kzn.agent.deliver.shipper import Shipper
from kzn.agent.maps.spool import Spool
from kzn.model.batch import Batch
from kzn.server.pipeline import AccountingSnapshot
from kzn.server.state.durability import Durability
from kzn.wire.sequences import AppliedSequences, Key, SequenceCheck

SCHEDULES = int(os.environ.get("KZN_SOAK", "300"))
FIRST = int(os.environ.get("KZN_SEED") or random.SystemRandom().randrange(1 << 31))
FOUND_WITHIN = 400
"""Schedules after which a broken part must have been found; most are in the first ten."""
REPLAY = 'KZN_SEED={} KZN_SOAK=1 make test ARGS="-k exactly_once"'


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def fault_of(seed: int, parts: Parts | None = None) -> str:
    """What went wrong in a schedule, empty when nothing did."""
    logging.disable(logging.CRITICAL)
    try:
        play_schedule(seed, parts)
    except BrokenPromiseError as error:
        return f"{error}"
    except BaseExceptionGroup as group:
        broken, others = group.split(BrokenPromiseError)
        if broken is None or others is not None:
            raise
        return f"{broken.exceptions[0]}"
    return ""


def test_every_byte_is_counted_exactly_once(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\ndelivery: {SCHEDULES} schedules from seed {FIRST}")  # noqa: T201 - to replay
    seeds = range(FIRST, FIRST + SCHEDULES)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        faults = dict(zip(seeds, pool.map(fault_of, seeds, chunksize=10), strict=True))
    found = {REPLAY.format(seed): fault for seed, fault in faults.items() if fault}
    assert not found


def test_the_same_seed_plays_the_same_way() -> None:
    def trace(world: World) -> list[object]:
        return [
            *(agent.kernel.sent for agent in world.agents),
            *(server.seen() for server in world.servers),
            world.rng.random(),
        ]

    for seed in range(20):
        assert trace(play_schedule(seed)) == trace(play_schedule(seed))


class ClearsBeforeTheAck(Spool):
    def cut(self) -> Batch:
        batch = super().cut()
        self.acknowledge(batch.sequence)
        return batch


class ReadsWithoutTheFence(Spool):
    def cut(self) -> Batch:
        self._quiet = self._maps.state().sequence
        return super().cut()


class NeverClears(Spool):
    def _finish_clearing(self, state):  # type: ignore[no-untyped-def]
        return replace(state, phase=0)


class ForgetfulBook(AppliedSequences):
    def judge(self, key: Key, sequence: int) -> SequenceCheck:
        del key, sequence
        return SequenceCheck.NEXT


class CountsRepeats(Durability):
    def __init__(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        super().__init__(*args, **kwargs)
        self.sequences.__class__ = ForgetfulBook


class AcksBeforeTheCommit(Durability):
    async def durable(self) -> None:
        return


class ShowsBeforeTheCommit(Durability):
    async def committed_snapshot(self) -> AccountingSnapshot:
        return self._snapshot()


class CommitsWithoutSequences(Durability):
    def __init__(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        super().__init__(*args, **kwargs)
        self.sequences.__class__ = UnsavedBook


class UnsavedBook(AppliedSequences):
    def changed(self) -> dict[Key, int | None]:
        return {}


class TakesAnyServer(Shipper):
    def _keep_to_one_ledger(self, link: ServerConnection, sequence: int) -> None:
        del link, sequence


@pytest.mark.parametrize(
    "parts",
    [
        Parts(spool=ClearsBeforeTheAck),
        Parts(spool=ReadsWithoutTheFence),
        Parts(spool=NeverClears),
        Parts(durability=CountsRepeats),
        Parts(durability=AcksBeforeTheCommit),
        Parts(durability=ShowsBeforeTheCommit),
        Parts(durability=CommitsWithoutSequences),
        Parts(shipper=TakesAnyServer),
    ],
    ids=lambda parts: next(
        part.__name__
        for part in (parts.spool, parts.durability, parts.shipper)
        if part not in (Spool, Durability, Shipper)
    ),
)
def test_schedules_find_what_is_broken(parts: Parts) -> None:
    assert any(fault_of(seed, parts) for seed in range(FOUND_WITHIN))
