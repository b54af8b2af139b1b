"""Rows in the order of the names of their ends, without the names."""

from hypothesis import given
from hypothesis import strategies as st
from questions import ENDS, FLOWS, settled

from kzn.history.writing.end_order import EndOrder


def keys(flow: tuple[int, ...]) -> tuple[object, ...]:
    src, dst = ENDS[flow[1]], ENDS[flow[2]]
    return dst.workload, dst.namespace, src.workload, src.namespace, flow[0]


@given(FLOWS, st.integers(0, len(ENDS)))
def test_rows_are_ordered_by_the_names_of_their_ends(
    flows: list[tuple[int, ...]], first: int
) -> None:
    order = EndOrder()
    order.add(ENDS[:first])
    order.of(settled([]))
    order.add(ENDS[first:])
    found = [flows[number] for number in order.of(settled(flows)).tolist()]
    assert [keys(flow) for flow in found] == sorted(map(keys, flows))


def test_an_end_that_is_not_known_is_not_an_error() -> None:
    flows: list[tuple[int, ...]] = [(0, 0, 1, 0, 6, 0, 0, 1)]
    assert EndOrder().of(settled(flows)).tolist() == [0]
