"""The retry queue: when flows are due, how many fit, and what a part of a batch contains."""

from dataclasses import replace

import numpy as np

from kzn.model.batch import Batch
from kzn.model.flows import NO_VIA, Flows
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


def observed(*ends: tuple[int, int], opened: int = 10_000, closed: int = 0) -> ObservedFlows:
    return ObservedFlows.of("n", Batch(1, opened, closed, flows(*ends), Totals()), 100.0)


def test_a_batch_is_dated_by_its_arrival_and_its_ages() -> None:
    found = observed((0, 1), opened=12_500, closed=2_500)
    assert (found.opened, found.closed, found.interval) == (87.5, 97.5, 10.0)


def test_the_interval_is_bounded_and_never_backwards() -> None:
    assert observed((0, 1), opened=10**9).interval == MAX_INTERVAL
    assert observed((0, 1), opened=0).interval == MIN_INTERVAL
    odd = observed((0, 1), opened=1_000, closed=5_000)
    assert odd.opened <= odd.closed <= 100.0


def test_flows_are_due_after_their_interval() -> None:
    queue = RetryQueue(1000)
    entry = observed((0, 1), (1, 2))
    assert queue.put(entry, 100.0)
    assert queue.take(109.9) is None
    assert queue.flows == 2
    assert queue.take(110.0) is entry
    assert (queue.flows, len(queue)) == (0, 0)


def test_flows_due_first_are_retried_first() -> None:
    queue = RetryQueue(1000)
    slow, quick = observed((0, 1), opened=20_000), observed((0, 1), opened=5_000)
    queue.put(slow, 100.0)
    queue.put(quick, 100.0)
    assert [queue.take(200.0), queue.take(200.0)] == [quick, slow]


def test_flows_beyond_the_limit_are_rejected() -> None:
    queue = RetryQueue(70)
    assert queue.put(observed((0, 1)), 100.0)
    assert queue.put(observed((0, 1)), 100.0)
    assert not queue.put(observed((0, 1)), 100.0)
    assert queue.flows == 2
    queue.take(200.0)
    assert queue.put(observed((0, 1)), 100.0)


def test_a_part_keeps_the_outer_destinations_of_its_flows() -> None:
    whole = replace(flows((0, 1), (0, 1), (1, 0)), via=np.array([3, NO_VIA, 4], np.uint32))
    used, part = select(whole, np.array([0, 1]))
    assert used.tolist() == [0, 1, 3]
    assert part.via is not None
    assert part.via.tolist() == [2, NO_VIA]
    assert select(flows((0, 1)), np.array([0]))[1].via is None


def test_a_part_keeps_the_senders_of_its_flows() -> None:
    whole = replace(flows((0, 1), (0, 1), (1, 0)), sender=np.array([3, NO_VIA, 4], np.uint32))
    used, part = select(whole, np.array([0, 1]))
    assert used.tolist() == [0, 1, 3]
    assert part.sender is not None
    assert part.sender.tolist() == [2, NO_VIA]


def test_a_part_keeps_its_flows_and_only_their_addresses() -> None:
    whole = flows((0, 1), (2, 4), (4, 2))
    used, part = select(whole, np.array([1, 2]))
    assert used.tolist() == [2, 4]
    assert (part.addresses[part.src] == whole.addresses[whole.src[1:]]).all()
    assert (part.addresses[part.dst] == whole.addresses[whole.dst[1:]]).all()
    for name in ("src_port", "dst_port", "protocol", "flags", "packets", "bytes"):
        assert getattr(part, name).tolist() == [1, 2]
