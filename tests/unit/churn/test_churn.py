"""Under churn no byte goes to a wrong pod, and none is lost that could have been known.

Seeds of a generated cluster, each played to the real index, pipeline and ledger; the truth is the
generator's. KZN_CHURN says how many.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from churn_naive import LastEventWins
from churn_run import ChangingIndex, Replay
from churn_truth import Cluster
from churn_verdict import Judgement, attributed, in_ledger, judge

from kzn.topology.index import AddressIndex

SEEDS = int(os.environ.get("KZN_CHURN", "300"))
FEW = 30


def real(replay: Replay) -> AddressIndex:
    return AddressIndex(clock=lambda: replay.now, wall=replay.wall)


def played(seed: int, make: Callable[[Replay], ChangingIndex] = real) -> Replay:
    replay = Replay(Cluster(seed), make)
    replay.run()
    return replay


def judged(seed: int) -> tuple[int, Judgement, bool]:
    replay = played(seed)
    return seed, judge(replay), attributed(replay) == in_ledger(replay)


@pytest.fixture(scope="module")
def judgements() -> list[tuple[int, Judgement, bool]]:
    with ProcessPoolExecutor(mp_context=get_context("fork")) as pool:
        return list(pool.map(judged, range(SEEDS), chunksize=10))


Judgements = list[tuple[int, Judgement, bool]]


def test_no_byte_goes_to_a_wrong_pod(judgements: Judgements) -> None:
    assert [(seed, found.examples) for seed, found, _ in judgements if found.wrong] == []


def test_bytes_are_unresolved_only_where_nobody_could_tell(judgements: Judgements) -> None:
    assert [(seed, found.examples) for seed, found, _ in judgements if found.needless] == []


def test_every_byte_is_somewhere_and_the_ledger_has_what_was_attributed(
    judgements: Judgements,
) -> None:
    assert [seed for seed, found, _ in judgements if found.missing] == []
    assert [seed for seed, _, agrees in judgements if not agrees] == []


def test_most_bytes_find_their_pods_even_so(judgements: Judgements) -> None:
    sent = sum(found.sent for _, found, _ in judgements)
    assert sum(found.unresolved for _, found, _ in judgements) < 0.45 * sent


def test_a_seed_plays_the_same_each_time() -> None:
    assert judge(played(7)) == judge(played(7))
    assert judge(played(7)) != judge(played(8))


def test_an_index_where_the_last_event_wins_is_caught() -> None:
    found = [judge(played(seed, LastEventWins)) for seed in range(FEW)]
    assert sum(one.wrong > 0 for one in found) > FEW // 2
    assert sum(one.needless > 0 for one in found) > FEW // 2
