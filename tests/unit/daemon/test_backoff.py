"""kzn/daemon/backoff.py: waits grow, are bounded and random, and start again after a success."""

import random

from hypothesis import given
from hypothesis import strategies as st

from kzn.daemon.backoff import Backoff


class Highest(random.Random):
    """Always draws the upper end."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def test_the_ceiling_doubles_up_to_the_longest_wait() -> None:
    backoff = Backoff(Highest(), first=1.0, longest=10.0)
    assert [backoff.next() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_after_a_success_the_ceiling_starts_again() -> None:
    backoff = Backoff(Highest(), first=1.0, longest=10.0)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() == 1.0


@given(st.integers(), st.integers(1, 5000))
def test_a_wait_is_between_zero_and_the_longest(seed: int, tries: int) -> None:
    backoff = Backoff(random.Random(seed), longest=30.0)
    assert all(0.0 <= backoff.next() <= 30.0 for _ in range(tries))


def test_clients_that_fail_together_do_not_retry_together() -> None:
    backoffs = [Backoff(random.Random(seed)) for seed in range(500)]
    fourth = sorted([backoff.next() for _ in range(4)][-1] for backoff in backoffs)
    busiest = max(sum(1 for w in fourth if s <= w < s + 1) for s in range(9))
    assert busiest < 100
