"""Makes the recorder of a server from its options, and the store that answers queries.

In: the options of the history. Out: a recorder on a locked directory, or one that keeps an hour in
memory. UsageError without DuckDB, KznError for a directory that cannot be used.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from kzn.daemon.http.messages import BusyError
from kzn.errors import KznError, UsageError
from kzn.history.directory import Journal, open_directory
from kzn.history.export_query import Export
from kzn.history.processes.export_process import ExportProcess
from kzn.history.processes.reader_process import LateError, ReaderProcess
from kzn.history.processes.writer_process import (
    SegmentWriter,
    WriterProcess,
    check_installed,
)
from kzn.history.query import Answer, TrafficQuery
from kzn.history.segments import HOUR, LEVELS
from kzn.model.settled import ClusterFacts
from kzn.server.config import HistoryOptions
from kzn.server.recording.fold import Fold
from kzn.server.recording.recorder import Recorder, RecorderClock
from kzn.server.recording.ring import SECONDS, Ring
from kzn.server.recording.spooling import SpoolingWriter
from kzn.server.settled_totals import VERDICT_NAMES
from kzn.sinks.deliver import Deliveries, Delivery
from kzn.sinks.registry import open_sinks, open_store
from kzn.sinks.spool import open_spools
from kzn.sinks.target import Target

MAX_WAITING_QUERIES = 16
MAX_EXPORTS = 1
"""Processes of some 100 to 400 MB each, for as long as clients read.

Beside the server, the writer and the reader, the limit of the manifests has room for one.
"""
ENGINE_QUERIES = 4
RING_PERIOD = 10
"""Seconds; the interval of agents."""


class ExportStream:
    """The rows of an export whose process has begun; closing it ends the process."""

    def __init__(self, process: ExportProcess, ended: Callable[[], None]) -> None:
        self.about = process.about
        self._process = process
        self._ended = ended

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces of the file."""
        return self._process.pieces()

    async def aclose(self) -> None:
        """End the process."""
        try:
            await self._process.end()
        finally:
            self._ended()


@dataclass(frozen=True, slots=True)
class MemoryStore:
    """Answers from a `Ring`."""

    ring: Ring

    @property
    def kept(self) -> dict[str, int]:
        """Seconds for which each level is kept."""
        return {"raw": SECONDS}

    def wake(self) -> None:
        """Nothing is to be done."""

    async def close(self) -> None:
        """Nothing is to be done."""

    async def ask(self, query: TrafficQuery) -> Answer:
        """The answer; UsageError for pods, nodes and addresses."""
        if query.needs_detail:
            raise UsageError(
                "the hour in memory has no pods, nodes and addresses",
                hint="start the server with --history DIR",
            )
        return await asyncio.to_thread(self.ring.ask, query)

    async def export(self, export: Export) -> ExportStream:
        """UsageError: there are no files."""
        del export
        raise UsageError(
            "there is no history to export", hint="start the server with --history DIR"
        )


class _Queue:
    """Bounds the queries that wait or are answered."""

    def __init__(self) -> None:
        self._waiting = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """BusyError if too many wait, and for errors that are not the query's."""
        if self._waiting >= MAX_WAITING_QUERIES:
            raise BusyError("too many queries at once")
        self._waiting += 1
        try:
            yield
        except UsageError:
            raise
        except KznError as error:
            reason = "answer_timeout" if isinstance(error, LateError) else "busy"
            raise BusyError(error.message, hint=error.hint, reason=reason) from error
        finally:
            self._waiting -= 1


