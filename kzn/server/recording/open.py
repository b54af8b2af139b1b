"""Makes the recorder of a server from its options, and the store that answers queries.

In: the options of the history. Out: a recorder on a locked directory, or one that keeps an hour in
memory. UsageError without DuckDB, KznError for a directory that cannot be used.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from kzn.daemon.http.messages import BusyError
from kzn.errors import KznError, UsageError
from kzn.history.directory import Journal, open_directory
from kzn.history.processes.reader_process import ReaderProcess
from kzn.history.processes.writer_process import WriterProcess, check_installed
from kzn.history.query import Answer, TrafficQuery
from kzn.history.segments import HOUR, LEVELS
from kzn.server.config import HistoryOptions
from kzn.server.recording.fold import Fold
from kzn.server.recording.recorder import Recorder, RecorderClock
from kzn.server.recording.ring import SECONDS, Ring
from kzn.server.settled_totals import VERDICT_NAMES

MAX_WAITING_QUERIES = 16
RING_PERIOD = 10
"""Seconds; the interval of agents."""


@dataclass(frozen=True, slots=True)
class MemoryStore:
    """Answers from a `Ring`."""

    ring: Ring

    @property
    def kept(self) -> dict[str, int]:
        """Seconds for which each level is kept."""
        return {"raw": SECONDS}

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


class HistoryStore:
    """Answers from the files of a directory by a process; one query at a time, few wait."""

    def __init__(self, options: HistoryOptions) -> None:
        self._options = options
        self._reader = ReaderProcess(options.directory)
        self._thread = ThreadPoolExecutor(1, "history-read")
        self._waiting = 0

    @property
    def kept(self) -> dict[str, int]:
        """Seconds for which each level is kept."""
        return {level: self._options.keep.of(level) for level in LEVELS}

    async def ask(self, query: TrafficQuery) -> Answer:
        """The answer; BusyError if too many wait."""
        if self._waiting >= MAX_WAITING_QUERIES:
            raise BusyError("too many queries at once")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._reader.ask, query)
        except UsageError:
            raise
        except KznError as error:
            raise BusyError(error.message, hint=error.hint) from error
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the process."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._reader.close()


def ring_recorder(
    epoch_of: Callable[[float], float], wall: Callable[[], float] = time.time
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
    )
    return recorder, MemoryStore(ring)


def open_recorder(options: HistoryOptions, epoch_of: Callable[[float], float]) -> Recorder:
    """A recorder that has not started; it locks the directory for as long as the process lives.

    ``epoch_of`` converts the index's clock to Unix seconds.
    """
    check_installed()
    directory = open_directory(options.directory)
    try:
        journal = Journal(options.directory)
    except OSError as error:
        directory.close()
        raise KznError(f"history {options.directory}: {error.strerror}") from error
    return Recorder(
        WriterProcess(directory, VERDICT_NAMES, options.keep),
        Fold(options.external),
        RecorderClock(epoch_of),
        journal=journal,
        max_age=options.keep.raw - 2 * HOUR,
    )
