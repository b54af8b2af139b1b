"""The fold: sums by key are those of a plain dictionary, and addresses are kept as told."""

import asyncio
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from historic import DB, WEB1, HistoricWorld, rows_of
from hypothesis import given
from hypothesis import strategies as st

from kzn.model.endpoint import EXTERNAL, POD, Endpoint
from kzn.model.flows import INITIATOR_DESTINATION, INITIATOR_SOURCE, INITIATOR_UNKNOWN
from kzn.model.settled import SETTLED
from kzn.server.config import ExternalAddresses
from kzn.server.recording.ends import end_of
from kzn.server.recording.fold import minute_of, service_port
from kzn.server.recording.words import grouped

KEY = ("time", "src", "dst", "port", "protocol", "verdict", "initiator")


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 7, st.integers(0, 1 << 60)), max_size=60))
def test_grouping_changes_no_sum_and_leaves_no_key_twice(found: list[tuple[int, ...]]) -> None:
    rows = np.zeros(len(found), SETTLED)
    for row, values in zip(rows, found, strict=True):
        for name, value in zip((*KEY, "bytes"), values, strict=True):
            row[name] = value * 60 if name == "time" else value
    rows["packets"] = 1
    plain: Counter[tuple[int, ...]] = Counter()
    packets: Counter[tuple[int, ...]] = Counter()
    for row in rows:
        key = tuple(int(row[name]) for name in KEY)
        plain[key] += int(row["bytes"])
        packets[key] += 1
    made = grouped(rows)
    keys = [tuple(int(row[name]) for name in KEY) for row in made]
    assert len(set(keys)) == len(keys)
    assert dict(zip(keys, made["bytes"].tolist(), strict=True)) == {
        k: n % (1 << 64) for k, n in plain.items()
    }
    assert dict(zip(keys, made["packets"].tolist(), strict=True)) == packets


@pytest.mark.parametrize(
    ("closed", "minute"), [(120.0, 60), (120.001, 120), (179.9, 120), (180.0, 120), (61.0, 60)]
)
def test_an_interval_that_ends_with_a_minute_belongs_to_it(closed: float, minute: int) -> None:
    assert minute_of(closed) == minute


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


@pytest.mark.parametrize(
    ("external", "kept"),
    [
        ("full", ["2001:4860:4860::8888", "8.8.4.4", "8.8.8.8"]),
        ("/24", ["2001:4860:4860::", "8.8.4.0", "8.8.8.0"]),
        ("none", [""]),
    ],
)
def test_addresses_outside_are_kept_as_told_and_those_of_pods_always(
    tmp_path: Path, external: ExternalAddresses, kept: list[str]
) -> None:
    async def run() -> None:
        world = HistoricWorld(tmp_path, external=external)
        await world.recorder.start(1)
        for address in ("8.8.8.8", "8.8.4.4", "2001:4860:4860::8888"):
            world.apply("n1", (WEB1, address, 5))
        # The node forwards it: charged to the node, with the source's own address.
        world.apply("n1", ("8.8.8.8", DB, 5))
        await world.recorder.close()

    asyncio.run(run())
    found = rows_of(
        tmp_path,
        columns="dst_address",
        tail="WHERE dst_kind = 'External' GROUP BY 1 ORDER BY 1",
    )
    assert [address for (address,) in found] == kept
    forwarded = rows_of(
        tmp_path, columns="src_kind, src_node, src_address, dst_pod", tail="WHERE src_pod = ''"
    )
    assert forwarded == [
        ("Node", "n1", {"full": "8.8.8.8", "/24": "8.8.8.0", "none": ""}[external], "db-0")
    ]


def test_an_end_has_the_group_of_its_workload() -> None:
    web = Endpoint(POD, "shop", "web-1", "Deployment", "web", "n1", "a", "r", group="blue")
    assert end_of(web, "10.1.0.1").group == "blue"
    assert end_of(EXTERNAL, "8.8.8.8").group == ""
