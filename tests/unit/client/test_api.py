"""kzn/client/api.py: what the server writes is what a client reads."""

import json

import pytest
from smallserver import real

from kzn.client.api import (
    MAX_LIMIT,
    AddressOwner,
    PairRow,
    Status,
    WorkloadRow,
    ZoneRow,
    keys,
    rows,
    to_objects,
)


def test_a_key_is_the_name_of_a_field() -> None:
    assert keys(ZoneRow) == (
        "src_zone", "dst_zone", "class", "bytes", "cost", "currency", "unpriced_bytes",
    )  # fmt: skip


def test_rows_are_read_as_they_were_written() -> None:
    written = [ZoneRow("a", "b", "cross_zone", 2), ZoneRow("a", "", "external", 1)]
    answer = json.loads(json.dumps({"zones": to_objects(ZoneRow, written), "of": 7}))
    assert rows("zones", ZoneRow, answer) == (written, 7)


def test_keys_that_are_not_known_are_ignored() -> None:
    row = {"src_zone": "a", "dst_zone": "b", "class": "cross_zone", "bytes": 2, "new": 1}
    assert rows("zones", ZoneRow, {"zones": [row], "of": 1, "new": 1})[0][0].bytes == 2


@pytest.mark.parametrize(
    "answer", [{}, [], None, {"zones": [{}], "of": 1}, {"zones": [], "of": "x"}, {"zones": 1}]
)
def test_another_shape_raises_what_the_client_translates(answer: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        rows("zones", ZoneRow, answer)


@pytest.mark.parametrize(
    ("topic", "row"), [("zones", ZoneRow), ("workloads", WorkloadRow), ("pairs", PairRow)]
)
def test_rows_of_a_real_server_can_be_read(
    topic: str, row: type[ZoneRow | WorkloadRow | PairRow]
) -> None:
    answer = json.loads(real(topic, str(MAX_LIMIT))[1])
    found, of = rows(topic, row, answer)
    assert len(found) == of > 0
    assert to_objects(row, found) == answer[topic]


def test_the_status_is_the_same_after_encoding_and_decoding() -> None:
    answer = json.loads(real("status", None)[1])
    status = Status.from_json(answer)
    assert (status.bytes.seen, status.bytes.missed) == (90, 10)
    assert json.loads(json.dumps(status.to_json())) == answer


def test_an_owner_is_the_same_after_encoding_and_decoding() -> None:
    pod = AddressOwner("10.0.0.1", "pod", "shop", "web-1", "Deployment", "web", "n1", "z", "r")
    assert AddressOwner.from_json(pod.to_json()) == pod
    assert pod.label == "shop/web-1"
    assert AddressOwner("10.0.0.2", "node", name="n1").label == "n1"


def test_an_address_without_an_owner_has_no_other_fields() -> None:
    outside = AddressOwner("8.8.8.8", "external")
    assert outside.to_json() == {"address": "8.8.8.8", "owner": "external"}
    assert AddressOwner.from_json(outside.to_json()) == outside
    assert outside.label == ""
