"""Writes the segments of a history: minutes as they come, merged hours, rollups of hours and days.

In: arrays of settled flows with the names of their ends; the time. Out: durable files and books.
Never: a file under its name before it is whole and synced, or two writers in one directory.

The order of steps is what makes a kill harmless: a segment is renamed, then the books say so; a
merged file is renamed, then what it covers is removed. `Writer` does at its start what a killed
one left: it removes temporary files and adds segments to the books that have not got them yet.
"""

import errno
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from kzn.errors import KznError
from kzn.history import columns
from kzn.history.books import Books, Gap, load, save, sync_directory
from kzn.history.retention import Keep, oldest_hour, to_remove
from kzn.history.segments import (
    DAY,
    HOUR,
    TEMPORARY,
    Level,
    Listing,
    Segment,
    arranged,
    listing,
)
from kzn.model.settled import SETTLED, ByClass, End, Sum

MEMORY = "400MB"
MERGE_DELAY = 150
"""Seconds after the end of an hour for which late minutes are awaited before it is merged."""
MAX_ENDS = 400_000
Rows = npt.NDArray[np.void]
"""Of dtype SETTLED."""


class WriteError(KznError):
    """A segment could not be written and nothing of it is left; ``reason`` is a metric label."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Writer:
    """The one writer of a directory; every call may take seconds."""

    def __init__(
        self, root: Path, server: str, verdicts: Sequence[tuple[str, str]], keep: Keep
    ) -> None:
        """Open the directory; ``verdicts`` are class and reason by the number in the rows."""
        self._root = root
        self._server = server
        self._keep = keep
        self._ends = 0
        self._saved_number = 0
        self._sizes: dict[Segment, int] = {}
        """The files, which no other process changes."""
        self._db = duckdb.connect(
            ":memory:", config={"threads": 1, "memory_limit": MEMORY, "temp_directory": ""}
        )
        self._db.execute("SET timezone = 'UTC'")
        self._db.execute("SET enable_progress_bar = false")
        self._db.execute("SET preserve_insertion_order = true")
        for statement in (
            columns.CREATE_ENDS,
            columns.CREATE_VERDICTS,
            columns.CREATE_INITIATORS,
            columns.CREATE_PROTOCOLS,
        ):
            self._db.execute(statement)
        self._db.executemany(
            "INSERT INTO verdicts VALUES (?, ?, ?)",
            [(number, *names) for number, names in enumerate(verdicts)],
        )
        self.books = self._recovered()

    def close(self) -> None:
        """Close the database, which has nothing that lasts."""
        self._db.close()

    def open_books(self, instance: int, ledger: Mapping[str, Sum]) -> Books:
        """The books of this ledger from now on, durable."""
        self._save(self.books.opened(instance, ledger))
        return self.books

    def add_ends(self, ends: Sequence[End], *, anew: bool) -> None:
        """Names for the next numbers of ends; from 0 on if ``anew``."""
        if anew:
            self._db.execute(columns.CREATE_ENDS)
            self._ends = 0
        if ends:
            numbers = list(range(self._ends, self._ends + len(ends)))
            lists = [list(column) for column in zip(*ends, strict=True)]
            self._db.execute(columns.INSERT_ENDS, [numbers, *lists])
            self._ends += len(ends)

    def write(
        self, number: int, rows: Rows, dropped: Mapping[str, ByClass], until: int = 0
    ) -> ByClass:
        """Write a segment of one hour's rows; the sums by class that the file has.

        A number that is in the books already changes nothing. ``dropped`` replaces that of the
        books; with this segment they have all flows of before ``until``. WriteError: nothing was
        written.
        """
        hour = int(rows["time"][0]) // HOUR * HOUR
        segment = Segment(hour, self._server, number, "m")
        if number <= self.books.number:
            return {}
        if hour < oldest_hour(arranged(self._sizes)):
            raise WriteError(f"the hour of segment {segment.name} is closed", reason="too_late")
        # Parameters of DuckDB are registered, not copied.
        self._db.register("rows", {name: np.ascontiguousarray(rows[name]) for name in _NAMES})
        try:
            sums = self._make(segment, columns.from_rows())
        except (duckdb.Error, OSError) as error:
            raise WriteError(f"{segment.name}: {error}", reason=_reason(error)) from error
        finally:
            self._db.unregister("rows")
        books = self.books.with_segment(number, sums)
        with suppress(OSError):  # the next segment or step of `maintain` saves them
            self._save(replace(books, until=max(until, books.until)), dropped)
        return sums

    def note(self, dropped: Mapping[str, ByClass], gaps: Sequence[Gap], until: int = 0) -> Books:
        """Save drops and further gaps; WriteError."""
        books = self.books
        for gap in gaps:
            books = books.with_gap(gap)
        try:
            self._save(replace(books, until=max(until, books.until)), dropped)
        except OSError as error:
            raise WriteError(f"{self._root}: {error}", reason=_reason(error)) from error
        return self.books

    def maintain(self, now: float) -> bool:
        """Do one step of merging, rolling up and removing; False if nothing was left to do."""
        if self._saved_number < self.books.number:
            try:
                self._save(self.books)  # what a merge takes up must be in the books before
            except OSError as error:
                raise WriteError(f"{self._root}: {error}", reason=_reason(error)) from error
        found = arranged(self._sizes)
        # Removal first: where the disk is full it is what lets the rest go on.
        if removed := to_remove(found, self._keep, now):
            self._remove(removed)
            return True
        failed: Exception | None = None
        for step in self._steps(found, now):
            try:
                step()
            except (duckdb.Error, OSError) as error:
                failed = error  # a file that cannot be read holds up no other hour
                continue
            return True
        if failed is not None:
            raise WriteError(str(failed), reason=_reason(failed)) from failed
        return False

    def _steps(self, found: Listing, now: float) -> Iterator[Callable[[], object]]:
        """What is to be made, each step with all files that it needs in place."""
        hours: defaultdict[int, list[Segment]] = defaultdict(list)
        for one in found.levels["raw"]:
            if one.server == self._server and one.end + MERGE_DELAY <= now:
                hours[one.begin].append(one)
        rolled = {one.begin: one for one in found.levels["hour"] if one.server == self._server}
        for hour, parts in sorted(hours.items()):
            number = max(one.number for one in parts)
            if len(parts) > 1:
                yield self._merge(Segment(hour, self._server, number, "h"), "raw", parts)
            elif hour not in rolled or rolled[hour].number < number:
                yield self._merge(Segment(hour, self._server, number, "r"), "hour", parts)
        yield from self._day_steps(found, now, list(rolled.values()))

    def _day_steps(
        self, found: Listing, now: float, rolled: list[Segment]
    ) -> Iterator[Callable[[], object]]:
        days: defaultdict[int, list[Segment]] = defaultdict(list)
        for one in rolled:
            day = one.begin // DAY * DAY
            if day + DAY + HOUR <= now:
                days[day].append(one)
        made = {one.begin: one for one in found.levels["day"] if one.server == self._server}
        for day, parts in sorted(days.items()):
            number = max(one.number for one in parts)
            if day not in made or made[day].number < number:
                yield self._merge(Segment(day, self._server, number, "d"), "day", parts)

    def _merge(self, target: Segment, level: Level, parts: list[Segment]) -> Callable[[], object]:
        def step() -> None:
            files = columns.literals([str(one.path(self._root)) for one in parts])
            self._make(target, columns.from_files(level, files))
            self._remove(arranged(self._sizes).covered)

        return step

    def _make(self, segment: Segment, select: str) -> ByClass:
        """Make a file durable under its name; the sums by class as read back from it."""
        path = segment.path(self._root)
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            sync_directory(path.parent.parent)
            sync_directory(self._root)
        temporary = path.with_name(path.name + TEMPORARY)
        try:
            self._db.execute(columns.copy(select, columns.literal(str(temporary))))
            sums = self._sums([temporary])
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            size = temporary.stat().st_size
            temporary.replace(path)
            self._sizes[segment] = size
            sync_directory(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        return sums

    def _sums(self, paths: Iterable[Path]) -> ByClass:
        files = columns.literals([str(path) for path in paths])
        found = self._db.execute(columns.sums_of(files)).fetchall()
        return {name: Sum(int(packets), int(size)) for name, packets, size in found}

    def _recovered(self) -> Books:
        """The books on disk, with the segments whose writer did not come to note them."""
        found = listing(self._root)
        for path in found.temporary:
            path.unlink(missing_ok=True)
        self._sizes.update(found.sizes)
        self._remove(found.covered)
        stored = load(self._root)
        numbers = [one.number for group in found.levels.values() for one in group]
        books = stored or Books(number=max(numbers, default=0))
        for one in sorted(found.levels["raw"], key=lambda one: one.number):
            if one.kind == "m" and one.number > books.number:
                books = books.with_segment(one.number, self._sums([one.path(self._root)]))
        return books

    def _save(self, books: Books, dropped: Mapping[str, ByClass] | None = None) -> None:
        if dropped is not None:
            books = replace(books, dropped=dropped)
        self.books = books
        save(self._root, books)
        self._saved_number = books.number

    def _remove(self, segments: Iterable[Segment]) -> None:
        for one in segments:
            path = one.path(self._root)
            path.unlink(missing_ok=True)
            self._sizes.pop(one, None)
            with suppress(OSError):  # not empty
                path.parent.rmdir()


_NAMES = [name for name in SETTLED.names or () if name != "padding"]


def _reason(error: Any) -> str:
    text = str(error)
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text:
        return "disk_full"
    if "Out of Memory" in text:
        return "memory"
    return "io"
