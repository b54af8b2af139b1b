"""Answers queries from the files of a history, also while a server writes them.

In: a directory and a query. Out: an `Answer`. UsageError for a query that the data cannot answer,
KznError if it needs too much memory. Never: a file outside the directory, or a change to one.

Files are chosen by their names: minutes for short spans and for pods, nodes and addresses; else
rollups of hours or days, and finer files where a rollup is not made yet. A file that a merge
removes meanwhile is looked for under its new name.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from kzn.errors import KznError, UsageError
from kzn.history.books import Books, load
from kzn.history.query import UNITS, Answer, Measure, MissingSpan, Row, Source, TrafficQuery
from kzn.history.segments import DAY, HOUR, Level, Listing, Segment, listing
from kzn.history.sql import Statement, Statements, compile_query

MEMORY = "256MB"
MINUTES_UP_TO = 6 * HOUR
"""Spans for which minutes are read although rollups would do."""
HOURS_UP_TO = 45 * DAY
_TRIES = 5
_LEVELS: dict[Source, Level] = {"minutes": "raw", "hours": "hour", "days": "day"}


class Reader:
    """A connection that can read the files of one directory and nothing else."""

    def __init__(self, root: Path) -> None:
        """KznError if there is no such directory."""
        if not root.is_dir():
            raise KznError(f"history {root}: there is no such directory")
        self._root = root.resolve()
        self._db = duckdb.connect(
            ":memory:", config={"threads": 1, "memory_limit": MEMORY, "temp_directory": ""}
        )
        self._db.execute("SET timezone = 'UTC'")
        self._db.execute("SET enable_progress_bar = false")
        self._db.execute("SET allowed_directories = [$1 || '/']", [str(self._root)])
        self._db.execute("SET enable_external_access = false")
        self._db.execute("SET lock_configuration = true")

    def ask(self, query: TrafficQuery) -> Answer:
        """The answer; its span may be wider than that of the query."""
        for attempt in range(_TRIES):
            try:
                return self._ask(query)
            except duckdb.IOException as error:  # a merge has removed a file since it was listed
                if attempt == _TRIES - 1:
                    raise KznError(f"history {self._root}: {error}") from error
            except duckdb.OutOfMemoryException as error:
                raise UsageError(
                    "the answer has too many groups",
                    hint="ask for a shorter span, fewer dimensions, or add where",
                ) from error
        raise AssertionError

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _ask(self, query: TrafficQuery) -> Answer:
        found, books = listing(self._root), load(self._root) or Books()
        source, first = choose(found, query)
        query = query.aligned(UNITS[source])
        files = [str(one.path(self._root)) for one in files_of(found, query, source)]
        step = query.step(UNITS[source])
        about = Answer(
            query=query,
            step=step,
            rows=(),
            total=_measure(query, step, (0, 0, 0), {}),
            of=0,
            source=source,
            complete_from=first,
            complete_to=books.until or None,
            gaps=tuple(
                MissingSpan(gap.begin, gap.end, gap.reason)
                for gap in books.gaps
                if gap.begin < query.end and gap.end > query.first
            ),
        )
        if not files:
            return about
        relation = Statement("read_parquet(?, union_by_name = true)", (files,))
        return self._run(about, compile_query(query, relation, step))

    def _run(self, about: Answer, statements: Statements) -> Answer:
        query, step, width = about.query, about.step, len(about.query.by)
        self._all(statements.groups)
        ((of, *total),) = self._all(statements.total)
        series: defaultdict[tuple[Any, ...], dict[int, int]] = defaultdict(dict)
        total_series: dict[int, int] = {}
        if statements.series is not None and statements.total_series is not None:
            for *values, bucket, size in self._all(statements.series):
                series[tuple(values)][int(bucket)] = int(size)
            total_series = {int(b): int(size) for b, size in self._all(statements.total_series)}
        rows = [
            Row(
                tuple(row[:width]),
                _measure(query, step, row[width:], series[tuple(row[:width])]),
            )
            for row in self._all(statements.rows)
        ]
        sums = [number or 0 for number in total]
        measure = _measure(query, step, sums, total_series)
        return replace(about, rows=tuple(rows), total=measure, of=int(of))

    def _all(self, statement: Statement) -> list[Any]:
        return self._db.execute(statement.sql, list(statement.parameters)).fetchall()


def choose(found: Listing, query: TrafficQuery) -> tuple[Source, int | None]:
    """The source for a query, and from when on it has data; None without any."""
    firsts = {
        source: found.levels[level][0].begin
        for source, level in _LEVELS.items()
        if found.levels[level]
    }
    if query.needs_detail or not firsts:
        return "minutes", firsts.get("minutes")
    length = query.end - query.first
    wanted: list[Source] = ["minutes", "hours", "days"]
    if length > MINUTES_UP_TO:
        wanted = ["hours", "days"] if length <= HOURS_UP_TO else ["days"]
    best: Source | None = None
    begin = 0
    for source in wanted:
        # Unfinished spans are read from finer files, so a source has all that finer ones have.
        finer = [first for other, first in firsts.items() if UNITS[other] <= UNITS[source]]
        if not finer:
            continue
        goes_further = min(finer) < begin // UNITS[source] * UNITS[source]
        if best is None or (begin > query.first and goes_further):
            best, begin = source, min(finer)
    return (best, begin) if best is not None else ("minutes", None)


def files_of(found: Listing, query: TrafficQuery, source: Source) -> list[Segment]:
    """The files that have the span of an aligned query, each flow in one of them."""

    def within(segments: Iterable[Segment]) -> list[Segment]:
        return [one for one in segments if one.begin < query.end and one.end > query.first]

    raw = within(found.levels["raw"])
    if source == "minutes":
        return raw
    hours = _coarser(within(found.levels["hour"]), raw, HOUR)
    if source == "hours":
        return hours
    return _coarser(within(found.levels["day"]), hours, DAY)


def _coarser(rollups: list[Segment], finer: list[Segment], span: int) -> list[Segment]:
    """``rollups`` that have everything that ``finer`` have, and the finer files of other spans."""
    newest: dict[tuple[int, str], int] = {}
    for one in finer:
        key = (one.begin // span * span, one.server)
        newest[key] = max(newest.get(key, 0), one.number)
    used = [one for one in rollups if newest.get((one.begin, one.server), 0) <= one.number]
    covered = {(one.begin, one.server) for one in used}
    return used + [one for one in finer if (one.begin // span * span, one.server) not in covered]


def _measure(
    query: TrafficQuery, step: int, sums: Iterable[Any], series: Mapping[int, int]
) -> Measure:
    size, packets, before = map(int, sums)
    points = -(-(query.end - query.begin) // step) if query.points else 0
    return Measure(
        size,
        packets,
        before if query.compare else None,
        tuple(series.get(point, 0) for point in range(points)) if query.points else None,
    )
