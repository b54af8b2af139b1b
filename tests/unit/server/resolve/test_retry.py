"""The hold: when a case is due, how much fits, and what a part of a batch looks like."""

import numpy as np

from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.totals import Totals
from kzn.server.resolve.retry import MAX_INTERVAL, MIN_INTERVAL, ObservedFlows, RetryQueue, select


def flows(*ends: tuple[int, int]) -> Flows:
    m = len(ends)
    return Flows(
        addresses=np.arange(5 * 16, dtype=np.uint8).reshape(5, 16),
        src=np.array([src for src, _ in ends], np.uint32),
        dst=np.array([dst for _, dst in ends], np.uint32),
        src_port=np.arange(m, dtype=np.uint16),
        dst_port=np.arange(m, dtype=np.uint16),
        protocol=np.arange(m, dtype=np.uint8),
        flags=np.arange(m, dtype=np.uint8),
        packets=np.arange(m, dtype=np.uint64),
        bytes=np.arange(m, dtype=np.uint64),
    )


def case(*ends: tuple[int, int], opened: int = 10_000, closed: int = 0) -> ObservedFlows:
    return ObservedFlows.of("n", Batch(1, opened, closed, flows(*ends), Totals()), 100.0)


def test_a_batch_is_dated_by_its_ages() -> None:
    found = case((0, 1), opened=12_500, closed=2_500)
    assert (found.opened, found.closed, found.interval) == (87.5, 97.5, 10.0)


def test_the_interval_is_bounded_and_never_backwards() -> None:
    assert case((0, 1), opened=10**9).interval == MAX_INTERVAL
    assert case((0, 1), opened=0).interval == MIN_INTERVAL
    odd = case((0, 1), opened=1_000, closed=5_000)
    assert odd.opened <= odd.closed <= 100.0


def test_a_case_is_due_after_its_interval() -> None:
    hold = RetryQueue(1000)
    held = case((0, 1), (1, 2))
    assert hold.put(held, 100.0)
    assert hold.take(109.9) is None
    assert hold.flows == 2
    assert hold.take(110.0) is held
    assert (hold.flows, len(hold)) == (0, 0)


def test_the_case_due_first_comes_first() -> None:
    hold = RetryQueue(1000)
    slow, quick = case((0, 1), opened=20_000), case((0, 1), opened=5_000)
    hold.put(slow, 100.0)
    hold.put(quick, 100.0)
    assert [hold.take(200.0), hold.take(200.0)] == [quick, slow]


def test_what_does_not_fit_is_not_taken() -> None:
    hold = RetryQueue(70)
    assert hold.put(case((0, 1)), 100.0)
    assert hold.put(case((0, 1)), 100.0)
    assert not hold.put(case((0, 1)), 100.0)
    assert hold.flows == 2
    hold.take(200.0)
    assert hold.put(case((0, 1)), 100.0)


def test_a_part_keeps_its_flows_and_only_their_addresses() -> None:
    whole = flows((0, 1), (2, 4), (4, 2))
    used, part = select(whole, np.array([1, 2]))
    assert used.tolist() == [2, 4]
    assert (part.addresses[part.src] == whole.addresses[whole.src[1:]]).all()
    assert (part.addresses[part.dst] == whole.addresses[whole.dst[1:]]).all()
    for name in ("src_port", "dst_port", "protocol", "flags", "packets", "bytes"):
        assert getattr(part, name).tolist() == [1, 2]
