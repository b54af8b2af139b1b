"""Makes the recorder of a server from its options, and the store that answers queries.

In: the options of the history. Out: a recorder on a locked directory, or one that keeps an hour in
memory. UsageError without DuckDB, KznError for a directory that cannot be used.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from kzn.errors import KznError, UsageError
from kzn.history.directory import Journal, open_directory
from kzn.history.query import Answer, TrafficQuery
from kzn.history.segments import HOUR
from kzn.history.writer_process import WriterProcess, check_installed
from kzn.server.config import HistoryOptions
from kzn.server.recording.fold import Fold
from kzn.server.recording.recorder import Recorder, RecorderClock
from kzn.server.recording.ring import SECONDS, Ring
from kzn.server.settled_totals import VERDICT_NAMES

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

    async def ask(self, query: TrafficQuery) -> Answer:
        """The answer; UsageError for pods, nodes and addresses."""
        if query.needs_detail:
            raise UsageError(
                "the hour in memory has no pods, nodes and addresses",
                hint="start the server with --history DIR",
            )
        return await asyncio.to_thread(self.ring.ask, query)


def ring_recorder(
    epoch_of: Callable[[float], float], wall: Callable[[], float] = time.time
) -> tuple[Recorder, MemoryStore]:
    """A recorder that keeps the last hour in memory, and what answers from it."""
    ring = Ring(int(wall()))
    recorder = Recorder(
        ring,
        Fold("none"),
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
