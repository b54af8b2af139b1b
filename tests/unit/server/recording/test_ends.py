"""Ends of addresses: each has the owner that is charged, also after tables were forgotten."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.model.endpoint import EXTERNAL, POD, UNKNOWN, Endpoint
from kzn.model.ip import pack
from kzn.server.recording import ends as module
from kzn.server.recording.ends import Ends, end_of

OWNERS: list[Endpoint | int] = [
    EXTERNAL,
    UNKNOWN,
    *(Endpoint(POD, "d", name, "Pod", name, "n1", "z", "r") for name in "ab"),
]
ADDRESSES = ["10.0.0.1", "10.0.0.2", "8.8.8.8", "8.8.8.9", "2001:db8::1"]
ROW = st.tuples(st.sampled_from(ADDRESSES), st.integers(0, 3), st.booleans())


@given(st.lists(st.lists(ROW, max_size=12), max_size=6))
def test_the_number_of_an_address_is_that_of_its_end_with_the_owner_charged(
    batches: list[list[tuple[str, int, bool]]],
) -> None:
    ends = Ends("none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_ENDS", 5)
        for batch in batches:
            if ends.is_full():
                ends.forget_addresses()
            found = ends.of_addresses(
                np.frombuffer(b"".join(pack(row[0]) for row in batch), np.uint8).reshape(-1, 16),
                np.array([ends.owner_number(OWNERS[row[1]]) for row in batch], np.int64),
                np.array([row[2] for row in batch], np.bool_),
            )
            assert [ends.list[number] for number in found.tolist()] == [
                end_of(OWNERS[owner], "" if is_external else address)
                for address, owner, is_external in batch
            ]
    assert len(set(ends.list)) == len(ends.list)


def test_a_list_that_was_handed_out_stays_when_numbers_begin_anew() -> None:
    ends = Ends("full")
    number = ends.numbered(end_of(EXTERNAL, "8.8.8.8"))
    before = ends.list
    ends.begin_anew()
    assert before[number].address == "8.8.8.8"
    assert not ends.list