class HistoryStore:
    """Answers from the files of a directory by a process; one query at a time, few wait."""

    def __init__(self, options: HistoryOptions) -> None:
        self._options = options
        self._reader = ReaderProcess(options.directory)
        self._thread = ThreadPoolExecutor(1, "history-read")
        self._queue = _Queue()
        self._exports = 0
        self._is_closed = False

    @property
    def kept(self) -> dict[str, int]:
        """Seconds for which each level is kept."""
        return {level: self._options.keep.of(level) for level in LEVELS}

    def wake(self) -> None:
        """Start the process in a thread, unless it runs: queries are expected soon."""
        if not self._reader.is_running and not self._is_closed:
            self._thread.submit(self._start)

    def _start(self) -> None:
        with suppress(KznError, OSError):  # the query that follows says why
            self._reader.start()

    async def ask(self, query: TrafficQuery) -> Answer:
        """The answer; BusyError if too many wait."""
        with self._queue.place():
            loop, deadline = asyncio.get_running_loop(), self._reader.deadline()
            return await loop.run_in_executor(self._thread, self._reader.ask, query, deadline)

    async def export(self, export: Export) -> ExportStream:
        """The pieces of a file; UsageError, or BusyError if too many are exported."""
        if self._exports >= MAX_EXPORTS:
            raise BusyError("another export is under way", hint="try again when it has ended")
        self._exports += 1
        process = ExportProcess(self._options.directory, export)
        try:
            await process.begin()
        except UsageError:
            self._exports -= 1
            raise
        except KznError as error:
            self._exports -= 1
            raise BusyError(error.message, hint=error.hint) from error
        except BaseException:
            self._exports -= 1
            raise
        return ExportStream(process, self._export_ended)

    def _export_ended(self) -> None:
        self._exports -= 1

    async def close(self) -> None:
        """End the process and the query that it answers."""
        self._is_closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._reader.stop)


class EngineStore:
    """Answers from the engine that sinks fill; few queries at a time, few wait.

    Exports are of ``files``, those of this server.
    """

    def __init__(self, target: Target, files: HistoryStore | None = None) -> None:
        self._store = open_store(target)
        self._files = files
        self._turns = asyncio.Semaphore(ENGINE_QUERIES)
        self._queue = _Queue()

    @property
    def kept(self) -> dict[str, int]:
        """Seconds for which each level is kept."""
        return {level: self._store.keep.of(level) for level in LEVELS}

    def wake(self) -> None:
        """Nothing is to be done."""

    async def ask(self, query: TrafficQuery) -> Answer:
        """The answer; BusyError if too many wait, or the engine is away."""
        with self._queue.place():
            async with self._turns:
                return await self._store.ask(query)

    async def export(self, export: Export) -> ExportStream:
        """See `HistoryStore`."""
        if self._files is None:
            raise UsageError("this server has no files to export", hint="ask the engine itself")
        return await self._files.export(export)

    async def close(self) -> None:
        """Release connections, and end the processes of exports."""
        await self._store.close()
        if self._files is not None:
            await self._files.close()


def ring_recorder(
    epoch_of: Callable[[float], float],
    wall: Callable[[], float] = time.time,
    *,
    cluster: Callable[[], str] = str,
) -> tuple[Recorder, MemoryStore]:
    """A recorder that keeps the last hour in memory, and what answers from it."""
    ring = Ring(int(wall()))
    recorder = Recorder(
        ring,
        Fold("none", has_detail=False),
        RecorderClock(epoch_of, wall),
        max_age=SECONDS,
        period=RING_PERIOD,
        has_books=False,
        facts=lambda: ClusterFacts(cluster()),
    )
    return recorder, MemoryStore(ring)


def open_recorder(
    options: HistoryOptions,
    epoch_of: Callable[[float], float],
    facts: Callable[[], ClusterFacts] = ClusterFacts,
) -> tuple[Recorder, Deliveries]:
    """A recorder that has not started, and what delivers its segments to sinks.

    It locks the directory for as long as the process lives. ``epoch_of`` converts the index's clock
    to Unix seconds.
    """
    check_installed()
    sinks = open_sinks(options.sinks)
    directory = open_directory(options.directory)
    targets = [(target.name, target.place) for target in options.sinks]
    try:
        journal = Journal(options.directory)
        spools = open_spools(options.directory, directory.server, targets, options.spool)
    except OSError as error:
        directory.close()
        raise KznError(f"history {options.directory}: {error.strerror}") from error
    except KznError:
        directory.close()
        raise
    writer: SegmentWriter = WriterProcess(directory, VERDICT_NAMES, options.keep)
    if spools:
        writer = SpoolingWriter(writer, directory.server, spools)
    recorder = Recorder(
        writer,
        Fold(options.external),
        RecorderClock(epoch_of),
        journal=journal,
        max_age=max(options.keep.raw - 2 * HOUR, HOUR),
        facts=facts,
    )
    return recorder, Deliveries([Delivery(spool, sinks[spool.name]) for spool in spools])
