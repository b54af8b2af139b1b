"""Under churn no byte goes to a wrong pod, and none is needlessly unresolved.

Generated clusters, each replayed to the real index, pipeline and ledger and compared with the
generator's truth. KZN_CHURN sets how many.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from churn_naive import LastEventWins
from churn_run import ChangingIndex, Replay
from churn_truth import Cluster
from churn_verdict import Outcome, attributed, evaluate, in_ledger

from kzn.topology.index import AddressIndex

pytestmark = pytest.mark.slow

SEEDS = int(os.environ.get("KZN_CHURN", "300"))
FEW = 30


def real(replay: Replay) -> AddressIndex:
    return AddressIndex(clock=lambda: replay.now, wall=replay.wall)


def played(
    seed: int, make: Callable[[Replay], ChangingIndex] = real, *, has_api_clock: bool = False
) -> Replay:
    replay = Replay(Cluster(seed, has_api_clock=has_api_clock), make)
    replay.run()
    return replay


def evaluated(seed: int) -> tuple[int, Outcome, bool]:
    replay = played(seed, has_api_clock=bool(seed % 2))
    return seed, evaluate(replay), attributed(replay) == in_ledger(replay)


@pytest.fixture(scope="module")
def outcomes() -> list[tuple[int, Outcome, bool]]:
    with ProcessPoolExecutor(mp_context=get_context("fork")) as pool:
        return list(pool.map(evaluated, range(SEEDS), chunksize=10))


Outcomes = list[tuple[int, Outcome, bool]]


def test_no_byte_goes_to_a_wrong_pod(outcomes: Outcomes) -> None:
    assert [(seed, found.examples) for seed, found, _ in outcomes if found.wrong] == []


def test_bytes_are_unresolved_only_where_the_owner_cannot_be_known(outcomes: Outcomes) -> None:
    assert [(seed, found.examples) for seed, found, _ in outcomes if found.avoidable] == []


def test_every_byte_is_in_a_flow_and_every_attributed_byte_in_the_ledger(
    outcomes: Outcomes,
) -> None:
    assert [seed for seed, found, _ in outcomes if found.missing] == []
    assert [seed for seed, _, agrees in outcomes if not agrees] == []


def test_most_bytes_are_attributed(outcomes: Outcomes) -> None:
    sent = sum(found.sent for _, found, _ in outcomes)
    assert sum(found.unresolved for _, found, _ in outcomes) < 0.45 * sent


def test_the_api_servers_own_clock_leaves_less_unresolved_and_nothing_wrong() -> None:
    pairs = [
        (evaluate(played(seed)), evaluate(played(seed, has_api_clock=True))) for seed in range(FEW)
    ]
    assert [one.examples for _, one in pairs if one.wrong] == []
    without, by_clock = (
        sum(side.unresolved for side in sides) for sides in zip(*pairs, strict=True)
    )
    assert by_clock < without


def test_a_seed_replays_the_same_each_time() -> None:
    assert evaluate(played(7)) == evaluate(played(7))
    assert evaluate(played(7)) != evaluate(played(8))


def test_an_index_where_the_last_event_wins_fails() -> None:
    found = [evaluate(played(seed, LastEventWins)) for seed in range(FEW)]
    assert sum(one.wrong > 0 for one in found) > FEW // 2
    assert sum(one.avoidable > 0 for one in found) > FEW // 2
