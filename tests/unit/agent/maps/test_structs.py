"""Structs and constants shared by C and Python have the same sizes, order and values in both."""

import re
import struct
from pathlib import Path

import pytest

from kzn.agent.maps import structs
from kzn.agent.maps.structs import Control, Phase, SpoolState
from kzn.model import flows, totals
from kzn.probes import settings

FLOW_H = Path(__file__).parents[4] / "bpf" / "src" / "flow.h"


@pytest.fixture(scope="module")
def header() -> str:
    return FLOW_H.read_text()


def sizes(header: str) -> dict[str, int]:
    found = re.findall(r"_Static_assert\(sizeof\(struct (\w+)\) == (\d+)", header)
    return {name: int(size) for name, size in found}


def defined(header: str, name: str) -> int:
    found = re.search(rf"#define {name}\s+(\w+)", header)
    assert found, name
    return int(found[1], 0)


def test_every_shared_struct_has_the_size_that_the_header_asserts(header: str) -> None:
    assert sizes(header) == {
        "flow_key": structs.KEY_SIZE,
        "flow_counts": structs.COUNTS_SIZE,
        "flow_row": structs.ROW_SIZE,
        "totals": structs.TOTALS_SIZE,
        "settings": len(settings.Settings().constants()),
        "control": structs.CONTROL_SIZE,
        "spool_state": structs.STATE_SIZE,
    }


def test_columns_are_as_wide_as_the_structs() -> None:
    assert flows.FLOW_KEY.itemsize == structs.KEY_SIZE
    assert flows.FLOW_COUNTS.itemsize == structs.COUNTS_SIZE
    assert totals.MAX_SLOTS * flows.FLOW_COUNTS.itemsize == structs.TOTALS_SIZE


def test_the_reasons_have_the_order_of_the_header(header: str) -> None:
    body = re.search(r"enum total \{(.*?)\};", header, re.DOTALL)
    assert body
    names = re.findall(r"TOTAL_(\w+)", body[1])
    expected = [f"{slot.kind}_{slot.reason}".strip("_").upper() for slot in totals.SLOTS]
    assert names == [*expected, "MAX"]
    assert f"#define KZN_INBOUND_IN_FLOWS ((enum total){totals.INBOUND_IN_FLOWS})" in header
    assert len(expected) <= totals.INBOUND_IN_FLOWS


def test_constants_defined_in_both_are_equal(header: str) -> None:
    assert defined(header, "KZN_LAYOUT") == structs.LAYOUT
    assert defined(header, "KZN_MAX_FLOWS") == settings.MAX_FLOWS
    assert defined(header, "KZN_PACKED_BYTES") == structs.PACKED_BYTES
    assert defined(header, "KZN_DEVICE_PLACES") == structs.DEVICE_PLACES
    for role in structs.Role:
        assert defined(header, f"KZN_DEVICE_{role.name}") == role
    for name in ("DEVICES", "ADDRESSES", "TUNNELS", "ENDPOINTS"):
        assert defined(header, f"KZN_MAX_{name}") == getattr(structs, f"MAX_{name}")
    assert defined(header, "KZN_PORT_OF_SOURCE") == flows.PORT_OF_SOURCE
    assert defined(header, "KZN_RELAYED") == flows.RELAYED
    assert defined(header, "KZN_DELIVERED") == flows.DELIVERED
    assert defined(header, "KZN_TUNNEL_WITHOUT_ID") == flows.TUNNEL_WITHOUT_ID
    assert defined(header, "KZN_INITIATOR_SOURCE") == flows.INITIATOR_SOURCE
    assert defined(header, "KZN_INITIATOR_DESTINATION") == flows.INITIATOR_DESTINATION
    modes = {mode: defined(header, f"KZN_PORTS_{mode.upper()}") for mode in settings.PORTS}
    assert modes == settings.PORTS


def test_spool_state_is_packed_and_unpacked_unchanged() -> None:
    state = SpoolState(
        phase=Phase.CUT,
        buffer=1,
        epoch=2**64 - 1,
        sequence=7,
        opened_ns=(1, 2),
        closed_ns=(3, 4),
        settings=bytes(range(32)),
    )
    assert SpoolState.unpack(state.pack()) == state


def test_control_is_packed_and_unpacked_unchanged_but_for_the_time_of_the_last_drain() -> None:
    for control in (
        Control(1, skip_inbound=True, tunnel_devices=2**63 + 5),
        Control(0, is_stopped=True),
        Control(0, uplinks=(2, 2**32 - 1)),
        Control(1, tunnel_devices=1, uplinks=(3,), others=1),
        Control(1, uplinks=(1, 2, 3, 4)),
    ):
        assert Control.unpack(control.pack()) == control
    # A program looks this number up among the totals of two buffers, and finds none.
    assert struct.unpack_from("<I", Control(1, is_stopped=True).pack()) == (3,)
    assert control.pack()[8:16] == bytes(8)


STATE = SpoolState(
    Phase.CUT, 1, 7, 3, opened_ns=(1, 2), closed_ns=(3, 4), settings=bytes(32), server=9
)


@pytest.mark.parametrize(
    ("offset", "damage"),
    [(4, b"\x09"), (4, b"\xff" * 4), (8, b"\x02"), (24, b"\xff" * 8)],
    ids=["phase 9", "phase -1", "buffer 2", "sequence without a successor"],
)
def test_a_state_that_no_agent_writes_is_refused(offset: int, damage: bytes) -> None:
    raw = bytearray(STATE.pack())
    assert SpoolState.unpack(bytes(raw)) == STATE
    raw[offset : offset + len(damage)] = damage
    with pytest.raises(ValueError, match=r"Phase|buffer"):
        SpoolState.unpack(bytes(raw))
