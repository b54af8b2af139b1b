"""kzn/server/auth/throttle.py: what refused tokens cost their key, and that it ends."""

import pytest

from kzn.server.auth import throttle
from kzn.server.auth.throttle import RefusalThrottle


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def refuse(found: RefusalThrottle, key: str, times: int) -> int:
    """Try ``times`` with refused tokens; how often the API server is asked."""
    asked = 0
    for _ in range(times):
        if found.may_ask(key):
            asked += 1
            found.refused(key)
    return asked


def test_after_the_limit_one_a_second_is_asked_about() -> None:
    clock = Clock()
    found = RefusalThrottle(clock, limit=3)
    assert refuse(found, "a", 10) == 3
    for _ in range(5):
        clock.now += throttle.EXTRA_SECONDS
        assert refuse(found, "a", 10) == 1
    assert refuse(found, "b", 10) == 3, "another key has its own limit"


def test_a_minute_later_the_limit_begins_anew() -> None:
    clock = Clock()
    found = RefusalThrottle(clock, limit=3)
    refuse(found, "a", 3)
    clock.now += throttle.SECONDS
    assert refuse(found, "a", 10) == 3


def test_an_accepted_token_ends_it() -> None:
    found = RefusalThrottle(Clock(), limit=3)
    refuse(found, "a", 3)
    found.accepted("a")
    assert refuse(found, "a", 10) == 3


def test_the_number_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MAX_KEYS", 3)
    found = RefusalThrottle(Clock(), limit=1)
    for number in range(10):
        refuse(found, str(number), 1)
    assert len(found) == 3
    assert not found.may_ask("9")
    assert found.may_ask("0")
