"""Answers queries from the files of a history, also while a server writes them.

In: a directory and a query. Out: an `Answer`. UsageError for a query that the data cannot answer,
KznError if it needs too much memory. Never: a file outside the directory, or a change to one.

Files are chosen by their names: minutes for short spans and for pods, nodes and addresses; else
rollups of hours or days, and finer files where a rollup is not made yet. A file that a merge
removes meanwhile is looked for under its new name.
"""

import logging
import math
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from kzn.errors import KznError, UsageError
from kzn.history import columns
from kzn.history.books import Books, load
from kzn.history.node_holes import node_holes
from kzn.history.query import UNITS, Answer, Measure, MissingSpan, Row, TrafficQuery
from kzn.history.segments import DAY, HOUR, Listing, Segment, listing
from kzn.history.sources import Chosen, choose_source
from kzn.history.sql import Statement, Statements, compile_query

_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)

MEMORY = "256MB"
_TRIES = 5
_HELD = "/proc/self/fd/"
"""Where files that are open have a name until they are closed."""


class TooSlowError(KznError):
    """There was no answer in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"history: no answer within {seconds:.3g} s",
            hint="ask for a shorter span or fewer dimensions",
        )


class Reader:
    """A connection that can read the files of one directory and nothing else.

    With ``output``, a pipe that may be written, it holds the files that it has chosen open, so that
    no merge takes them away while they are written.
    """

    def __init__(self, root: Path, *, output: str = "") -> None:
        """KznError if there is no such directory."""
        self._damaged: set[str] = set()
        self._seconds, self._deadline = math.inf, math.inf
        self._is_holding, self._held = bool(output), list[int]()
        if not root.is_dir():
            raise KznError(f"history {root}: there is no such directory")
        self._root = root.resolve()
        self._db = duckdb.connect(
            ":memory:", config={"threads": 1, "memory_limit": MEMORY, "temp_directory": ""}
        )
        self._db.execute("SET timezone = 'UTC'")
        self._db.execute("SET enable_progress_bar = false")
        folders = [f"{self._root}/", *([_HELD] if output else [])]
        self._db.execute("SET allowed_directories = $1", [folders])
        if output:
            self._db.execute("SET allowed_paths = [$1]", [output])
        self._db.execute("SET enable_external_access = false")
        self._db.execute("SET lock_configuration = true")

    def ask(self, query: TrafficQuery, *, seconds: float = math.inf) -> Answer:
        """The answer; its span may be wider than that of the query.

        `TooSlowError` if it takes longer than ``seconds``; the next query can be asked then.
        """
        if seconds == math.inf:
            return self.with_files(query, self._answer)
        self._seconds, self._deadline = seconds, time.monotonic() + seconds
        timer = threading.Timer(seconds, self._db.interrupt)
        timer.daemon = True
        timer.start()
        try:
            return self.with_files(query, self._answer)
        finally:
            timer.cancel()
            self._deadline = math.inf

    def execute(self, statement: Statement) -> list[Any]:
        """The rows of a statement."""
        if time.monotonic() >= self._deadline:  # an interrupt between two statements ends neither
            raise TooSlowError(self._seconds)
        return self._db.execute(statement.sql, list(statement.parameters)).fetchall()

    def with_files(
        self,
        query: TrafficQuery,
        work: Callable[[Answer, Statement | None], _T],
        *,
        may_be_nodes: bool = True,
    ) -> _T:
        """What ``work`` makes of an answer without numbers and a relation, None without files.

        With ``may_be_nodes`` the relation may lack columns that the query does not name.
        It is called again, up to `_TRIES` times, if files were merged meanwhile or are damaged.
        """
        for attempt in range(_TRIES):
            try:
                return work(*self._chosen(query, may_be_nodes=may_be_nodes))
            except duckdb.OutOfMemoryException as error:
                raise _too_much() from error
            except duckdb.InterruptException as error:
                raise TooSlowError(self._seconds) from error
            except (duckdb.Error, FileNotFoundError) as error:
                # A merge has removed a file since it was listed, or a file is damaged.
                if attempt == _TRIES - 1:
                    raise KznError(f"history {self._root}: {columns.one_line(error)}") from error
                self._look_for_damage(query, may_be_nodes=may_be_nodes)
        raise AssertionError

    def execute_once(self, statement: Statement) -> None:
        """Execute a statement over files that are held; UsageError, KznError."""
        try:
            self.execute(statement)
        except duckdb.OutOfMemoryException as error:
            raise _too_much() from error
        except duckdb.Error as error:
            raise KznError(f"history {self._root}: {columns.one_line(error)}") from error

    def _look_for_damage(self, query: TrafficQuery, *, may_be_nodes: bool) -> None:
        """Note the files of a query that cannot be read, each logged once; they are left out."""
        found = listing(self._root, has_sizes=False)
        chosen = choose(found, query, may_be_nodes=may_be_nodes)
        for one in files_of(found, query.aligned(UNITS[chosen.source]), chosen):
            path = one.path(self._root)
            if one.name in self._damaged or not path.exists():
                continue
            try:
                self.execute(Statement(columns.read_all(one.level), (str(path),)))
            except duckdb.OutOfMemoryException:
                continue
            except duckdb.InterruptException as error:
                raise TooSlowError(self._seconds) from error
            except duckdb.Error as error:
                if path.exists():
                    self._damaged.add(one.name)
                    why = columns.one_line(error)
                    _LOG.warning("history: %s cannot be read and is left out: %s", path, why)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()
        self._release()

    def _release(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)
        self._held.clear()

    def _name(self, segment: Segment) -> str:
        """The path of a file, or one that stays when a merge removes it; FileNotFoundError."""
        path = segment.path(self._root)
        if self._is_holding:
            try:
                self._held.append(os.open(path, os.O_RDONLY))
            except FileNotFoundError:
                raise
            except OSError:  # too many files are open
                return str(path)
            return f"{_HELD}{self._held[-1]}"
        return str(path)

    def _answer(self, about: Answer, files: Statement | None) -> Answer:
        if files is None:
            return about
        return self._run(about, compile_query(about.query, files, about.step))

    def _chosen(
        self, query: TrafficQuery, *, may_be_nodes: bool
    ) -> tuple[Answer, Statement | None]:
        found, books = listing(self._root, has_sizes=False), load(self._root) or Books()
        chosen = choose(found, query, may_be_nodes=may_be_nodes)
        source, first = chosen.source, chosen.first
        query = query.aligned(UNITS[source])
        used = files_of(found, query, chosen)
        self._release()
        readable = [one for one in used if one.name not in self._damaged]
        files = self._relation(readable, chosen)
        damaged = [one for one in used if one.name in self._damaged]
        step = query.step(UNITS[source])
        about = Answer(
            query=query,
            step=step,
            rows=(),
            total=_measure(query, step, (0, 0, 0), {}),
            of=0,
            source=source,
            complete_from=None if first is None else max(first, books.since),
            complete_to=books.until or None,
            gaps=_gaps(books, query, damaged, chosen),
        )
        return about, files

    def _relation(self, used: list[Segment], chosen: Chosen) -> Statement | None:
        if not used:
            return None
        if not chosen.side:
            return Statement(columns.relation("?"), ([self._name(one) for one in used],))
        raw = [self._name(one) for one in used if one.level == "raw"]
        rollups = [self._name(one) for one in used if one.level != "raw"]
        sql = columns.of_nodes(chosen.side, has_rollups=bool(rollups), has_raw=bool(raw))
        return Statement(sql, tuple(filter(None, (rollups, raw))))

    def _run(self, about: Answer, statements: Statements) -> Answer:
        query, step, width = about.query, about.step, len(about.query.by)
        self.execute(statements.groups)
        ((of, *total),) = self.execute(statements.total)
        series: defaultdict[tuple[Any, ...], dict[int, int]] = defaultdict(dict)
        total_series: dict[int, int] = {}
        if statements.series is not None and statements.total_series is not None:
            for *values, bucket, size in self.execute(statements.series):
                series[tuple(values)][int(bucket)] = int(size)
            total_series = {int(b): int(size) for b, size in self.execute(statements.total_series)}
        rows = [
            Row(
                tuple(row[:width]),
                _measure(query, step, row[width:], series[tuple(row[:width])]),
            )
            for row in self.execute(statements.rows)
        ]
        sums = [number or 0 for number in total]
        measure = _measure(query, step, sums, total_series)
        return replace(about, rows=tuple(rows), total=measure, of=int(of))


def _gaps(
    books: Books, query: TrafficQuery, damaged: Sequence[Segment], chosen: Chosen
) -> tuple[MissingSpan, ...]:
    """The gaps of an answer, each once: a damaged file may be in the books as well."""
    spans = [
        MissingSpan(gap.begin, gap.end, gap.reason)
        for gap in books.gaps
        if gap.begin < query.end and gap.end > query.first
    ]
    spans += [MissingSpan(one.begin, one.end, "damaged") for one in damaged]
    spans += [MissingSpan(*hole, "not_by_node") for hole in chosen.holes]
    return tuple(dict.fromkeys(spans))


def _too_much() -> UsageError:
    return UsageError(
        "the answer has too many groups",
        hint="ask for a shorter span, fewer dimensions, or add where",
    )


def choose(found: Listing, query: TrafficQuery, *, may_be_nodes: bool = True) -> Chosen:
    """The source for a query, and from when on it has data.

    Rollups of nodes that lack some of its span answer only what those of pairs cannot.
    """
    firsts = {level: parts[0].begin for level, parts in found.levels.items() if parts}
    chosen = choose_source(firsts, query, may_be_nodes=may_be_nodes)
    if not chosen.side:
        return chosen
    holes = node_holes(found, query.aligned(UNITS[chosen.source]), chosen.source)
    if holes and not query.needs_detail:
        return choose_source(firsts, query, may_be_nodes=False)
    return replace(chosen, holes=holes)


def files_of(found: Listing, query: TrafficQuery, chosen: Chosen) -> list[Segment]:
    """The files that have the span of an aligned query, each flow in one of them."""

    def within(segments: Iterable[Segment]) -> list[Segment]:
        return [one for one in segments if one.begin < query.end and one.end > query.first]

    raw = within(found.levels["raw"])
    if chosen.source == "minutes":
        return raw
    hours = _coarser(within(found.levels[chosen.levels["hours"]]), raw, HOUR)
    if chosen.source == "hours":
        return hours
    return _coarser(within(found.levels[chosen.levels["days"]]), hours, DAY)


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
