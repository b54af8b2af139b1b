"""The API server's clock by the Date headers of its answers."""

from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from kzn.topology.kube.api_server.api_clock import MARGIN, MEMORY_SECONDS, ApiClock

NOW = 1.7e9


def date(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(seconds), UTC), usegmt=True)


def observe(clock: ApiClock, ahead: float, at: float, trip: float = 0.01) -> None:
    clock.observe(date(at + trip / 2 + ahead), at, at + trip)


def test_without_an_answer_nothing_is_known() -> None:
    clock = ApiClock()
    for text in ("", "yesterday", "Thu, 99 Nov 2026 11:00:00 GMT"):
        clock.observe(text, NOW, NOW)
    assert clock.ahead_at_most() is None
    assert clock.earliest(datetime.fromtimestamp(NOW, UTC)) is None


@given(st.floats(-5, 5), st.integers(0, 2**32))
def test_the_bound_is_never_below_the_truth_and_many_answers_make_it_tight(
    ahead: float, seed: int
) -> None:
    clock, rng, at = ApiClock(), Random(seed), NOW
    most: float | None = None
    for _ in range(60):
        at += rng.uniform(0.05, 2.0)
        observe(clock, ahead, at, rng.uniform(0.001, 0.02))
        most = clock.ahead_at_most()
        assert most is not None
        assert most > ahead
        assert most < ahead + 1.0 + 0.02 + MARGIN
    assert most is not None
    assert most < ahead + 0.6


def test_what_it_stamped_cannot_be_earlier_than_its_second() -> None:
    clock = ApiClock()
    for step in range(100):
        observe(clock, 2.0, NOW + step * 0.37)
    created = datetime.fromtimestamp(int(NOW + 20.7 + 2.0), UTC)
    earliest = clock.earliest(created)
    assert earliest is not None
    assert NOW + 19.5 < earliest <= NOW + 20.7


def test_two_servers_that_disagree_are_not_believed_until_later() -> None:
    clock = ApiClock()
    observe(clock, 0.0, NOW)
    observe(clock, 3.0, NOW + 1)
    assert clock.ahead_at_most() is None
    observe(clock, 0.0, NOW + MEMORY_SECONDS + 1)
    observe(clock, 0.0, NOW + 2 * MEMORY_SECONDS + 2)
    assert clock.ahead_at_most() is not None


def test_a_clock_that_was_set_is_measured_again() -> None:
    clock = ApiClock()
    observe(clock, 0.0, NOW)
    for step in range(3):
        observe(clock, -50.0, NOW + (step + 1) * (MEMORY_SECONDS + 1))
    most = clock.ahead_at_most()
    assert most is not None
    assert -50.0 < most < -48.0
