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
from kzn.model.ip import pack
from kzn.model.settled import SETTLED, Sum
from kzn.server.config import ExternalAddresses
from kzn.server.recording import fold as fold_module
from kzn.server.recording.batches import EndRows, SettledBatch
from kzn.server.recording.ends import end_of
from kzn.server.recording.fold import Fold, minute_of
from kzn.server.recording.owners import Learned
from kzn.server.recording.words import Words, grouped

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


def batch(*flows: tuple[int, int, int], learned: Learned = (), minute: int = 7) -> SettledBatch:
    """Flows (source, destination, bytes) between owners by id, of which n has address 10.0.0.n."""
    owners = sorted({owner for *ends, _ in flows for owner in ends})
    rows = [tuple(owners.index(end) for end in ends) for *ends, _ in flows]
    addresses = b"".join(pack(f"10.0.0.{owner}") for owner in owners)
    sizes = [size for *_, size in flows]
    return SettledBatch(
        EndRows(
            np.frombuffer(addresses, np.uint8).reshape(-1, 16),
            np.array(owners, np.int32),
            np.zeros(len(owners), np.bool_),
        ),
        src=np.array([src for src, _ in rows], np.uint32),
        dst=np.array([dst for _, dst in rows], np.uint32),
        rest=np.zeros(len(rows), np.uint32),
        packets=np.ones(len(rows), np.uint64),
        bytes=np.array(sizes, np.uint64),
        minutes=minute,
        learned=learned,
        sums={"same_zone": Sum(len(sizes), sum(sizes))},
    )


def taken(fold: Fold) -> dict[tuple[str, str, int], int]:
    """Bytes by pods and minute; the sums told are those of the rows."""
    found = fold.take()
    sums = {
        (found.ends[row["src"]].pod, found.ends[row["dst"]].pod, int(row["time"]) // 60): int(
            row["bytes"]
        )
        for rows in found.hours
        for row in rows
    }
    told = sum(amount.bytes for part in found.sums for amount in part.values())
    assert told == sum(sums.values())
    assert sum(map(len, found.hours)) == len(sums)
    return sums


def pod(name: str) -> Endpoint:
    return Endpoint(POD, "shop", name, "Deployment", "web", "n1", "a", "r")


def test_flows_belong_to_the_owner_that_an_id_had_then() -> None:
    fold = Fold()
    first, then = [(1, pod("a")), (2, pod("b"))], [(1, pod("c"))]
    assert fold.add(batch((1, 2, 5), learned=first)) == ""
    assert fold.add(batch((1, 2, 7), (2, 1, 1), learned=then)) == ""
    assert fold.add(batch((1, 2, 11))) == ""
    assert taken(fold) == {("a", "b", 7): 5, ("c", "b", 7): 18, ("b", "c", 7): 1}


def test_owners_that_a_batch_brings_are_known_also_if_grouping_those_before_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fold = Fold()
    assert fold.add(batch((1, 1, 5), learned=[(1, pod("a"))])) == ""
    with monkeypatch.context() as patched:
        patched.setattr(Words, "of", _fail)
        with pytest.raises(MemoryError):
            fold.add(batch((1, 2, 7), learned=[(1, pod("b")), (2, pod("c"))]))
    fold.forget()
    assert fold.add(batch((1, 2, 11))) == "", "the recorder tells owners once a minute"
    assert taken(fold) == {("b", "c", 7): 11}


def _fail(*_: object) -> Words:
    raise MemoryError


@pytest.mark.parametrize(("together", "batches"), [(1, 100), (2, 100), (100, 100), (100, 3)])
def test_batches_add_up_however_many_are_grouped_together(
    together: int, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_module, "_COMPACT", together)
    monkeypatch.setattr(fold_module, "MAX_BATCHES", batches)
    fold = Fold()
    owners = [(1, pod("a")), (2, pod("b")), (3, pod("c"))]
    for minute in (7, 8, 61):
        assert fold.add(batch((1, 2, 5), (1, 2, 6), learned=owners, minute=minute)) == ""
        assert fold.add(batch((3, 2, 9), (1, 2, 10), minute=minute)) == ""
    expected = {("a", "b"): 21, ("c", "b"): 9}
    assert taken(fold) == {
        (*pair, minute): size for pair, size in expected.items() for minute in (7, 8, 61)
    }
    assert taken(fold) == {}


def test_near_the_limit_of_ends_rows_are_not_grouped_again_for_each_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groupings = []

    def grouped(words: Words) -> Words:
        groupings.append(len(words.ends))
        return original(words)

    original = Words.grouped
    monkeypatch.setattr(Words, "grouped", grouped)
    monkeypatch.setattr(fold_module, "MAX_ENDS", 4)
    fold = Fold()
    owners = [(1, pod("a")), (2, pod("b"))]
    for _ in range(20):  # each may bring two ends more, as far as is known before it has numbers
        assert fold.add(batch((1, 2, 5), learned=owners)) == ""
    assert groupings == []
    assert taken(fold) == {("a", "b", 7): 100}
    assert groupings == [20]


def test_a_batch_that_may_bring_too_many_ends_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fold_module, "MAX_ENDS", 3)
    fold = Fold()
    owners = [(number, pod(str(number))) for number in range(1, 6)]
    assert fold.add(batch((1, 2, 5), learned=owners)) == ""
    assert fold.add(batch((2, 1, 6))) == "full"  # two ends more, as far as that is known
    assert fold.add(batch((3, 3, 7))) == ""
    assert fold.add(batch((4, 4, 8))) == "full"
    assert taken(fold) == {("1", "2", 7): 5, ("3", "3", 7): 7}
    assert fold.add(batch((4, 5, 9))) == "", "numbers began anew"
