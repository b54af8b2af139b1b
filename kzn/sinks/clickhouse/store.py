"""Answers queries from the tables in ClickHouse, those of all servers and clusters in them.

In: a query. Out: an `Answer`, as kzn.history.reader gives it. UsageError for a query that needs too
much, KznError for an engine that is away. Never: rows and rest that differ from the total, or a
statement without an end at the engine when its client is gone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kzn.errors import KznError, UsageError
from kzn.history.columns import KEPT_OF_NODES
from kzn.history.query import UNITS, Answer, Measure, Row, Source, TrafficQuery
from kzn.history.retention import Keep
from kzn.history.segments import DAY, HOUR, LEVELS, OF_NODES, Level
from kzn.history.sources import choose_source, first_minute
from kzn.sinks.clickhouse.client import Client, EngineError, Place, keep_of
from kzn.sinks.clickhouse.schema import MODERN, TABLES
from kzn.sinks.clickhouse.sql import compile_query, compile_series
from kzn.sinks.target import Target

ASK_SECONDS = 25.0
"""Less than the HTTP server's limit, so that its client is told why."""
_TOO_MUCH = frozenset((158, 159, 160, 241, 307, 396))
"""ClickHouse's codes for limits of rows, time and memory."""
_FIXED = frozenset((164, 452))
"""Its codes for a setting that a user may not change."""
LIMITS = {"max_execution_time": f"{ASK_SECONDS - 2:.0f}", "max_memory_usage": "4000000000"}
"""Of the engine for each statement, in seconds and bytes: it says so before the client gives up."""
_NODE_LEVELS: tuple[Level, ...] = ("node_hour", "node_day")
_NAMES = ", ".join(f"'{TABLES[level]}'" for level in _NODE_LEVELS)
_HAS_NODES = (
    f"SELECT count() FROM system.tables WHERE database = currentDatabase() AND name IN ({_NAMES})"
    " FORMAT JSONCompact"
)


