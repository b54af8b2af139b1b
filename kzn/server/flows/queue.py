"""The flow log's queue: records wait here until a thread has written them to the stream.

In: flows with their resolutions, on the event loop. Out: lines, written by a separate thread.
Never: more than ``max_lines`` queued (the excess is dropped and counted), or a wait for the stream
on the event loop.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

import numpy as np

from kzn.columns.arrays import BOOL, I64
from kzn.model.endpoint import EndpointIndex
from kzn.server.flows.costs import FlowPrices
from kzn.server.flows.lines import Form, LineWriter
from kzn.server.flows.records import FlowRecords
from kzn.server.resolve import verdict as v
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.retry import ObservedFlows

_LOG = logging.getLogger(__name__)

MAX_LINES = 200_000
"""Some 20 MB of columns: the flows of a few hundred nodes in one interval."""


ALL_VERDICTS: BOOL = np.ones(len(v.NAMES), np.bool_)
UNRESOLVED = "unresolved"
LOGGED_CLASSES = (*v.CLASSES, UNRESOLVED)
"""What can be chosen to be logged."""


def verdicts_of(classes: Collection[str]) -> BOOL:
    """By verdict, whether it is one of ``classes`` (of `LOGGED_CLASSES`)."""
    return np.array(
        [
            name in classes if code < v.TRANSIT else code > v.TRANSIT and UNRESOLVED in classes
            for code, name in enumerate(v.NAMES)
        ]
    )


class LogCounts(NamedTuple):
    """Lines written, and lines dropped because the stream was too slow or failed."""

    written: int = 0
    dropped: int = 0


class Stream(Protocol):
    """A buffered binary file."""

    def write(self, data: bytes, /) -> object:
        """Write all of ``data``; may block."""
        ...

    def flush(self) -> None:
        """Flush the buffer; may block."""
        ...


class FlowLog:
    """Writes lines to ``stream``; ``epoch_of`` converts the index's clock to epoch seconds.

    ``logged`` tells by verdict whether a flow has a line.
    """

    def __init__(
        self,
        stream: Stream,
        form: Form,
        *,
        epoch_of: Callable[[float], float],
        logged: BOOL = ALL_VERDICTS,
        max_lines: int = MAX_LINES,
        prices: FlowPrices | None = None,
    ) -> None:
        """With ``prices`` lines have costs."""
        self._stream = stream
        self.prices = prices
        self._writer = LineWriter(form, prices=prices)
        self._epoch_of = epoch_of
        self._logged = logged
        self._max_lines = max_lines
        self._changed = threading.Condition()
        self._waiting: deque[FlowRecords] = deque()
        self._lines_waiting = 0
        self._counts = LogCounts()
        self._is_closing = False
        self._is_broken = False
        # A daemon thread: a stream that blocks for ever must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name="flow-log", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> LogCounts:
        """Lines written and dropped so far."""
        return self._counts

    @property
    def waiting(self) -> int:
        """Lines queued or being written."""
        return self._lines_waiting

    def offer(
        self, observed: ObservedFlows, resolution: Resolution, chosen: I64, index: EndpointIndex
    ) -> None:
        """Queue a line for each of the flows ``chosen`` to be logged, or count them as dropped."""
        chosen = chosen.compress(self._logged.take(resolution.verdict.take(chosen)))
        if not len(chosen):
            return
        with self._changed:
            if self._is_broken or self._lines_waiting + len(chosen) > self._max_lines:
                self._drop(len(chosen))
                return
        records = FlowRecords.of(
            observed, resolution, chosen, index, closed=self._epoch_of(observed.closed)
        )
        with self._changed:
            self._waiting.append(records)
            self._lines_waiting += len(records)
            self._changed.notify()

    def close(self, timeout: float) -> bool:
        """Write the queued lines and stop; False when the stream did not take them in time."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (records := self._next()) is not None:
            try:
                for piece in self._writer.pieces(records):
                    self._stream.write(piece)
                self._stream.flush()
            except (OSError, ValueError) as error:  # ValueError: the stream was closed
                self._stop(error, records)
                return
            with self._changed:
                self._lines_waiting -= len(records)
                self._counts = self._counts._replace(written=self._counts.written + len(records))

    def _next(self) -> FlowRecords | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            return self._waiting.popleft() if self._waiting else None

    def _stop(self, error: Exception, records: FlowRecords) -> None:
        _LOG.warning(
            "flow log: write failed: %s; no flows are logged until the server restarts",
            error,
        )
        with self._changed:
            self._is_broken = True
            self._drop(len(records) + sum(map(len, self._waiting)))
            self._waiting.clear()
            self._lines_waiting = 0

    def _drop(self, lines: int) -> None:
        self._counts = self._counts._replace(dropped=self._counts.dropped + lines)
