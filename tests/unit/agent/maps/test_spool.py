"""The spool: a batch keeps its number and content until it is acknowledged."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from fakekernel import FakeKernel, FakeMaps, Killed

from kzn.agent.maps.spool import Spool
from kzn.agent.maps.structs import Phase
from kzn.model.batch import Batch
from kzn.model.totals import Counts

PAIR, OTHER = ("10.0.0.1", "10.0.0.2"), ("10.0.0.3", "10.0.0.4")
NEVER = 1 << 30


class Clock:
    """Nanoseconds that the test sets."""

    now = 10**9

    def __call__(self) -> int:
        return self.now


def spool(kernel: FakeKernel, *, killed_at: int = NEVER, clock: Clock | None = None) -> Spool:
    maps = FakeMaps(kernel, killed_at)
    return Spool(maps, clock or Clock(), maps)


def content(batch: Batch) -> tuple[int, Counts]:
    return batch.sequence, batch.totals.seen


def test_a_batch_holds_all_counts_since_the_last_cut() -> None:
    kernel = FakeKernel(7)
    its = spool(kernel)
    kernel.account(PAIR, Counts(1, 100))
    kernel.account(PAIR, Counts(2, 200), late=True)
    assert content(its.cut()) == (1, Counts(3, 300))
    its.acknowledge(1)
    kernel.account(OTHER, Counts(1, 50))
    assert content(its.cut()) == (2, Counts(1, 50))
    assert (its.epoch, its.mismatches) == (7, 0)


def test_an_unacknowledged_batch_is_cut_again_unchanged() -> None:
    kernel = FakeKernel(7)
    its = spool(kernel)
    kernel.account(PAIR, Counts(1, 100))
    first = content(its.cut())
    kernel.account(PAIR, Counts(1, 100))
    assert its.under_way
    assert content(its.cut()) == content(spool(kernel).cut()) == first


def test_an_acknowledgement_of_another_number_changes_nothing() -> None:
    kernel = FakeKernel(7)
    its = spool(kernel)
    kernel.account(PAIR, Counts(1, 100))
    its.cut()
    its.acknowledge(2)
    assert its.under_way
    its.acknowledge(1)
    its.acknowledge(1)
    assert not its.under_way
    assert kernel.state.phase is Phase.IDLE


@pytest.mark.parametrize("killed_at", range(1, 20))
def test_an_agent_killed_at_any_step_loses_and_repeats_nothing(killed_at: int) -> None:
    kernel = FakeKernel(7)
    kernel.account(PAIR, Counts(3, 300))
    kernel.account(OTHER, Counts(1, 40), late=True)
    delivered: dict[int, Counts] = {}

    def work(its: Spool) -> None:
        batch = its.cut()
        assert delivered.setdefault(batch.sequence, batch.totals.seen) == batch.totals.seen
        its.acknowledge(batch.sequence)

    with suppress(Killed):
        work(spool(kernel, killed_at=killed_at))
    for _ in range(2):
        work(spool(kernel))
    assert sum(counts.bytes for counts in delivered.values()) == kernel.sent.bytes


@pytest.mark.parametrize("fails_at", range(1, 10))
def test_a_batch_whose_clear_fails_at_any_step_is_cleared_by_the_next_cut(fails_at: int) -> None:
    kernel = FakeKernel(7)
    kernel.account(PAIR, Counts(3, 300))
    maps = FakeMaps(kernel, NEVER)
    its = Spool(maps, Clock(), maps)
    assert content(its.cut()) == (1, Counts(3, 300))
    maps.fail_at(fails_at)
    with suppress(Killed):  # as a KernelError, which the process survives
        its.acknowledge(1)
    kernel.account(OTHER, Counts(1, 50))
    assert content(its.cut()) == (2, Counts(1, 50))


def test_what_an_earlier_agent_left_to_clear_is_in_no_batch() -> None:
    kernel = FakeKernel(7)
    its = spool(kernel)
    kernel.account(PAIR, Counts(1, 100))
    its.finish_clearing()  # there is nothing to clear
    kernel.state = replace(kernel.state, phase=Phase.ACKNOWLEDGED, buffer=0)
    kernel.active = 1
    kernel.account(PAIR, Counts(2, 200))
    its.finish_clearing()
    assert kernel.state.phase is Phase.IDLE
    assert content(its.cut()) == (1, Counts(2, 200))


def test_the_first_server_of_a_batch_is_stored_until_the_next_batch() -> None:
    kernel = FakeKernel(7)
    its = spool(kernel)
    its.cut()
    its.sending_to(42)
    assert spool(kernel).server == 42
    its.acknowledge(1)
    its.cut()
    assert its.server == 0


def test_the_age_of_a_batch_is_valid_although_the_clock_went_back() -> None:
    clock = Clock()
    its = spool(FakeKernel(7), clock=clock)
    its.cut()
    clock.now = 10**6
    batch = its.cut()
    assert batch.opened_ms_ago >= batch.closed_ms_ago >= 0


def test_the_callers_context_is_active_during_a_cut() -> None:
    kernel, events = FakeKernel(7), list[str]()

    @contextmanager
    def around() -> Iterator[None]:
        events.append("begin")
        yield
        events.append(f"active {kernel.active}")

    maps = FakeMaps(kernel, NEVER)
    its = Spool(maps, Clock(), maps, around)
    its.cut()
    assert events == ["begin", "active 1"]
    its.acknowledge(1)
    assert len(events) == 2


def test_the_active_buffer_is_looked_at_while_a_batch_waits_and_only_then() -> None:
    kernel = FakeKernel(7)
    maps = FakeMaps(kernel, NEVER)
    its = Spool(maps, Clock(), maps)
    its.look_at_waiting()
    assert maps.looked == []
    its.cut()
    its.look_at_waiting()
    assert maps.looked == [1]
    its.acknowledge(1)
    its.look_at_waiting()
    assert maps.looked == [1]
