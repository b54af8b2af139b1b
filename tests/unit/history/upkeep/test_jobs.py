"""kzn/history/upkeep/jobs.py: a call that goes on while others are made."""

from threading import Event

import pytest

from kzn.history.upkeep.jobs import Job


def test_a_call_goes_on_and_has_its_result() -> None:
    may_end = Event()
    job = Job("a call", lambda: may_end.wait(60))
    assert not job.is_done(0)
    may_end.set()
    assert job.is_done(60)
    assert job.result() is True
    assert job.seconds() >= 0


def test_an_error_is_the_callers() -> None:
    def failing() -> None:
        raise TimeoutError("of its own")

    job = Job("a call", failing)
    assert job.is_done(60)
    with pytest.raises(TimeoutError, match="of its own"):
        job.result()
