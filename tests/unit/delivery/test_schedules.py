"""Exactly-once delivery under random fault schedules, and a check that they find broken code.

``KZN_SOAK=10000`` runs that many schedules and prints the first seed. Replay one with
``KZN_SEED=<seed> KZN_SOAK=1 make test ARGS="-k exactly_once"``.
"""

import logging
import os
import random
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import TypeVar

import pytest
from delivery import DeliveryError, Parts, World, play_schedule

from kzn.agent.deliver.connection import ServerConnection
from kzn.agent.deliver.shipper import Shipper
from kzn.agent.maps.spool import Spool
from kzn.model.batch import Batch
from kzn.server.ledger.family import FAMILIES, FamilyName
from kzn.server.pipeline import AccountingSnapshot
from kzn.server.state.durability import Durability
from kzn.wire.sequences import AppliedSequences, Key, SequenceCheck

_T = TypeVar("_T")

pytestmark = pytest.mark.slow

SCHEDULES = int(os.environ.get("KZN_SOAK", "300"))
FIRST = int(os.environ.get("KZN_SEED") or random.SystemRandom().randrange(1 << 31))

FOUND_WITHIN = 400
"""A broken class must fail one of so many schedules; most fail one of the first ten."""
REPLAY = 'KZN_SEED={} KZN_SOAK=1 make test ARGS="-k exactly_once"'


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def violation_of(seed: int, parts: Parts | None = None) -> str:
    """The violation found by a schedule; empty if none."""
    logging.disable(logging.CRITICAL)
    try:
        play_schedule(seed, parts)
    except DeliveryError as error:
        return f"{error}"
    except BaseExceptionGroup as group:
        violated, others = group.split(DeliveryError)
        if violated is None or others is not None:
            raise
        return f"{violated.exceptions[0]}"
    return ""


def test_every_byte_is_counted_exactly_once(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\ndelivery: {SCHEDULES} schedules from seed {FIRST}")  # noqa: T201 - the seed to replay
    seeds = range(FIRST, FIRST + SCHEDULES)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        violations = dict(zip(seeds, pool.map(violation_of, seeds, chunksize=10), strict=True))
    found = {REPLAY.format(seed): violation for seed, violation in violations.items() if violation}
    assert not found


def test_the_same_seed_gives_the_same_run() -> None:
    def trace(world: World) -> list[object]:
        return [
            *(agent.kernel.sent for agent in world.agents),
            *(server.seen() for server in world.servers),
            world.rng.random(),
        ]

    for seed in range(20):
        assert trace(play_schedule(seed)) == trace(play_schedule(seed))


def broken(part: type[_T]) -> type[_T]:
    """Decorates a class under test with one fault; its methods must override existing ones."""
    added = [n for n in vars(part) if not n.startswith("__") and not hasattr(part.__base__, n)]
    assert not added, f"{part.__name__} overrides nothing with {added}"
    return part


@broken
class ClearsBeforeTheAck(Spool):
    def cut(self) -> Batch:
        batch = super().cut()
        self.acknowledge(batch.sequence)
        return batch


@broken
class ReadsWithoutTheFence(Spool):
    def cut(self) -> Batch:
        self._quiet = self._maps.state().sequence
        return super().cut()


@broken
class NeverClears(Spool):
    def _finish_clearing(self, state):  # type: ignore[no-untyped-def]
        return replace(state, phase=0)


@broken
class NoDuplicates(AppliedSequences):
    def check(self, key: Key, sequence: int) -> SequenceCheck:
        del key, sequence
        return SequenceCheck.NEXT


@broken
class CountsRepeats(Durability):
    def __init__(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        super().__init__(*args, **kwargs)
        self.sequences.__class__ = NoDuplicates


@broken
class AcksBeforeTheCommit(Durability):
    async def durable(self) -> None:
        return


@broken
class ShowsBeforeTheCommit(Durability):
    async def committed_snapshot(
        self, families: Collection[FamilyName] = tuple(FAMILIES)
    ) -> AccountingSnapshot:
        return self._snapshot(families)


@broken
class CommitsWithoutSequences(Durability):
    def __init__(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        super().__init__(*args, **kwargs)
        self.sequences.__class__ = UnsavedSequences


@broken
class UnsavedSequences(AppliedSequences):
    def changed(self) -> dict[Key, int | None]:
        return {}


@broken
class TakesAnyServer(Shipper):
    def _require_first_server(self, connection: ServerConnection, sequence: int) -> None:
        del connection, sequence


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
def test_schedules_find_broken_classes(parts: Parts) -> None:
    assert any(violation_of(seed, parts) for seed in range(FOUND_WITHIN))
