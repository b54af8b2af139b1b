"""Answers from files are those of plain dictionaries: minutes, hours, days, merged or not."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from questions import CLUSTER, ENDS, FLOWS, PROVIDER_IDS, QUERIES, T0, VERDICTS, check, settled

from kzn.errors import KznError
from kzn.history.books import Books, Gap, load, save
from kzn.history.columns import ADDED
from kzn.history.memory import answer
from kzn.history.query import SIDES, UNITS, MissingSpan, TrafficQuery
from kzn.history.reader import Reader, TooSlowError, choose
from kzn.history.retention import Keep
from kzn.history.segments import DAY, HOUR, listing
from kzn.history.sql import Statement
from kzn.history.writer import WriteError, Writer


def write(root: Path, flows: list[tuple[int, ...]], *, merged_at: int | None = None) -> None:
    """Segments of an hour each; merged and rolled up as of ``merged_at``."""
    writer = Writer(root, "00000001", VERDICTS, Keep(raw=400 * DAY, hour=400 * DAY))
    writer.describe(CLUSTER, PROVIDER_IDS)
    writer.add_ends(ENDS, anew=True)
    number = writer.books.number
    hours: dict[int, list[tuple[int, ...]]] = {}
    for flow in flows:
        hours.setdefault(flow[0] // 60, []).append(flow)
    for part in hours.values():
        number += 1
        writer.write(number, settled(part), {})
    while merged_at is not None and writer.maintain(merged_at):
        pass
    writer.close()


def of_side(side: str) -> list[str]:
    """What the rollups of nodes have, with the node of one side."""
    places = [f"{one}_{field}" for one in SIDES for field in ("zone", "region")]
    return [f"{side}_node", f"{side}_provider_id", *places, *FLOW_FIELDS_OF_NODES]


FLOW_FIELDS_OF_NODES = ("class", "reason", "initiator", "cluster")


@pytest.fixture(scope="module")
def rolled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Reader, Any]]:
    """Three days whose minutes are gone, rolled up from memory and from files."""
    chance = np.random.default_rng(17)
    flows: list[tuple[int, ...]] = [
        (
            int(chance.integers(-3 * 1440, 0)),
            *(int(chance.integers(0, n)) for n in (5, 5)),
            int(chance.choice([0, 443, 5432])),
            int(chance.choice([6, 17, 99])),
            *(int(chance.integers(0, 3)) for _ in range(2)),
            int(chance.integers(1, 1 << 40)),
        )
        for _ in range(400)
    ]
    root = tmp_path_factory.mktemp("rolled")
    write(root / "all", flows[:200])
    write(root / "all", flows[200:390], merged_at=T0 + 2 * DAY)
    write(root / "all", flows[390:], merged_at=T0 + 2 * DAY)  # late
    only_rollups(root / "all", root / "kept")
    reader = Reader(root / "kept")
    yield reader, flows
    reader.close()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Reader, Any]]:
    """A history of three days, the first two merged, and its flows."""
    chance = np.random.default_rng(15)
    flows: list[tuple[int, ...]] = [
        (
            int(chance.choice(30)) * 97 - 2400 + int(chance.integers(0, 60)),
            *(int(chance.integers(0, n)) for n in (5, 5)),
            int(chance.choice([0, 443, 5432])),
            int(chance.choice([6, 17, 99])),
            *(int(chance.integers(0, 3)) for _ in range(2)),
            int(chance.integers(1, 1 << 40)),
        )
        for _ in range(300)
    ]
    root = tmp_path_factory.mktemp("history")
    write(root, flows[:150])
    write(root, flows[150:280], merged_at=T0 + 2 * HOUR)
    write(root, flows[280:])  # some are late: their hours have rollups that lack them
    reader = Reader(root)
    yield reader, flows
    reader.close()


SOME, FIRST_DAY = {3, 4, 7}, set(range(24))


@pytest.mark.parametrize(
    ("hours", "days", "missing_by_hour", "missing_by_day"),
    [
        (SOME, set(), SOME, set()),  # the day has them
        (SOME, {0}, SOME, SOME),
        (FIRST_DAY - {0}, {0}, FIRST_DAY - {0}, FIRST_DAY - {0}),
    ],
)
def test_where_rollups_of_nodes_have_holes_those_of_pairs_answer_and_nodes_have_gaps(
    tmp_path: Path,
    hours: set[int],
    days: set[int],
    missing_by_hour: set[int],
    missing_by_day: set[int],
) -> None:
    """An older version served in between, or a file was damaged."""
    first = T0 - 2 * DAY
    flows: list[tuple[int, ...]] = [
        ((hour - 48) * 60, 0, 1, 443, 6, 0, 1, 1 << hour) for hour in range(48)
    ]
    write(tmp_path / "all", flows, merged_at=T0 + 2 * DAY)
    only_rollups(tmp_path / "all", root := tmp_path / "kept")
    found = listing(root)
    for one in (*found.levels["node_hour"], *found.levels["node_day"]):
        number, unit = (hours, HOUR) if one.level == "node_hour" else (days, DAY)
        if (one.begin - first) // unit in number:
            one.path(root).unlink()
    reader = Reader(root)
    for length, missing in ((2, missing_by_hour), (60, missing_by_day)):
        for by in ((), ("src_zone",), ("class",)):
            query = TrafficQuery(T0 - length * DAY, T0, by=by)
            assert reader.ask(query).total.bytes == (1 << 48) - 1
        answered = reader.ask(TrafficQuery(T0 - length * DAY, T0, by=("src_node",)))
        gaps = [gap for gap in answered.gaps if gap.reason == "not_by_node"]
        in_gaps = {
            hour
            for hour in range(48)
            if any(gap.begin <= first + hour * HOUR < gap.end for gap in gaps)
        }
        assert in_gaps == missing
        assert answered.total.bytes == sum(1 << hour for hour in range(48) if hour not in missing)
    reader.close()


def only_rollups(root: Path, kept: Path) -> None:
    """Copy a history without its minutes, as it is when they are past their age."""
    shutil.copytree(root, kept)
    shutil.rmtree(kept / "raw")


@settings(max_examples=120)
@given(query=QUERIES)
def test_an_answer_is_that_of_dictionaries(stored: tuple[Reader, Any], query: TrafficQuery) -> None:
    reader, flows = stored
    found = reader.ask(query)
    check(found, flows, query, UNITS[found.source])


@settings(max_examples=60)
@given(
    begin=st.integers(-80 * HOUR, 0),
    length=st.integers(1, 90 * HOUR),
    query=QUERIES.filter(lambda query: not query.needs_detail),
)
def test_long_spans_are_answered_from_hours(
    stored: tuple[Reader, Any], begin: int, length: int, query: TrafficQuery
) -> None:
    reader, flows = stored
    query = TrafficQuery(
        T0 + begin, T0 + begin + length, query.by, query.where, query.limit, query.points
    )
    found = reader.ask(query)
    check(found, flows, query, UNITS[found.source])
    assert found.source == ("hours" if length > 6 * HOUR else "minutes")


NODE_QUERIES = st.sampled_from(SIDES).flatmap(
    lambda side: st.builds(
        lambda begin, days, by, where, limit, points, compare: TrafficQuery(
            T0 + begin, T0 + begin + days * DAY, tuple(by), tuple(where.items()), limit, points,
            compare
        ),
        st.integers(-80 * HOUR, 0),
        st.sampled_from([1, 3, 50]),
        st.lists(st.sampled_from(of_side(side)), unique=True, max_size=4),
        st.dictionaries(
            st.sampled_from([*of_side(side), "zone", "region"]),
            st.lists(st.sampled_from(["n1", "n2", "a", "b", "", "same_zone", "aws:///a/i-1"]),
                     min_size=1, max_size=3).map(tuple),
            max_size=2,
        ),
        st.integers(0, 4),
        st.integers(0, 5),
        st.booleans(),
    )
)  # fmt: skip


@settings(max_examples=150)
@given(query=NODE_QUERIES)
def test_nodes_are_answered_by_their_rollups_to_the_byte(
    rolled: tuple[Reader, Any], query: TrafficQuery
) -> None:
    """The minutes are gone; what is asked is what dictionaries of the flows say."""
    reader, flows = rolled
    found = reader.ask(query)
    assert found.source in ("hours", "days")
    check(found, flows, query, UNITS[found.source])


@pytest.mark.parametrize("side", SIDES)
def test_the_node_of_each_side_is_that_of_its_flows(rolled: tuple[Reader, Any], side: str) -> None:
    reader, flows = rolled
    query = TrafficQuery(T0 - 3 * DAY, T0, (f"{side}_node", "dst_zone"), compare=True, points=3)
    check(reader.ask(query), flows, query, HOUR)


@pytest.mark.parametrize("name", ["src_workload", "dst_pod", "cause_workload", "workload", "pod"])
@pytest.mark.parametrize("value", ["web", "shop/web", "bank/web-1", "web-1", "shop/none"])
def test_names_with_and_without_their_namespace_are_found(
    stored: tuple[Reader, Any], name: str, value: str
) -> None:
    reader, flows = stored
    query = TrafficQuery(T0 - 2 * HOUR, T0 + 3 * HOUR, ("src_pod",), ((name, (value, "n1")),))
    check(reader.ask(query), flows, query)


@pytest.mark.parametrize(
    ("by", "where"),
    [
        (("src_node", "dst_node"), {}),
        (("src_node", "dst_provider_id"), {}),
        (("src_node",), {"node": ("n1",)}),
        (("src_node", "port"), {}),
        (("src_node",), {"src_namespace": ("shop",)}),
        (("cause_node",), {"src_node": ("n1",)}),
        (("src_pod",), {}),
        (("dst_address",), {}),
    ],
)
def test_what_no_rollup_has_says_that_it_has_no_data(
    rolled: tuple[Reader, Any], by: tuple[str, ...], where: dict[str, tuple[str, ...]]
) -> None:
    reader, _ = rolled
    found = reader.ask(TrafficQuery(T0 - 3 * DAY, T0, by, tuple(where.items())))
    assert (found.source, found.complete_from, found.of) == ("minutes", None, 0)


def test_very_long_spans_are_answered_from_days(stored: tuple[Reader, Any]) -> None:
    reader, flows = stored
    query = TrafficQuery(T0 - 100 * DAY, T0 + DAY, ("src_workload",), points=101)
    found = reader.ask(query)
    assert (found.source, found.step) == ("days", DAY)
    check(found, flows, query, DAY)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flows=FLOWS, query=QUERIES)
def test_any_flows_are_answered_as_from_memory(
    tmp_path_factory: pytest.TempPathFactory, flows: list[tuple[int, ...]], query: TrafficQuery
) -> None:
    root = tmp_path_factory.mktemp("history")
    write(root, flows)
    reader = Reader(root)
    found = reader.ask(query)
    plain = answer(
        query,
        settled(flows),
        ENDS,
        VERDICTS,
        None,
        cluster=CLUSTER,
        provider_ids=PROVIDER_IDS,
    )
    if found.source == "minutes":
        assert (found.rows, found.total, found.of) == (plain.rows, plain.total, plain.of)
    reader.close()


def test_gaps_and_the_ends_of_what_is_known_are_told(tmp_path: Path) -> None:
    write(tmp_path, [(0, 0, 1, 443, 6, 0, 0, 7)])
    writer = Writer(tmp_path, "00000001", VERDICTS, Keep())
    gap, later = Gap(T0 + 60, T0 + 120, "io", 5), Gap(T0 + HOUR, T0 + HOUR + 60, "restart", 5)
    writer.note({}, [gap, later], T0 + 180)
    writer.close()
    reader = Reader(tmp_path)
    found = reader.ask(TrafficQuery(T0, T0 + 120)).to_json()
    assert found["gaps"] == [{"from": T0 + 60, "to": T0 + 120, "reason": "io"}]
    assert (found["complete_from"], found["complete_to"]) == (T0, T0 + 180)
    reader.close()


@pytest.mark.parametrize("merged_at", [None, T0 + 2 * DAY])
def test_a_young_history_is_complete_from_its_first_minute_on(
    tmp_path: Path, merged_at: int | None
) -> None:
    flow = (0, 1, 443, 6, 0, 0, 7)
    write(tmp_path, [(51, *flow), (49, *flow)])
    write(tmp_path, [(60, *flow), (120, *flow)], merged_at=merged_at)
    reader = Reader(tmp_path)
    for query in (TrafficQuery(T0, T0 + HOUR), TrafficQuery(T0, T0 + DAY, by=("src_zone",))):
        assert reader.ask(query).complete_from == T0 + 49 * 60
    reader.close()


def test_a_history_without_a_first_minute_is_complete_from_its_first_hour_on(
    tmp_path: Path,
) -> None:
    flow = (0, 1, 443, 6, 0, 0, 7)
    write(tmp_path, [(51, *flow)])
    books = json.loads((tmp_path / "books.json").read_text())
    del books["since"]
    (tmp_path / "books.json").write_text(json.dumps(books))
    write(tmp_path, [(60, *flow)])
    reader = Reader(tmp_path)
    assert reader.ask(TrafficQuery(T0, T0 + HOUR)).complete_from == T0
    reader.close()


def test_files_that_a_merge_removes_meanwhile_are_found_under_their_new_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flows: list[tuple[int, ...]] = [(n, 0, 1, 443, 6, 0, 0, 7) for n in range(5)]
    write(tmp_path, flows[:2])
    write(tmp_path, flows[2:])
    reader = Reader(tmp_path)
    merged: list[int] = []

    def choose_then_merge(*arguments: Any, **options: Any) -> Any:
        if not merged:
            merged.append(1)
            write(tmp_path, [], merged_at=T0 + 2 * HOUR)
        return choose(*arguments, **options)

    monkeypatch.setattr("kzn.history.reader.choose", choose_then_merge)
    query = TrafficQuery(T0, T0 + HOUR)
    check(reader.ask(query), flows, query)
    assert [one.kind for one in listing(tmp_path).levels["raw"]] == ["h"]
    reader.close()


def test_a_reader_reads_nothing_else_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "secret.csv").write_text("a\n1\n")
    reader = Reader(tmp_path / "history")
    for statement in (
        f"FROM read_csv('{tmp_path}/secret.csv')",
        f"FROM read_csv('{tmp_path}/history/../secret.csv')",
        f"COPY (SELECT 1) TO '{tmp_path}/x.csv'",
        "SET enable_external_access = true",
    ):
        with pytest.raises(duckdb.Error):
            reader._db.execute(statement)
    reader.close()
    with pytest.raises(KznError, match="no such directory"):
        Reader(tmp_path / "none")


def test_text_from_outside_is_never_sql(tmp_path: Path) -> None:
    flows: list[tuple[int, ...]] = [(0, 0, 1, 443, 6, 0, 0, 7)]
    write(tmp_path, flows)
    reader = Reader(tmp_path)
    for text in ("' OR 1=1 --", "?", "$1", "\\", '"', "web'; DROP TABLE groups; --"):
        query = TrafficQuery(T0, T0 + 60, where=(("workload", (text,)),))
        assert reader.ask(query).total.bytes == 0
    reader.close()


def without_added_columns(root: Path) -> None:
    """Turn all files into those of schema 1."""
    db = duckdb.connect()
    for path in root.glob("*/*/*.parquet"):
        db.execute(f"CREATE OR REPLACE TABLE old AS FROM '{path}'")
        for name in {row[0] for row in db.execute("DESCRIBE old").fetchall()} & {*ADDED}:
            db.execute(f"ALTER TABLE old DROP COLUMN {name}")
        db.execute(f"COPY old TO '{path}' (FORMAT parquet)")
    db.close()


@pytest.mark.parametrize("merged", [None, T0 + 3 * HOUR])
def test_files_without_the_later_columns_are_read_as_empty_there(
    tmp_path: Path, merged: int | None
) -> None:
    old: list[tuple[int, ...]] = [(0, 0, 1, 443, 6, 1, 1, 700), (1, 1, 0, 443, 6, 0, 2, 30)]
    write(tmp_path, old)
    without_added_columns(tmp_path)
    write(tmp_path, [(2, 0, 1, 443, 6, 1, 1, 5)], merged_at=merged)
    reader = Reader(tmp_path)
    by = ("cluster", "src_group", "cause_provider_id")
    found = reader.ask(TrafficQuery(T0, T0 + HOUR, by)).to_json()
    shown = [(*(row[name] for name in by), row["bytes"]) for row in found["rows"]]
    assert shown == [("", "", "", 730), ("east", "team-a", "aws:///a/i-1", 5)]
    empty = TrafficQuery(T0, T0 + HOUR, where=(("cluster", ("",)),))
    assert reader.ask(empty).total.bytes == 730
    reader.close()


def test_files_without_the_later_columns_alone_are_read(tmp_path: Path) -> None:
    write(tmp_path, [(0, 0, 1, 443, 6, 1, 1, 700)], merged_at=T0 + 3 * HOUR)
    without_added_columns(tmp_path)
    reader = Reader(tmp_path)
    found = reader.ask(TrafficQuery(T0, T0 + HOUR, ("cluster", "dst_group", "dst_workload")))
    assert [row.values for row in found.rows] == [("", "", "web")]
    reader.close()


def test_a_damaged_file_is_named_left_out_and_a_gap(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, [(0, 0, 1, 443, 6, 1, 1, 700), (60, 0, 1, 443, 6, 1, 1, 5)])
    damaged = listing(tmp_path).levels["raw"][0].path(tmp_path)
    damaged.write_bytes(damaged.read_bytes()[:200])
    reader = Reader(tmp_path)
    for _ in range(2):
        found = reader.ask(TrafficQuery(T0, T0 + 2 * HOUR)).to_json()
        assert found["total"]["bytes"] == 5
        assert found["gaps"] == [{"from": T0, "to": T0 + HOUR, "reason": "damaged"}]
    assert [damaged.name in record.getMessage() for record in caplog.records] == [True]
    reader.close()


FOREIGN = (
    "SELECT 'x' AS bytes, TIMESTAMP '2026-01-01' AS time",
    "SELECT 'soon' AS time, 5 AS bytes, 1 AS packets",
    "SELECT [1] AS src_workload, 1 AS bytes",
)


@pytest.mark.parametrize("select", FOREIGN)
def test_a_parquet_file_of_something_else_is_left_out_and_moved_aside_by_a_merge(
    tmp_path: Path, select: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, [(0, 0, 1, 443, 6, 1, 1, 700)])
    own = listing(tmp_path).levels["raw"][0]
    foreign = replace(own, server="0000f00d").path(tmp_path)
    duckdb.execute(f"COPY ({select}) TO '{foreign}' (FORMAT parquet)")
    reader, query = Reader(tmp_path), TrafficQuery(T0, T0 + HOUR, ("src_workload",))
    found = reader.ask(query).to_json()
    assert (found["total"]["bytes"], found["gaps"][0]["reason"]) == (700, "damaged")
    (message,) = (record.getMessage() for record in caplog.records)
    assert foreign.name in message
    assert "\n" not in message
    writer = Writer(tmp_path, "00000001", VERDICTS, Keep())
    with pytest.raises(WriteError, match="moved aside") as caught:
        all(writer.maintain(T0 + 5000) for _ in range(20))
    assert caught.value.reason == "damaged"
    writer.close()
    assert not foreign.exists()
    assert reader.ask(query).total.bytes == 700
    reader.close()


def test_a_damaged_file_that_the_books_have_as_a_gap_is_one_gap(tmp_path: Path) -> None:
    """As when it is moved aside between the listing of a reader and its look at the books."""
    write(tmp_path, [(0, 0, 1, 443, 6, 1, 1, 700), (60, 0, 1, 443, 6, 1, 1, 5)])
    damaged = listing(tmp_path).levels["raw"][0].path(tmp_path)
    damaged.write_bytes(damaged.read_bytes()[:200])
    books = load(tmp_path) or Books()
    save(tmp_path, books.with_gap(Gap(T0, T0 + HOUR, "damaged", 0)))
    reader = Reader(tmp_path)
    found = reader.ask(TrafficQuery(T0, T0 + 2 * HOUR))
    assert (found.total.bytes, found.gaps) == (5, (MissingSpan(T0, T0 + HOUR, "damaged"),))
    reader.close()


def test_a_file_whose_data_is_damaged_is_found_as_well(tmp_path: Path) -> None:
    write(tmp_path, [(0, 0, 1, 443, 6, 1, 1, 700), (60, 0, 1, 443, 6, 1, 1, 5)])
    damaged = listing(tmp_path).levels["raw"][0].path(tmp_path)
    content = bytearray(damaged.read_bytes())
    content[4:400] = bytes(396)  # the footer stays
    damaged.write_bytes(content)
    reader = Reader(tmp_path)
    found = reader.ask(TrafficQuery(T0, T0 + 2 * HOUR, ("src_kind", "src_workload"))).to_json()
    assert (found["total"]["bytes"], found["gaps"][0]["reason"]) == (5, "damaged")
    reader.close()


def test_a_statement_that_takes_too_long_is_ended_and_the_next_query_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flows: list[tuple[int, ...]] = [(0, 0, 1, 443, 6, 1, 1, 700)]
    write(tmp_path, flows)
    reader, query = Reader(tmp_path), TrafficQuery(T0, T0 + 60)
    endless = Statement(
        "SELECT sum(a.range * b.range) FROM range(?) AS a, range(?) AS b", (10**9,) * 2
    )
    with monkeypatch.context() as patched:
        patched.setattr(reader, "_answer", lambda _about, _files: reader.execute(endless))
        with pytest.raises(TooSlowError, match="no answer within"):
            reader.ask(query, seconds=0.05)
        with pytest.raises(TooSlowError):
            reader.ask(query, seconds=0.0)
    check(reader.ask(query, seconds=60.0), flows, query)
    reader.close()
