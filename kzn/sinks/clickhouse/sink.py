"""Segments as inserts into ClickHouse: the file is the body, its name the token of a repeat.

In: segments. Out: their rows, each once, in the table of minutes and by views in those of hours
and days. Never: rows that a repeat adds again, within the window of `schema.WINDOW` inserts.

An engine before `schema.MODERN` has no Parquet and no tokens: it gets CSV with the segment's name
in a column, and is asked first how many rows of this name it has: it takes the rows that came
before a connection broke for the whole, and gets those behind them.
"""

import asyncio
import os
import sys
from tempfile import TemporaryFile

from kzn.history.retention import Keep
from kzn.sinks.clickhouse.client import FORM, Client, EngineError, Place, keep_of
from kzn.sinks.clickhouse.schema import (
    MODERN,
    ORDERED,
    SEGMENT,
    TABLES,
    columns,
    create,
)
from kzn.sinks.clickhouse.sql import literal
from kzn.sinks.clickhouse.store import open_store
from kzn.sinks.declaration import FinishedSegment, LaterError, RefusedError, SinkPlugin
from kzn.sinks.target import Target

PUT_SECONDS = 110.0
_MALFORMED = frozenset((6, 26, 27, 32, 33, 117, 636))
"""ClickHouse's codes for a body that it cannot read: such a segment is refused."""
_NO_TABLE, _NO_DATABASE = 60, 81
_TOKENS = {
    "async_insert": "0",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
    "input_format_parquet_allow_missing_columns": "1",
    "insert_deduplicate": "1",
    "max_insert_threads": "1",
    "max_threads": "1",
}
"""With one thread and in order, a repeat is cut into the same blocks."""
_IN_ORDER = {"input_format_parquet_preserve_order": "1"}
_ONE_BLOCK = {"max_insert_block_size": "100000000"}


class ClickHouseSink:
    """Inserts at ``place``; with ``keep`` it creates the tables first."""

    def __init__(self, place: Place, keep: Keep | None) -> None:
        self._client = Client(place, seconds=PUT_SECONDS)
        self._keep = keep
        self._version: tuple[int, int] | None = None

    async def put(self, segment: FinishedSegment) -> None:
        """See `Sink`."""
        if self._version is None:
            version = await self._client.version()
            if self._keep is not None:
                for statement in create(self._keep, version):
                    await self._client.run(statement)
            self._version = version
        try:
            if self._version >= MODERN:
                await self._put_parquet(segment)
            else:
                await self._put_csv(segment)
        except EngineError as error:
            if error.code in _MALFORMED:
                raise RefusedError(error.message) from error
            if error.code in (_NO_TABLE, _NO_DATABASE):
                self._version = None  # with create=yes it is made again
                raise LaterError(
                    f"{error.message}; create=yes in the URL of the sink creates tables"
                ) from error
            raise

    async def close(self) -> None:
        """See `Sink`."""
        await self._client.close()

    async def _put_parquet(self, segment: FinishedSegment) -> None:
        settings = _TOKENS | {"insert_deduplication_token": segment.name}
        if self._version is not None and self._version >= ORDERED:
            settings |= _IN_ORDER
        with await asyncio.to_thread(segment.path.open, "rb") as body:
            await self._client.run(_insert(columns("raw"), "Parquet"), body, settings)

    async def _put_csv(self, segment: FinishedSegment) -> None:
        there = await self._client.run(
            f"SELECT count() FROM {TABLES['raw']} WHERE {SEGMENT} = {literal(segment.name)}"
            f" AND time >= toDateTime({segment.begin}) AND time < toDateTime({segment.end})"
        )
        # A file without a name: old engines take what a broken stream has sent for the whole.
        with TemporaryFile(dir=segment.path.parent) as body:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "kzn.history.processes.csv_child"),
                *(str(segment.path), segment.name, there.strip(), ",".join(columns("raw"))),
                stdout=body,
            )
            try:
                await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
            if process.returncode:
                raise LaterError(f"{segment.name} cannot be written as CSV")
            if os.fstat(body.fileno()).st_size:  # the engine lacks rows
                insert = _insert((SEGMENT, *columns("raw")), "CSV")
                await self._client.run(insert, body, _ONE_BLOCK)


def open_sink(target: Target) -> ClickHouseSink:
    """The sink of a URL of the form `FORM`."""
    place = Place.of(target)
    keep = keep_of(target)
    return ClickHouseSink(place, keep if target.flag("create") else None)


def _insert(names: tuple[str, ...], form: str) -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    return f"INSERT INTO {TABLES['raw']} ({listed}) FORMAT {form}"


SINK = SinkPlugin(name="clickhouse", open=open_sink, form=FORM, open_store=open_store)
