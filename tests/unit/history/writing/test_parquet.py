"""Files that are written without a database are those that readers of Parquet expect."""

from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.history.writing import parquet
from kzn.history.writing.parquet import MAX_BOUND, ROW_GROUP, Column, Kind, Texts, Values, write
from kzn.wire.compression import Compression

pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow, the other reader, is not installed")
KINDS: dict[str, Kind] = {"time": "time", "name": "text", "port": "port", "bytes": "count"}
TEXTS = ["", "a", "é☃", "it's", "\t\n", "x" * (MAX_BOUND + 1)]
ROWS = st.lists(
    st.tuples(
        st.integers(0, 1 << 33),
        st.integers(0, len(TEXTS) - 1),
        st.integers(0, 65_535),
        st.integers(0, (1 << 64) - 1),
    ),
    min_size=1,
    max_size=40,
)


def columns(rows: list[tuple[int, ...]]) -> tuple[int, dict[str, Column]]:
    time, name, port, size = (list(column) for column in zip(*rows, strict=True))
    return len(rows), {
        "time": np.array(time, np.int64),
        "name": Texts(np.array(name), Values(TEXTS)),
        "port": np.array(port, np.uint16),
        "bytes": np.array(size, np.uint64),
    }


def written(path: Path, *groups: list[tuple[int, ...]]) -> Path:
    path.write_bytes(b"".join(write(KINDS, map(columns, groups), {"key": "value"})))
    return path


@given(st.lists(ROWS, max_size=3))
def test_two_readers_find_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[tuple[int, ...]]]
) -> None:
    path = written(tmp_path_factory.mktemp("parquet") / "file", *groups)
    expected = [(t, TEXTS[n], p, b) for group in groups for t, n, p, b in group]
    with duckdb.connect() as db:
        found = db.execute(
            "SELECT epoch(time)::BIGINT, name, port, bytes FROM read_parquet($1)", [str(path)]
        ).fetchall()
    assert found == expected
    table = pq.read_table(path)
    assert [str(field.type) for field in table.schema] == [
        "timestamp[us]", "string", "uint16", "uint64"
    ]  # fmt: skip
    assert table.schema.metadata == {b"key": b"value"}
    lists = [table[name].to_pylist() for name in ("name", "port", "bytes")]
    assert list(zip(*lists, strict=True)) == [row[1:] for row in expected]


@pytest.mark.parametrize("number", [1, 255, 256, 257, ROW_GROUP])
def test_any_number_of_distinct_texts(tmp_path: Path, number: int) -> None:
    texts = Texts(np.arange(number), Values(f"t{n}" for n in range(2 * number)))
    path = tmp_path / "file"
    path.write_bytes(b"".join(write({"name": "text"}, [(number, {"name": texts})], {})))
    assert pq.read_table(path)["name"].to_pylist() == [f"t{n}" for n in range(number)]
    bounds = pq.read_metadata(path).row_group(0).column(0).statistics
    names = sorted(f"t{n}" for n in range(number))
    assert (bounds.min, bounds.max, bounds.null_count) == (names[0], names[-1], 0)


def test_groups_without_what_is_asked_are_skipped_and_none_with_it(tmp_path: Path) -> None:
    """By the bounds of names, which a reader trusts."""
    path = tmp_path / "file"
    groups = [
        (2, {"name": Texts(np.array([n, n + 1]), Values(["a", "b", "é", "x" * (MAX_BOUND + 1)]))})
        for n in range(3)
    ]
    path.write_bytes(b"".join(write({"name": "text"}, groups, {})))
    with duckdb.connect() as db:
        for name, times in (("a", 1), ("b", 2), ("é", 2), ("x" * (MAX_BOUND + 1), 1), ("c", 0)):
            sql = "SELECT count(*) FROM read_parquet($1) WHERE name = $2"
            assert db.execute(sql, [str(path), name]).fetchall() == [(times,)]


def test_without_zstd_pages_are_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "available", lambda: (Compression.ZLIB,))
    path = written(tmp_path / "file", [(1, 1, 2, 3), (4, 2, 5, 6)])
    column = pq.read_metadata(path).row_group(0).column(1)
    assert column.compression == "UNCOMPRESSED"
    assert pq.read_table(path)["bytes"].to_pylist() == [3, 6]
