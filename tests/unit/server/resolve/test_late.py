"""Late batches: what is taken and what is left add up, flow by flow and in sum."""

import numpy as np
from cluster import flows_between
from hypothesis import given
from hypothesis import strategies as st

from kzn.model.totals import Counts
from kzn.server.resolve.late import divide, without
from kzn.server.resolve.reporting import CountedElsewhere
from kzn.server.resolve.retry import ObservedFlows

A, B = "10.1.0.1", "10.2.0.1"


def observed(elsewhere: CountedElsewhere, *amounts: tuple[int, int]) -> ObservedFlows:
    flows = flows_between(*((A, B, size, packets) for packets, size in amounts))
    return ObservedFlows("n", flows, 0.0, 10.0, 10.0, 0, elsewhere=elsewhere)


def left(found: ObservedFlows) -> list[tuple[int, int]]:
    return list(zip(found.flows.packets.tolist(), found.flows.bytes.tolist(), strict=True))


def test_what_others_counted_is_taken_in_proportion() -> None:
    found = divide(
        observed(CountedElsewhere(30, 15), (2, 60), (4, 120), (9, 999)), np.array([0, 1])
    )
    assert (found.transit.bytes, found.late.bytes) == (30, 15)
    assert [size for _, size in left(found.observed)] == [45, 90, 999]


def test_what_is_less_than_others_counted_is_unclear_as_a_whole() -> None:
    found = divide(observed(CountedElsewhere(500), (2, 60), (1, 7)), np.array([0]))
    assert (found.transit, found.late) == (Counts(), Counts(2, 60))
    assert left(found.observed) == [(0, 0), (1, 7)]


def test_nothing_is_counted_of_flows_that_are_left_out() -> None:
    assert left(without(observed(CountedElsewhere(1), (2, 60), (1, 7)), np.array([0]))) == [
        (0, 0),
        (1, 7),
    ]


@given(
    st.lists(st.tuples(st.integers(1, 99), st.integers(0, 1 << 50)), min_size=1, max_size=8),
    st.integers(0, 1 << 52),
    st.integers(0, 1 << 52),
    st.integers(0, 255),
)
def test_no_byte_or_packet_is_gained_or_lost(
    amounts: list[tuple[int, int]], certain: int, unclear: int, mask: int
) -> None:
    chosen = np.array([n for n in range(len(amounts)) if mask >> n & 1], np.int64)
    before = observed(CountedElsewhere(certain, unclear), *amounts)
    found = divide(before, chosen)
    taken = found.transit.plus(found.late)
    after = left(found.observed)
    assert taken.packets + sum(packets for packets, _ in after) == sum(p for p, _ in amounts)
    assert taken.bytes + sum(size for _, size in after) == sum(size for _, size in amounts)
    for number, (was, now) in enumerate(zip(amounts, after, strict=True)):
        assert now == was if number not in chosen else now <= was
