"""Exports from files: all groups or all flows, to the byte, or an error before the first row."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from questions import CLUSTER, ENDS, PROVIDER_IDS, T0, VERDICTS, settled

from kzn.errors import UsageError
from kzn.history.columns import KEYS
from kzn.history.export import Exporter
from kzn.history.export_query import Export
from kzn.history.query import TrafficQuery
from kzn.history.reader import Reader
from kzn.history.retention import Keep
from kzn.history.segments import DAY, HOUR
from kzn.history.writer import Writer

FLOWS: list[tuple[int, ...]] = [
    (0, 0, 1, 443, 6, 1, 1, 700),
    (1, 0, 1, 443, 6, 1, 1, 30),
    (2, 1, 0, 5432, 17, 0, 2, 5),
    (61, 3, 4, 0, 99, 2, 0, 1 << 48),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("history")
    writer = Writer(found, "00000001", VERDICTS, Keep())
    writer.describe(CLUSTER, PROVIDER_IDS)
    writer.add_ends(ENDS, anew=True)
    writer.write(1, settled(FLOWS[:3]), {})
    writer.write(2, settled(FLOWS[3:]), {})
    while writer.maintain(T0 + HOUR + 600):
        pass
    writer.close()
    return found


@pytest.fixture
def exported(root: Path, tmp_path: Path) -> Iterator[Any]:
    target = tmp_path / "export"
    reader = Reader(root, output=str(target))

    def run(export: Export) -> list[dict[str, str]]:
        exporter = Exporter(reader, export)
        _, rows = exporter.prepare()
        exporter.write(str(target))
        if export.format == "parquet":
            table = duckdb.connect().execute(f"FROM read_parquet('{target}')")
            names = [column[0] for column in table.description or ()]
            found = [dict(zip(names, map(str, row), strict=True)) for row in table.fetchall()]
        else:
            with target.open(newline="") as file:
                found = list(csv.DictReader(file))
        assert len(found) == rows
        return found

    yield run
    reader.close()


def span(by: tuple[str, ...] = (), where: Any = (), points: int = 0) -> TrafficQuery:
    return TrafficQuery(T0, T0 + 2 * HOUR, by, where, 0, points)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_groups_are_exported_with_their_sums(exported: Any, form: Any) -> None:
    found = exported(Export(span(("src_workload", "port", "class")), form))
    assert [tuple(row.values()) for row in found] == [
        ("n1", "0", "unresolved", "1", str(1 << 48)),
        ("web", "443", "cross_zone", "2", "730"),
        ("web", "5432", "same_zone", "1", "5"),
    ]
    assert list(found[0]) == ["src_workload", "port", "class", "packets", "bytes"]


def test_with_points_there_is_a_row_for_each_step(exported: Any) -> None:
    found = exported(Export(span(("cause_zone",), points=2)))
    rows = {(row["time"], row["cause_zone"], row["bytes"]) for row in found}
    assert rows == {
        ("2026-11-26T00:00:00Z", "a", "735"),
        ("2026-11-26T01:00:00Z", "a", str(1 << 48)),
    }


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_without_dimensions_flows_are_exported_with_all_columns(exported: Any, form: Any) -> None:
    where = (("workload", ("bank/web", "shop/web")), ("port", ("443", "0")))
    found = exported(Export(span((), where), form))
    assert list(found[0]) == ["time", *KEYS["raw"], "packets", "bytes"]
    assert sorted((row["src_pod"], row["dst_address"], row["bytes"]) for row in found) == [
        ("web-1", "10.0.0.2", "30"),
        ("web-1", "10.0.0.2", "700"),
    ]
    assert found[0]["cluster"] == CLUSTER


def test_values_are_never_statements(exported: Any) -> None:
    assert exported(Export(span((), (("dst_workload", ("'; DROP TABLE x; --", "?")),)))) == []


def test_more_rows_than_the_limit_are_an_error_before_the_first_one(root: Path) -> None:
    reader = Reader(root)
    for query in (span(), span(("src_workload", "port", "class"))):
        with pytest.raises(UsageError, match=r"there are [34] rows, the limit is 2"):
            Exporter(reader, Export(query, rows=2)).prepare()
    reader.close()


def test_what_was_counted_is_written_while_files_are_merged(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "history", "00000001", VERDICTS, Keep())
    writer.add_ends(ENDS, anew=True)
    writer.write(1, settled(FLOWS[:1]), {})
    writer.write(2, settled(FLOWS[1:3]), {})
    target = tmp_path / "export"
    reader = Reader(tmp_path / "history", output=str(target))
    exporter = Exporter(reader, Export(span()))
    _, rows = exporter.prepare()
    writer.write(3, settled(FLOWS[1:2]), {})
    while writer.maintain(T0 + HOUR + 600):
        pass
    exporter.write(str(target))
    with target.open(newline="") as file:
        assert [row["bytes"] for row in csv.DictReader(file)] == ["700", "30", "5"]
    assert rows == 3
    reader.close()
    writer.close()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_without_data_there_is_a_head(exported: Any, form: Any) -> None:
    empty = TrafficQuery(T0 - 9 * DAY, T0 - 8 * DAY, (), (), 0)
    assert exported(Export(empty, form)) == []


def test_a_reader_of_exports_writes_nothing_else(root: Path, tmp_path: Path) -> None:
    reader = Reader(root, output=str(tmp_path / "export"))
    with pytest.raises(duckdb.Error):
        reader._db.execute(f"COPY (SELECT 1) TO '{tmp_path / 'other'}' (FORMAT csv)")
    reader.close()


@pytest.mark.parametrize(("form", "rows"), [("xml", 1), ("csv", 0), ("csv", 30_000_000)])
def test_what_cannot_be_exported_is_named(form: Any, rows: int) -> None:
    with pytest.raises(UsageError):
        Export(span(), form, rows)
