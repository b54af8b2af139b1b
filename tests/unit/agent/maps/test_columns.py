"""Map rows as columns: no row is lost, each address occurs once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.agent.maps.columns import distinct, to_flows
from kzn.model import ip
from kzn.model.flows import ENCRYPTED, FLOW_KEY, INITIATOR_MASK, PORT_OF_SOURCE

addresses = st.integers(0, 7).map(lambda n: ip.pack(f"10.0.0.{n}")) | st.binary(
    min_size=16, max_size=16
)
flags = st.integers(0, 31)
key = st.tuples(addresses, addresses, st.integers(0, 65535), st.integers(0, 65535), flags)
Key = tuple[bytes, bytes, int, int, int]


def expected(of: Key) -> Key:
    """Source, destination, their ports, the initiator and whether it is encrypted."""
    src, dst, port, peer, bits = of
    ports = (port, peer) if bits & PORT_OF_SOURCE else (peer, port)
    return (src, dst, *ports, bits & (INITIATOR_MASK | ENCRYPTED))


@pytest.mark.slow
@given(st.data())
def test_columns_hold_every_row_unchanged_and_each_address_once(data: st.DataObject) -> None:
    count = st.integers(0, 2**63)
    rows = data.draw(st.lists(st.tuples(key, count, count), max_size=40))
    keys = np.zeros(len(rows), FLOW_KEY)
    for slot, ((src, dst, port, peer, bits), _, _) in zip(keys, rows, strict=True):
        slot["src"], slot["dst"] = np.frombuffer(src, np.uint8), np.frombuffer(dst, np.uint8)
        slot["port"], slot["peer_port"], slot["flags"] = port, peer, bits
    counts = np.array([[p, b] for _, p, b in rows], np.uint64).reshape(-1, 2)
    flows = to_flows(keys, counts)
    out = [
        (
            (
                flows.addresses[flows.src[i]].tobytes(),
                flows.addresses[flows.dst[i]].tobytes(),
                int(flows.src_port[i]),
                int(flows.dst_port[i]),
                int(flows.flags[i]),
            ),
            int(flows.packets[i]),
            int(flows.bytes[i]),
        )
        for i in range(len(flows))
    ]
    assert out == [(expected(of), p, b) for of, p, b in rows]
    assert len({row.tobytes() for row in flows.addresses}) == len(flows.addresses)


def test_two_addresses_with_the_same_hash_stay_apart() -> None:
    multiplier = np.uint64(0x9E3779B97F4A7C15)
    one = np.array([[1, 0]], np.uint64)
    with np.errstate(over="ignore"):
        other = np.array([[0, np.uint64(1) * multiplier]], np.uint64)
    both = np.concatenate((one, other)).view(np.uint8).reshape(2, 16)
    rows, index = distinct(both)
    assert len(rows) == 2
    assert np.array_equal(rows[index], both)
