"""Exports: all groups or all flows of a span, as CSV or Parquet, written as they are found.

In: an `Export` and a `Reader`. Out: the number of rows first, then the rows. UsageError for more
rows than the limit, before the first one. Never: rows that are left out without a word.
"""

from kzn.errors import UsageError
from kzn.history.export_query import Export
from kzn.history.query import Answer
from kzn.history.reader import Reader
from kzn.history.sql import Statement, compile_export

ROW_GROUP = 20_000
"""Rows of Parquet that are held until they are written."""
_OPTIONS = {
    "csv": "FORMAT csv, HEADER true, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%SZ'",
    "parquet": f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}",
}


class Exporter:
    """Writes one export; ``prepare`` first, which chooses the files or makes the groups."""

    def __init__(self, reader: Reader, export: Export) -> None:
        self._reader = reader
        self._export = export
        self._rows = Statement("")

    def prepare(self) -> tuple[Answer, int]:
        """The span, widened, and how many rows there are; UsageError if they are too many."""
        about, rows = self._reader.with_files(
            self._export.query, self._prepared, may_be_nodes=bool(self._export.query.by)
        )
        if rows > self._export.rows:
            raise UsageError(
                f"there are {rows} rows, the limit is {self._export.rows}",
                hint="ask for a shorter span or fewer dimensions, add where, or raise limit",
            )
        return about, rows

    def write(self, path: str) -> None:
        """Write the rows to a file or pipe that the reader may write."""
        options = _OPTIONS[self._export.format]
        # Once: after the first row another try would write it again.
        self._reader.execute_once(
            Statement(f"COPY ({self._rows.sql}) TO '{path}' ({options})", self._rows.parameters)
        )

    def _prepared(self, about: Answer, files: Statement | None) -> tuple[Answer, int]:
        found = compile_export(about.query, files, about.step, about.source)
        if not about.query.by:
            self._rows = found
            return about, self._count(f"SELECT count(*) FROM ({found.sql})", found)
        self._reader.execute(
            Statement(f"CREATE OR REPLACE TEMP TABLE export AS {found.sql}", found.parameters)
        )
        self._rows = Statement("FROM export ORDER BY bytes DESC")
        return about, self._count("SELECT count(*) FROM export", Statement(""))

    def _count(self, sql: str, of: Statement) -> int:
        ((rows,),) = self._reader.execute(Statement(sql, of.parameters))
        return int(rows)
