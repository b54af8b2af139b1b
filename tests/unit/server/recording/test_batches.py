"""What the folding thread gets of a batch: columns and ends, as a plain loop finds them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.model.endpoint import EXTERNAL, UNKNOWN
from kzn.model.flows import INITIATOR_DESTINATION, INITIATOR_SOURCE, INITIATOR_UNKNOWN, Flows
from kzn.server.recording.batches import service_port, settled_batch
from kzn.server.resolve import verdict as v
from kzn.server.resolve.resolution import Resolution


@pytest.mark.parametrize(
    ("src", "dst", "initiator", "port"),
    [
        (0, 443, INITIATOR_UNKNOWN, 443),
        (443, 0, INITIATOR_UNKNOWN, 443),
        (50_000, 443, INITIATOR_SOURCE, 443),
        (443, 50_000, INITIATOR_DESTINATION, 443),
        (443, 50_000, INITIATOR_UNKNOWN, 443),
        (8080, 443, INITIATOR_DESTINATION, 8080),
        (443, 0, INITIATOR_SOURCE, 443),
        (0, 0, INITIATOR_SOURCE, 0),
    ],
)
def test_the_port_is_that_of_the_end_that_was_connected_to(
    src: int, dst: int, initiator: int, port: int
) -> None:
    found = service_port(
        np.array([src], np.uint16), np.array([dst], np.uint16), np.array([initiator], np.uint8)
    )
    assert found.tolist() == [port]


ADDRESSES = 40
_ROW = st.integers(0, ADDRESSES - 1)


def resolved(rows: list[tuple[int, int, int, int]]) -> tuple[Flows, Resolution]:
    """Flows from and to these addresses, charged to the owners of the other two rows."""
    src, dst, src_charged, dst_charged = np.array(rows, np.int64).reshape(-1, 4).T
    number = np.arange(len(rows))
    flows = Flows(
        np.arange(ADDRESSES * 16, dtype=np.uint8).reshape(-1, 16),
        src=src.astype(np.uint32),
        dst=dst.astype(np.uint32),
        src_port=np.zeros(len(rows), np.uint16),
        dst_port=(number + 65_000).astype(np.uint16),
        protocol=(number % 256).astype(np.uint8),
        flags=(number % 3).astype(np.uint8),
        packets=np.ones(len(rows), np.uint64),
        bytes=(number + 1).astype(np.uint64),
    )
    endpoints = np.arange(ADDRESSES + 1, dtype=np.int32)
    endpoints[::5], endpoints[1] = EXTERNAL, UNKNOWN
    nothing = np.zeros(0, np.int64)
    table = np.zeros((1, 1), np.uint8)
    return flows, Resolution(
        endpoints=endpoints,
        src=src_charged,
        dst=dst_charged,
        cell=np.zeros(len(rows), np.int64),
        verdict=(number % 2).astype(np.uint8),
        attributed=nothing,
        flags=flows.flags,
        location=np.zeros(ADDRESSES + 1, np.int64),
        side=np.zeros(1, np.int64),
        rules=table,
        verdicts=table,
        classes=table,
        counted_at_destination=table.astype(np.bool_),
    )


@given(
    st.lists(
        st.tuples(
            _ROW, _ROW, st.booleans(), st.booleans(), st.integers(0, ADDRESSES), st.booleans()
        ),
        max_size=60,
    )
)
def test_each_flow_has_its_own_addresses_and_the_owners_charged(
    drawn: list[tuple[int, int, bool, bool, int, bool]],
) -> None:
    rows = [
        (src, dst, other if is_src else src, other if is_dst else dst)
        for src, dst, is_src, is_dst, other, _ in drawn
    ]
    flows, resolution = resolved(rows)
    chosen = np.flatnonzero(np.array([is_settled for *_, is_settled in drawn], np.bool_))
    batch = settled_batch(flows, resolution, chosen, 7, ())
    for at, number in enumerate(chosen.tolist()):
        src, dst, *charged = rows[number]
        for row, address, owner in zip(
            (batch.src[at], batch.dst[at]), (src, dst), charged, strict=True
        ):
            assert batch.ends.addresses[row].tolist() == flows.addresses[address].tolist()
            assert batch.ends.owners[row] == resolution.endpoints[owner]
            assert batch.ends.is_external[row] == (resolution.endpoints[address] == EXTERNAL)
        rest, parts = int(batch.rest[at]), []
        for bits in (2, 4, 8, 16):
            parts.append(rest & ((1 << bits) - 1))
            rest >>= bits
        initiator = [INITIATOR_UNKNOWN, INITIATOR_SOURCE, INITIATOR_DESTINATION][number % 3]
        assert parts == [initiator, number % 2, number, 65_000 + number]
        assert (batch.packets[at], batch.bytes[at]) == (1, number + 1)
    sums = {v.NAMES[code]: 0 for code in (0, 1)}
    for number in chosen.tolist():
        sums[v.NAMES[number % 2]] += number + 1
    assert {name: amount.bytes for name, amount in batch.sums.items()} == {
        name: size for name, size in sums.items() if size
    }


def test_few_flows_do_not_keep_all_addresses_of_their_batch() -> None:
    flows, resolution = resolved(
        [(number, 39 - number, number, 39 - number) for number in range(20)]
    )
    few = settled_batch(flows, resolution, np.array([3, 4, 4]), 7, ())
    assert few.ends.owners.tolist() == [3, 4, EXTERNAL, 36]
    assert (few.src.tolist(), few.dst.tolist()) == ([0, 1, 1], [3, 2, 2])
    assert few.ends.is_external.tolist() == [False, False, True, False]
    most = settled_batch(flows, resolution, np.arange(20), 7, ())
    assert most.ends.addresses is flows.addresses


def test_what_an_invalid_flag_says_is_unknown() -> None:
    flows, resolution = resolved([(2, 3, 2, 3)])
    batch = settled_batch(
        flows, replace(resolution, flags=np.array([3], np.uint8)), np.array([0]), 7, ()
    )
    assert batch.rest[0] & 3 == INITIATOR_UNKNOWN


def test_no_address_of_other_batches_is_kept() -> None:
    flows, resolution = resolved([(0, 1, 0, 1)] * ADDRESSES)
    table = np.zeros((1000, 16), np.uint8)
    table[:ADDRESSES] = flows.addresses
    part = replace(flows, addresses=table[:ADDRESSES])  # as those of a group are decoded
    made = settled_batch(part, resolution, np.arange(ADDRESSES), 7, ())
    assert np.array_equal(made.ends.addresses, flows.addresses)
    assert not np.shares_memory(made.ends.addresses, table)
