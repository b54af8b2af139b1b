"""The flow log: one line for each settled flow, on a stream that may block without harm.

In: cases with their resolutions, on the event loop. Out: lines, written by a thread of its own.
Never: more than ``max_lines`` waiting (what is beyond is dropped and counted), a wait for the
stream on the event loop.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from kzn.columns.arrays import I64
from kzn.model.endpoint import EndpointIndex
from kzn.server.flows.lines import FlowRecords, Form, LineWriter
from kzn.server.resolve.resolve import Resolution
from kzn.server.resolve.retry import ObservedFlows, select

_LOG = logging.getLogger(__name__)

MAX_LINES = 200_000
"""Some 20 MB of columns: what a few hundred nodes settle in one interval."""


class LogCounts(NamedTuple):
    """Lines written, and lines dropped because the stream did not keep up or was gone."""

    written: int = 0
    dropped: int = 0


class Stream(Protocol):
    """Where lines go: a buffered binary file."""

    def write(self, data: bytes, /) -> object:
        """Write all of ``data``; may block."""
        ...

    def flush(self) -> None:
        """Hand on what is buffered; may block."""
        ...


class FlowLog:
    """Lines to ``stream``; ``epoch_of`` turns a time of the cases into seconds of the epoch."""

    def __init__(
        self,
        stream: Stream,
        form: Form,
        *,
        epoch_of: Callable[[float], float],
        max_lines: int = MAX_LINES,
    ) -> None:
        self._stream = stream
        self._writer = LineWriter(form)
        self._epoch_of = epoch_of
        self._max_lines = max_lines
        self._changed = threading.Condition()
        self._waiting: deque[FlowRecords] = deque()
        self._lines_waiting = 0
        self._counts = LogCounts()
        self._is_closing = False
        self._is_broken = False
        # A daemon: a stream that never takes another byte must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name="flow-log", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> LogCounts:
        """Lines written and dropped so far."""
        return self._counts

    @property
    def waiting(self) -> int:
        """Lines that are not written yet."""
        return self._lines_waiting

    def offer(
        self, case: ObservedFlows, resolution: Resolution, chosen: I64, index: EndpointIndex
    ) -> None:
        """Queue a line for each of the flows ``chosen``, or count them as dropped."""
        if not len(chosen):
            return
        with self._changed:
            if self._is_broken or self._lines_waiting + len(chosen) > self._max_lines:
                self._drop(len(chosen))
                return
        used, flows = select(case.flows, chosen)
        node = len(resolution.endpoints) - 1
        chunk = FlowRecords(
            closed=self._epoch_of(case.closed),
            node=case.node,
            flows=flows,
            owners=index.endpoints(resolution.endpoints.take(np.append(used, node)).tolist()),
            forwarded=np.flatnonzero(resolution.src.take(chosen) == node),
            verdict=resolution.verdict.take(chosen),
        )
        with self._changed:
            self._waiting.append(chunk)
            self._lines_waiting += len(chunk)
            self._changed.notify()

    def close(self, timeout: float) -> bool:
        """Write what is queued and stop; False when the stream did not take it in time."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (chunk := self._next()) is not None:
            try:
                self._stream.write(self._writer.lines(chunk))
                self._stream.flush()
            except (OSError, ValueError) as error:  # ValueError: the stream was closed
                self._break(error, chunk)
                return
            with self._changed:
                self._lines_waiting -= len(chunk)
                self._counts = self._counts._replace(written=self._counts.written + len(chunk))

    def _next(self) -> FlowRecords | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            return self._waiting.popleft() if self._waiting else None

    def _break(self, error: Exception, chunk: FlowRecords) -> None:
        _LOG.warning("flow log: %s; no more lines are written", error)
        with self._changed:
            self._is_broken = True
            self._drop(len(chunk) + sum(map(len, self._waiting)))
            self._waiting.clear()
            self._lines_waiting = 0

    def _drop(self, lines: int) -> None:
        self._counts = self._counts._replace(dropped=self._counts.dropped + lines)
