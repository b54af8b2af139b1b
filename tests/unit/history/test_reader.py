"""Answers from files are those of plain dictionaries: minutes, hours, days, merged or not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from questions import ENDS, FLOWS, QUERIES, T0, VERDICTS, check, settled

from kzn.errors import KznError
from kzn.history.books import Gap
from kzn.history.memory import answer
from kzn.history.query import UNITS, TrafficQuery
from kzn.history.reader import Reader, choose
from kzn.history.retention import Keep
from kzn.history.segments import DAY, HOUR, listing
from kzn.history.writer import Writer


def write(root: Path, flows: list[tuple[int, ...]], *, merged_at: int | None = None) -> None:
    """Segments of an hour each; merged and rolled up as of ``merged_at``."""
    writer = Writer(root, "00000001", VERDICTS, Keep(raw=400 * DAY, hour=400 * DAY))
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
    found, plain = reader.ask(query), answer(query, settled(flows), ENDS, VERDICTS, None)
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


def test_files_that_a_merge_removes_meanwhile_are_found_under_their_new_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flows: list[tuple[int, ...]] = [(n, 0, 1, 443, 6, 0, 0, 7) for n in range(5)]
    write(tmp_path, flows[:2])
    write(tmp_path, flows[2:])
    reader = Reader(tmp_path)
    merged: list[int] = []

    def choose_then_merge(*arguments: Any) -> Any:
        if not merged:
            merged.append(1)
            write(tmp_path, [], merged_at=T0 + 2 * HOUR)
        return choose(*arguments)

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
