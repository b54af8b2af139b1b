"""Files made from rows in memory and files made from files have the same rows."""

from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from questions import CLUSTER, ENDS, FLOWS, PROVIDER_IDS, T0, VERDICTS, settled

from kzn.history import columns
from kzn.history.columns import KEYS
from kzn.history.retention import Keep
from kzn.history.segments import DAY, FOLDERS, HOUR, Level, listing
from kzn.history.writer import Writer
from kzn.history.writing import held_hours
from kzn.history.writing import merging as merging_module
from kzn.history.writing.merging import MergeError, Merging


def made(root: Path, flows: list[tuple[int, ...]], *, is_restarted: bool) -> dict[Level, list[str]]:
    """The rows of each level, as text, of a history whose minutes are merged and rolled up."""

    def opened() -> Writer:
        writer = Writer(root, "00000001", VERDICTS, Keep(raw=400 * DAY, hour=400 * DAY))
        writer.describe(CLUSTER, PROVIDER_IDS)
        writer.add_ends(ENDS, anew=True)
        return writer

    root.mkdir()
    writer = opened()
    for number, half in enumerate(sorted({flow[0] // 30 for flow in flows}), 1):
        writer.write(number, settled([flow for flow in flows if flow[0] // 30 == half]), {})
    if is_restarted:
        writer.close()
        writer = opened()
    while writer.maintain(T0 + DAY + 5 * HOUR):
        pass
    writer.close()
    return {level: rows_of(root, level) for level in FOLDERS}


def rows_of(root: Path, level: Level) -> list[str]:
    found = []
    with duckdb.connect() as db:
        db.execute("SET timezone = 'UTC'")
        for one in listing(root).levels[level]:
            names = ", ".join(("time", *KEYS[level], "packets", "bytes"))
            sql = f"SELECT {names} FROM read_parquet($1)"  # noqa: S608
            rows = db.execute(sql, [str(one.path(root))]).fetchall()
            found += [f"{one.name} {row}" for row in rows]
    return sorted(found)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flows=FLOWS, most=st.sampled_from([4, 1000]), at_once=st.sampled_from([1, 3, 1000]))
def test_rows_in_memory_and_in_files_make_the_same_files(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    flows: list[tuple[int, ...]],
    most: int,
    at_once: int,
) -> None:
    """Also where only sums of an hour are in memory, and files are read in passes."""
    root = tmp_path_factory.mktemp("made")
    monkeypatch.setattr(merging_module, "PASS_ROWS", at_once)
    monkeypatch.setattr(held_hours, "MAX_OF_HOUR", most)
    held = made(root / "held", flows, is_restarted=False)
    assert held == made(root / "read", flows, is_restarted=True)
    assert sum(map(len, held.values())) >= len(flows[:1]) * 5


def test_what_does_not_fit_into_the_memory_goes_to_the_disk_and_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kzn.history.writing.merging.MEMORY", "96MB")
    source, target = tmp_path / "source", tmp_path / "target"
    names = ", ".join(f"(i * 7919 % 300000)::VARCHAR AS {name}" for name in KEYS["raw"])
    select = f"SELECT make_timestamp({T0}000000) AS time, {names}, 1::UBIGINT AS packets,"
    select += " i::UBIGINT AS bytes FROM range(150000) AS r(i)"
    with duckdb.connect() as db:
        db.execute(f"COPY ({select}) TO '{source}' (FORMAT parquet, ROW_GROUP_SIZE 8192)")
    merging = Merging(tmp_path, 1 << 30)
    merging.make("raw", [source], target)
    merging.close()
    with duckdb.connect() as db:
        sql = "SELECT count(*), sum(bytes) FROM read_parquet($1)"
        assert db.execute(sql, [str(target)]).fetchall() == [(150_000, 149_999 * 75_000)]
        in_order = db.execute("SELECT bytes FROM read_parquet($1)", [str(target)]).fetchall()
    small = Merging(tmp_path, 1 << 20)
    with pytest.raises(MergeError, match=r"Out of Memory|max_temp_directory_size"):
        small.make("raw", [source], target)
    monkeypatch.setattr(merging_module, "PASS_ROWS", 50_000)
    small.make("raw", [source], target)  # neither memory nor disk grow with the rows
    small.close()
    with duckdb.connect() as db:
        found = db.execute("SELECT bytes FROM read_parquet($1)", [str(target)]).fetchall()
    assert found == in_order
    target.unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


@pytest.mark.parametrize("at_once", [1, 40, 1000])
def test_rows_without_a_workload_are_merged_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Only files of others have such: kzn writes an empty text."""
    monkeypatch.setattr(merging_module, "PASS_ROWS", at_once)
    source, target = tmp_path / "source", tmp_path / "target"
    values = dict.fromkeys(KEYS["raw"], "''") | {
        "dst_workload": "CASE i % 3 WHEN 0 THEN NULL ELSE (i % 3)::VARCHAR END",
        "src_workload": "CASE i % 5 WHEN 0 THEN NULL ELSE (i % 5)::VARCHAR END",
    }
    names = ", ".join(f"{value} AS {name}" for name, value in values.items())
    select = f"SELECT make_timestamp({T0}000000) AS time, {names}, 1::UBIGINT AS packets,"
    select += " i::UBIGINT AS bytes FROM range(150) AS r(i)"
    with duckdb.connect() as db:
        db.execute(f"COPY ({select}) TO '{source}' (FORMAT parquet)")
    merging = Merging(tmp_path, 1 << 30)
    merging.make("raw", [source], target)
    merging.close()
    with duckdb.connect() as db:
        sql = "SELECT sum(packets), sum(bytes), list(dst_workload) FROM read_parquet($1)"
        packets, size, names = db.execute(sql, [str(target)]).fetchall()[0]
    assert (packets, size) == (150, 149 * 75)
    assert names == ["1"] * 50 + ["2"] * 50 + [None] * 50


@pytest.mark.parametrize("level", ["raw", "hour", "node_hour"])
def test_a_file_that_lacks_bytes_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: Level
) -> None:
    root, target = tmp_path / "history", tmp_path / "target"
    made(root, [(0, 0, 1, 443, 6, 0, 1, 7), (1, 1, 0, 443, 6, 0, 1, 9)], is_restarted=True)
    sources = [one.path(root) for one in listing(root).levels["raw"]]
    merging = Merging(tmp_path, 1 << 30)
    merging.make(level, sources, target)
    target.unlink()
    with monkeypatch.context() as patch:
        real = columns.merged, columns.from_files
        patch.setattr(columns, "merged", lambda files: real[0](files, "bytes > 7"))
        patch.setattr(
            columns, "from_files", lambda level, files: real[1](level, files, "bytes > 7")
        )
        with pytest.raises(MergeError, match="instead of") as caught:
            merging.make(level, sources, target)
    merging.close()
    assert caught.value.reason == "sums"
    assert not target.exists()


def test_a_file_that_is_not_parquet_is_an_error(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(b"PAR1 nothing PAR1")
    merging = Merging(tmp_path, 1 << 30)
    assert not merging.is_readable("raw", bad)
    with pytest.raises(MergeError):
        merging.make("hour", [bad], tmp_path / "target")
    with pytest.raises(MergeError):
        merging.sums_of(bad)
    merging.close()
