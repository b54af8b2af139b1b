"""The examples of docs/operations.md that read files with other programs, as they stand there."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from manifests import ROOT
from questions import ENDS, T0, VERDICTS, settled

from kzn.history.retention import Keep
from kzn.history.writer import Writer

FLOWS: list[tuple[int, ...]] = [
    (0, 0, 1, 443, 6, 1, 1, 700),
    (1, 0, 1, 443, 6, 1, 1, 30),
    (61, 3, 1, 5432, 6, 0, 2, 5),
    (0, 1, 3, 443, 6, 1, 1, 9),
]


def example(program: str) -> str:
    """The block after "With PROGRAM"; the workload ``db`` is called ``web`` here."""
    text = (ROOT / "docs" / "operations.md").read_text()
    found = re.search(rf"^With {program}.*?:\n\n```\w+\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    assert len(found[1].strip().splitlines()) <= 6
    return found[1].replace("'db'", "'web'").replace('"db"', '"web"')


@pytest.fixture
def root(tmp_path: Path) -> Path:
    writer = Writer(tmp_path, "00000001", VERDICTS, Keep())
    writer.add_ends(ENDS, anew=True)
    for number, part in enumerate((FLOWS[:2], FLOWS[2:3], FLOWS[3:]), 1):
        writer.write(number, settled(part), {})
    while writer.maintain(T0 + 5000):  # the first hour is merged, the second one not
        pass
    writer.close()
    return tmp_path


def test_the_example_for_duckdb(root: Path) -> None:
    sql = example("DuckDB").replace("DIR", str(root))
    found = duckdb.connect().execute(sql).fetchall()
    assert sorted(row[1:] for row in found) == [
        ("", 5432, 5),
        ("web-1", 443, 30),
        ("web-1", 443, 700),
    ]


def test_the_example_for_pandas(root: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed: its example is not tried")
    pytest.importorskip("pyarrow", reason="pandas reads Parquet by pyarrow, which is not installed")
    names: dict[str, Any] = {}
    exec(example("pandas").replace("DIR", str(root)), names)  # noqa: S102 - our own text
    assert names["found"].to_dict() == {("web-1", 443): 730, ("", 5432): 5}
