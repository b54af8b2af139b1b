"""Merges and adds up files by DuckDB: those whose rows are not in memory.

In: paths of files. Out: a file, sums, whether a file can be read. MergeError.
Never: more than `MEMORY` of memory and ``spill`` bytes of disk, or DuckDB before it is needed.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kzn.errors import KznError
from kzn.history import columns
from kzn.history.segments import Level
from kzn.model.settled import ByClass, Sum

if TYPE_CHECKING:
    import duckdb

MEMORY = "400MB"
MAX_SPILL = 4_000_000_000
"""Bytes; of a smaller history half of its size, since a volume has twice that."""
FOLDER = "spill"
"""What does not fit into the memory, and files until they are whole."""
PASS_ROWS = 400_000
"""Rows that are sorted or added up at once; some 600 bytes each, so that they fit into `MEMORY`."""
_OF_NODES: frozenset[Level] = frozenset(("node_hour", "node_day"))
"""Few groups, however many rows there are."""
_Totals = tuple[int, int]
"""Packets and bytes."""


class MergeError(KznError):
    """DuckDB could not do it; ``reason`` is a metric label, empty if the text has it."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class Merging:
    """A database without tables, opened when it is needed; ``root`` is the history.

    ``size`` is the most bytes of the history's files. One thread at a time uses it.
    """

    def __init__(self, root: Path, size: int) -> None:
        self._spill = min(MAX_SPILL, size // 2)
        self._folder = root / FOLDER
        self._db: duckdb.DuckDBPyConnection | None = None
        self._is_ending = False
        self.progress = ""
        """What follows in a log line about `make`."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def temporary(self, name: str) -> Path:
        """Where a file may be made until it is whole; nothing of it outlives the next start."""
        self._folder.mkdir(exist_ok=True)
        return self._folder / name

    def make(self, level: Level, paths: Sequence[Path], target: Path) -> None:
        """Write the file of a level that has all rows of ``paths``.

        More than `PASS_ROWS` are taken in passes by workload, which is how files are sorted, so
        neither memory nor disk grow with them. MergeError, too, if the file would not have all
        packets and bytes.
        """
        files = columns.literals([str(path) for path in paths])
        self._write(level, files, target)
        times = columns.TIMES.get(level, 1)
        expected = [times * amount for amount in self._totals(files)]
        packets, size = self._totals(columns.literals([str(target)]))
        if [packets, size] != expected:
            target.unlink()
            raise MergeError(
                f"{target.name} would have {size} bytes in {packets} packets instead of"
                f" {expected[1]} in {expected[0]}; its {len(paths)} files are kept",
                reason="sums",
            )

    def _write(self, level: Level, files: str, target: Path) -> None:
        select = columns.merged(files) if level == "raw" else columns.from_files(level, files)
        conditions = [] if level in _OF_NODES else self._passes(files)
        if len(conditions) < 2:
            self._execute(columns.copy(columns.ordered(select, level), _literal(target)))
            return
        parts = []
        try:
            for number, condition in enumerate(conditions):
                self.progress = f", pass {number + 1} of {len(conditions)}"
                part = self.temporary(f"{target.name}.{number}")
                parts.append(part)
                select = (
                    columns.merged(files, condition)
                    if level == "raw"
                    else columns.from_files(level, files, condition)
                )
                self._execute(columns.copy(columns.ordered(select, level), _literal(part)))
            made = columns.literals([str(part) for part in parts])
            self._execute(columns.copy(columns.everything(made), _literal(target)))
        finally:
            self.progress = ""
            for part in parts:
                part.unlink(missing_ok=True)

    def _passes(self, files: str) -> list[str]:
        """Conditions of which each row fulfils one, in the order of sorted files."""
        ((rows,),) = self._execute(columns.rows_of(files))
        if int(rows or 0) <= PASS_ROWS:
            return []
        found: list[str] = []
        for low, high, size in self._ranges(columns.rows_by(files, "dst_workload")):
            within = columns.between("dst_workload", low, high)
            if size <= PASS_ROWS or low != high:
                found.append(within)
                continue
            by_source = columns.rows_by(files, "src_workload", within)
            found += [
                f"{within} AND {columns.between('src_workload', first, last)}"
                for first, last, _ in self._ranges(by_source)
            ]
        return found

    def _ranges(self, select: str) -> Iterator[tuple[str | None, str | None, int]]:
        """Neighbouring names of together at most `PASS_ROWS` rows, or single ones, and the rows.

        None, which files of others may have, is the last and by itself.
        """
        names: list[str | None] = []
        total = 0
        for name, size in self._execute(select):
            if names and (name is None or total + size > PASS_ROWS):
                yield names[0], names[-1], total
                names, total = [], 0
            names.append(name)
            total += size
        if names:
            yield names[0], names[-1], total

    def _totals(self, files: str) -> _Totals:
        ((packets, size),) = self._execute(columns.totals_of(files))
        return int(packets), int(size)

    def bytes_of(self, paths: Sequence[Path], condition: str = "true") -> dict[str, int]:
        """The bytes in each file, by its name, of the rows that fulfil ``condition``."""
        if not paths:
            return {}
        files = columns.literals([str(path) for path in paths])
        found = self._execute(columns.bytes_by_file(files, condition))
        return {Path(name).name: int(size) for name, size in found}

    def sums_of(self, path: Path) -> ByClass:
        """The sums of a file."""
        found = self._execute(columns.sums_of(columns.literals([str(path)])))
        return {name: Sum(int(packets), int(size)) for name, packets, size in found}

    def is_readable(self, level: Level, path: Path) -> bool:
        """Whether each value of a level's file can be read; true where memory is too small."""
        import duckdb  # noqa: PLC0415 - as in _opened

        try:
            self._opened().execute(columns.read_all(level), [str(path)])
        except duckdb.OutOfMemoryException:
            return True
        except duckdb.Error:
            return False
        return True

    def interrupt(self) -> None:
        """End what another thread does, with a `MergeError` there, before `close`."""
        self._is_ending = True
        if self._db is not None:
            self._db.interrupt()

    def close(self) -> None:
        """Close the database."""
        if self._db is not None:
            self._db.close()
            self._db = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _execute(self, sql: str) -> list[Any]:
        import duckdb  # noqa: PLC0415 - as in _opened

        if self._is_ending:
            raise MergeError("the writer ends")
        try:
            return self._opened().execute(sql).fetchall()
        except duckdb.Error as error:
            raise MergeError(columns.one_line(error)) from error

    def _opened(self) -> "duckdb.DuckDBPyConnection":
        if self._db is None:
            import duckdb  # noqa: PLC0415 - 70 MB that a server may not need for hours

            try:
                self._folder.mkdir(exist_ok=True)
            except OSError as error:
                raise MergeError(f"{self._folder}: {error}") from error
            self._db = duckdb.connect(
                ":memory:",
                config={
                    "threads": 1,
                    "memory_limit": MEMORY,
                    "temp_directory": str(self._folder / "db"),
                    "max_temp_directory_size": f"{self._spill}B",
                },
            )
            self._db.execute("SET timezone = 'UTC'")
            self._db.execute("SET enable_progress_bar = false")
            self._db.execute("SET preserve_insertion_order = true")
        return self._db


def _literal(path: Path) -> str:
    return columns.literal(str(path))
