"""Expected packets and bytes, compared with fragmentation done one fragment at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.lab.traffic import Family, wire_counts
from kzn.model.totals import Counts


def cut(transport: int, mtu: int, family: Family) -> Counts:
    header = 20 if family == 4 else 40
    if header + transport <= mtu:
        return Counts(1, header + transport)
    header += 0 if family == 4 else 8
    packets = total = 0
    while transport:
        whole = transport + header <= mtu
        data = transport if whole else (mtu - header) // 8 * 8
        transport -= data
        packets += 1
        total += header + data
    return Counts(packets, total)


@given(transport=st.integers(8, 65507), mtu=st.integers(1280, 9001), family=st.sampled_from([4, 6]))
def test_fragments_are_weighed_as_the_kernel_cuts_them(
    transport: int, mtu: int, family: Family
) -> None:
    assert wire_counts(transport, mtu, family) == cut(transport, mtu, family)


@pytest.mark.parametrize(
    ("transport", "family", "expected"),
    [
        (1480, 4, Counts(1, 1500)),
        (1481, 4, Counts(2, 1521)),
        (1460, 6, Counts(1, 1500)),
        (1461, 6, Counts(2, 1557)),
    ],
)
def test_the_edge_of_the_mtu(transport: int, family: Family, expected: Counts) -> None:
    assert wire_counts(transport, 1500, family) == expected


def test_many_sends_weigh_as_many_times_as_much() -> None:
    assert wire_counts(4008, 1500, 4, times=10) == Counts(30, 10 * (4008 + 60))
