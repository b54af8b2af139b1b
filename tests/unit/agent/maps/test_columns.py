"""Map rows as columns: no row is lost, each address occurs once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.agent.maps.columns import by_lower_port, distinct, to_flows
from kzn.model import ip
from kzn.model.flows import (
    ENCRYPTED,
    FAR_END_UNKNOWN,
    FLAGS,
    FLOW_KEY,
    INITIATOR_DESTINATION,
    INITIATOR_SOURCE,
    NO_VIA,
    PORT_OF_SOURCE,
    TUNNEL_WITHOUT_ID,
    Flows,
)
from kzn.model.totals import Counts

addresses = st.integers(0, 7).map(lambda n: ip.pack(f"10.0.0.{n}")) | st.binary(
    min_size=16, max_size=16
)
flags = st.integers(0, 63)
key = st.tuples(addresses, addresses, st.integers(0, 65535), st.integers(0, 65535), flags)
Key = tuple[bytes, bytes, int, int, int]


def expected(of: Key) -> Key:
    """Source, destination, their ports, the initiator and whether it is encrypted."""
    src, dst, port, peer, bits = of
    ports = (port, peer) if bits & PORT_OF_SOURCE else (peer, port)
    return (src, dst, *ports, bits & FLAGS)


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


def test_flows_with_ports_and_without_an_initiator_have_the_lower_port() -> None:
    rows = [  # port, protocol, flags
        (443, 6, 0),
        (40000, 6, PORT_OF_SOURCE),
        (443, 6, INITIATOR_SOURCE),
        (443, 6, PORT_OF_SOURCE | INITIATOR_DESTINATION),
        (0, 6, 0),  # a later fragment, or --ports none
        (53, 17, 0),
        (53, 17, INITIATOR_SOURCE),
        (51820, 17, ENCRYPTED),
        (0, 1, 0),
        (38412, 132, 0),
        (0, 50, ENCRYPTED),
    ]
    keys = np.zeros(len(rows), FLOW_KEY)
    for slot, (port, protocol, bits) in zip(keys, rows, strict=True):
        slot["port"], slot["protocol"], slot["flags"] = port, protocol, bits
    counts = np.array([[1, 1 << row] for row in range(len(rows))], np.uint64)
    assert by_lower_port(to_flows(keys, counts)) == {
        "tcp": Counts(2, 0b11),
        "udp": Counts(2, 1 << 5 | 1 << 7),
        "other": Counts(1, 1 << 9),
    }


def test_without_flows_nothing_has_the_lower_port() -> None:
    none = dict.fromkeys(("tcp", "udp", "other"), Counts())
    assert by_lower_port(Flows.empty()) == none


def test_a_flow_in_a_tunnel_has_the_far_end_of_the_tunnel() -> None:
    far = {7: ip.pack("10.0.2.2"), 9: ip.pack("fd00::2")}
    keys = np.zeros(5, FLOW_KEY)
    keys["src"], keys["dst"] = (np.frombuffer(ip.pack(f"10.1.0.{n}"), np.uint8) for n in (1, 2))
    keys["tunnel"] = [7, 0, 9, TUNNEL_WITHOUT_ID, 8]
    flows = to_flows(keys, np.ones((5, 2), np.uint64), far.get)
    assert flows.via is not None
    assert flows.addresses[flows.via[[0, 2]]].tobytes() == far[7] + far[9]
    assert flows.via[[1, 3, 4]].tolist() == [NO_VIA] * 3
    assert flows.flags.tolist() == [0, 0, 0, FAR_END_UNKNOWN, 0]
    keys["tunnel"] = 0
    assert to_flows(keys, np.ones((5, 2), np.uint64), far.get).via is None


def test_two_addresses_with_the_same_hash_stay_apart() -> None:
    multiplier = np.uint64(0x9E3779B97F4A7C15)
    one = np.array([[1, 0]], np.uint64)
    with np.errstate(over="ignore"):
        other = np.array([[0, np.uint64(1) * multiplier]], np.uint64)
    both = np.concatenate((one, other)).view(np.uint8).reshape(2, 16)
    rows, index = distinct(both)
    assert len(rows) == 2
    assert np.array_equal(rows[index], both)
