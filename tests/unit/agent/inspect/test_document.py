"""The JSON document of `kzn inspect-map`."""

import json

import pytest
from snapshots import Key, buffer, snapshot

from kzn.agent.inspect.document import document
from kzn.agent.inspect.rows import Rates, ordered
from kzn.client.api import AddressOwner
from kzn.model.flows import ENCRYPTED
from kzn.model.totals import Counts

WEB = Key("10.1.0.7", "10.2.0.9", 443)
OWNERS = {
    "10.1.0.7": AddressOwner(
        "10.1.0.7", "pod", "shop", "web-1", "Deployment", "web", zone="zone-a"
    ),
    "10.2.0.9": AddressOwner("10.2.0.9", "external"),
}


def test_encrypted_flows_are_marked() -> None:
    key = Key("10.0.1.2", "10.0.2.2", 51820, 17, ENCRYPTED)
    taken = snapshot(buffer(0, "active", {key: {0: Counts(3, 4500)}, WEB: {0: Counts(1, 40)}}))
    rows = ordered(Rates().rows(taken), "bytes")
    flows = document(taken, rows, None, raw=False)["flows"]
    assert [flow["encrypted"] for flow in flows] == [True, False]


@pytest.mark.parametrize("raw", [False, True])
def test_the_document_has_both_buffers_totals_owners_and_raw_values(raw: bool) -> None:
    active = buffer(0, "active", {WEB: {0: Counts(1, 1500), 1: Counts(2, 3000)}})
    taken = snapshot(active, buffer(1, "in flight", {WEB: {1: Counts(1, 40)}}))
    rows = ordered(Rates().rows(taken), "bytes")
    found = json.loads(json.dumps(document(taken, rows, OWNERS, raw=raw)))
    assert [
        (b["state"], b["seen"]["bytes"], b["rows"], b["in_hash"]) for b in found["buffers"]
    ] == [
        ("active", 4500, 2, 0),
        ("in flight", 40, 1, 0),
    ]
    assert (found["row_capacity"], found["capacity"]) == (256, 100)
    assert [b["lower_port"]["tcp"] for b in found["buffers"]] == [
        {"packets": 3, "bytes": 4500},
        {"packets": 1, "bytes": 40},
    ]
    [flow] = found["flows"]
    assert (flow["src"], flow["dst"], flow["dst_port"], flow["bytes"]) == (*WEB[:3], 4540)
    assert flow["buffers"] == [
        {"state": "active", "packets": 3, "bytes": 4500},
        {"state": "in flight", "packets": 1, "bytes": 40},
    ]
    assert flow["src_owner"]["name"] == "web-1"
    assert flow["dst_owner"]["kind"] == "external"
    assert ("raw" in flow) == raw
    if raw:
        assert (
            flow["raw"][0]["key"]
            == "0" * 20 + "ffff0a010007" + "0" * 20 + "ffff0a020009bb01060000000000"
        )
        assert flow["raw"][1] == {
            "map": "flows_1",
            "key": flow["raw"][0]["key"],
            "per_cpu": [
                {
                    "cpu": 1,
                    "value": "01000000000000002800000000000000",
                    "packets": 1,
                    "bytes": 40,
                }
            ],
        }