class ClickHouseStore:
    """Asks at ``place``."""

    def __init__(self, place: Place, keep: Keep) -> None:
        self.keep = keep
        self._client = Client(place, seconds=ASK_SECONDS)
        self._is_modern: bool | None = None
        self._limits = LIMITS
        self._has_nodes = False
        self._whole: dict[Level, int] = {}
        """The first span of a level of which the rollup of nodes is known to have all."""

    async def ask(self, query: TrafficQuery) -> Answer:
        """The answer; its span may be wider than that of the query."""
        try:
            return await self._ask(query)
        except EngineError as error:
            if error.code in _TOO_MUCH:
                raise UsageError(
                    "the answer has too many groups",
                    hint="ask for a shorter span, fewer dimensions, or add where",
                ) from error
            raise
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise KznError(f"history: the engine's answer cannot be read: {error}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _run(self, sql: str) -> Any:
        """A statement's answer, within `LIMITS` unless the user's profile fixes its settings."""
        try:
            return json.loads(await self._client.run(sql, settings=self._limits))
        except EngineError as error:
            if error.code not in _FIXED or not self._limits:
                raise
        self._limits = {}
        return json.loads(await self._client.run(sql))

    async def _ask(self, query: TrafficQuery) -> Answer:
        begins, last = await self._spans()
        firsts = {level: begin // HOUR * HOUR for level, begin in begins.items()}
        chosen = choose_source(firsts, query, reads_finer=False)
        source, first = chosen.source, chosen.first
        if first is not None:
            hours = firsts.get(chosen.levels["hours"], 0)
            first = first_minute(first, hours, begins.get("raw", 0))
        query = query.aligned(UNITS[source])
        step = query.step(UNITS[source])
        if self._is_modern is None:
            self._is_modern = await self._client.version() >= MODERN
        table = TABLES[chosen.levels[source]]
        if chosen.side:
            table += f" PREWHERE {KEPT_OF_NODES[chosen.side]}"
        is_modern = self._is_modern
        found = await self._run(compile_query(query, table, step, is_modern=is_modern))
        about = _about(query, step, source, first, last + 60 if last else None)
        groups = _with_groups(about, found)
        if not (query.by and query.points):
            return groups
        shown = await self._run(compile_series(query, table, step, is_modern=is_modern))
        return _with_series(groups, shown)

    async def _spans(self) -> tuple[dict[Level, int], int]:
        """The first time of each level that has rows, and the last of the minutes, 0 without."""
        if not self._has_nodes:  # tables of an older version: they may still come
            found = await self._run(_HAS_NODES)
            self._has_nodes = int(found["data"][0][0]) == len(_NODE_LEVELS)
        levels = (*LEVELS, *(_NODE_LEVELS if self._has_nodes else ()))
        spans = ", ".join(f"(SELECT toUInt32(min(time)) FROM {TABLES[one]})" for one in levels)
        last = f"(SELECT toUInt32(max(time)) FROM {TABLES['raw']})"
        try:
            found = await self._run(f"SELECT {spans}, {last} FORMAT JSONCompact")
        except EngineError:
            self._has_nodes = False
            raise
        *begins, until = map(int, found["data"][0])
        firsts = {one: begin for one, begin in zip(levels, begins, strict=True) if begin}
        for of_pairs, unit in ((LEVELS[1], HOUR), (LEVELS[2], DAY)):
            level = OF_NODES[of_pairs]
            if level in firsts and not await self._is_whole(of_pairs, firsts[level]):
                firsts[level] += unit
        return firsts, until

    async def _is_whole(self, of_pairs: Level, begin: int) -> bool:
        """Whether the rollup of nodes has all of its first span.

        Views that are younger than the others lack what was before them. They are looked at again
        as long as they do: rows that were on their way, or are filled in by hand, make them whole.
        """
        if self._whole.get(of_pairs) != begin:
            sums = ", ".join(
                f"(SELECT sum(bytes) FROM {table} WHERE time = toDateTime({begin}))"
                for table in (
                    TABLES[of_pairs],
                    f"{TABLES[OF_NODES[of_pairs]]} PREWHERE {KEPT_OF_NODES['src']}",
                )
            )
            found = await self._run(f"SELECT {sums} FORMAT JSONCompact")
            pairs, nodes = found["data"][0]
            if int(pairs) != int(nodes):
                return False
            self._whole[of_pairs] = begin
        return True


def _about(
    query: TrafficQuery, step: int, source: Source, first: int | None, until: int | None
) -> Answer:
    return Answer(
        query=query,
        step=step,
        rows=(),
        total=Measure(0, 0),
        of=0,
        source=source,
        complete_from=first,
        complete_to=until,
    )


def _with_groups(about: Answer, found: Mapping[str, Any]) -> Answer:
    query, step, width = about.query, about.step, len(about.query.by)
    data: list[list[Any]] = [row for row in found["data"] if int(row[width + 3])]
    if width:
        total = found["totals"][width:]
        of = int(found.get("rows_before_limit_at_least", len(data)))
    else:
        total, of = (data[0] if data else [0, 0, 0, 0, []]), len(data)
    rows = (
        Row(tuple(row[:width]), _measure(query, step, row[width:])) for row in data[: query.limit]
    )
    measure = _measure(query, step, total)
    return replace(about, rows=tuple(rows), total=measure, of=of if data else 0)


def _with_series(groups: Answer, found: Mapping[str, Any]) -> Answer:
    """With rows and total of the second statement, which saw rows that came meanwhile."""
    query, step, width = groups.query, groups.step, len(groups.query.by)
    rows = [
        Row(tuple(row[1 : width + 1]), _measure(query, step, row[width + 1 :]))
        for row in found["data"]
        if int(row[0]) and int(row[width + 4])
    ]
    rows.sort(key=lambda row: (-row.measure.bytes, *map(str, row.values)))
    total = _measure(query, step, found["totals"][width + 1 :])
    return replace(groups, rows=tuple(rows), total=total)


def _measure(query: TrafficQuery, step: int, sums: Sequence[Any]) -> Measure:
    series = None
    if query.points:
        points, found = -(-(query.end - query.begin) // step), sums[4] if len(sums) > 4 else []
        numbers, sizes = found if found and isinstance(found[0], list) else (range(points), found)
        by_point = {int(number): int(size) for number, size in zip(numbers, sizes, strict=False)}
        series = tuple(by_point.get(point, 0) for point in range(points))
    size, packets, before = map(int, sums[:3])
    return Measure(size, packets, before if query.compare else None, series)


def open_store(target: Target) -> ClickHouseStore:
    """The store of a URL, as that of the sink."""
    return ClickHouseStore(Place.of(target), keep_of(target))
