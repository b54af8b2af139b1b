"""The recorder: a bounded queue of settled flows, folded by a thread, written minute by minute.

In: settled flows on the event loop; the time. Out: durable segments, and counts that add up:
ledger = recorded + dropped + lost at restarts + open, by class, at every moment.
Never: an agent that waits, more than ``max_waiting`` flows queued, or a minute that is ahead of the
state file: a minute is written after the commit of its batches.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from kzn.columns.arrays import I64
from kzn.daemon.logs import RateLimited
from kzn.errors import KznError
from kzn.history.books import Books, Gap
from kzn.history.directory import Journal
from kzn.history.processes.framing import Payload
from kzn.history.processes.writer_process import RefusedSegmentError, SegmentWriter, WriterGoneError
from kzn.model.endpoint import EndpointIndex
from kzn.model.flows import Flows
from kzn.model.settled import ByClass, ClusterFacts, Sum, added
from kzn.server.recording.batches import SettledBatch, settled_batch
from kzn.server.recording.fold import MAX_BATCHES, Fold, Taken, minute_of
from kzn.server.recording.owners import SeenOwners
from kzn.server.recording.words import Rows
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.retry import ObservedFlows
from kzn.server.settled_totals import SettledTotals, by_class
from kzn.server.stats import HistoryCounts

_LOG = logging.getLogger(__name__)

_T = TypeVar("_T")

MINUTE = 60
MAX_WAITING = 1_000_000
"""Flows that wait for the folding thread: about a second of the largest clusters."""
WAKE_FLOWS = 1 << 18
"""Flows that wait for the folding thread before it is woken, as many as it groups at once; so do
`MAX_BATCHES`, and a flush in any case."""
MAINTAIN_SECONDS = 30.0
"""Seconds of merging and removing before the next minute is looked after."""
RETRIES = 3
"""Of one segment, when the writer ends while it writes it."""
_BACKOFF = 2.0
_HOUR = 3600


@dataclass(frozen=True, slots=True)
class RecorderClock:
    """``epoch_of`` converts the index's clock, which is ``monotonic``, to Unix seconds.

    ``wall`` is the time now.
    """

    epoch_of: Callable[[float], float]
    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class Recorder:
    """A flow sink whose minutes become segments of ``writer``; ``close`` writes the open one."""

    def __init__(
        self,
        writer: SegmentWriter,
        fold: Fold,
        clock: RecorderClock,
        *,
        durable: Callable[[], Awaitable[None]] | None = None,
        journal: Journal | None = None,
        max_waiting: int = MAX_WAITING,
        max_age: float = 70 * _HOUR,
        period: int = MINUTE,
        has_books: bool = True,
        facts: Callable[[], ClusterFacts] = ClusterFacts,
    ) -> None:
        """``durable`` returns when all that was applied before is committed.

        ``facts`` are read on the event loop before each write.

        Every ``period`` seconds the writer gets what there is. Without ``has_books`` nothing lasts,
        and there are no counts.
        """
        self._period = period
        self._has_books = has_books
        self._facts = facts
        self._facts_sent: ClusterFacts | None = None
        self.totals = SettledTotals()
        self.durable = durable
        self._writer = writer
        self._fold = fold
        self._seen = SeenOwners()
        self._clock = clock
        self._journal = journal
        self._max_waiting = max_waiting
        self._max_age = max_age
        self._lock = threading.Condition()
        self._queue: deque[SettledBatch | asyncio.Future[Taken]] = deque()
        self._waiting = 0
        self._recorded: ByClass = {}
        self._dropped: dict[str, ByClass] = {}
        self._lost: ByClass = {}
        self._lost_before: ByClass = {}
        self._open: ByClass = {}
        self._folded: ByClass = {}
        """What the fold has had since the last take; of the folding thread alone."""
        self._failed_merges: dict[str, int] = {}
        self._segments = self._writer_starts = self._number = self._until = 0
        self._instance = 0
        self._write_seconds = 0.0
        self._stuck = "queue_full"
        self._generation, self._ends_sent = -1, 0
        self._gaps: list[Gap] = []
        self._is_closing = False
        self._hurry = asyncio.Event()
        self._writes = ThreadPoolExecutor(1, "history-write")
        self._flushing = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="history-fold", daemon=True)
        self._warnings = RateLimited(_LOG)

    def offer(
        self, observed: ObservedFlows, resolution: Resolution, chosen: I64, index: EndpointIndex
    ) -> None:
        """Queue the settled flows ``chosen``, or count them as dropped."""
        part = np.zeros(len(observed.flows), np.int64)
        self.offer_joined(observed.flows, [observed.closed], part, resolution, chosen, index)

    def offer_joined(
        self,
        flows: Flows,
        closed: Sequence[float],
        part: I64,
        resolution: Resolution,
        chosen: I64,
        index: EndpointIndex,
    ) -> None:
        """`offer` the flows ``chosen`` of several batches; ``part`` (m,) is the batch of each."""
        ended = [self._clock.epoch_of(at) for at in closed]
        earliest = self._clock.wall() - self._max_age
        if min(ended) < earliest:
            too_late = (np.array(ended) < earliest).take(part.take(chosen))
            self._refuse("too_late", flows, resolution, chosen.compress(too_late))
            chosen = chosen.compress(~too_late)
        if not len(chosen):
            return
        each = [minute_of(at) // MINUTE for at in ended]
        minutes: I64 | int = each[0]
        if len(set(each)) > 1:
            minutes = np.array(each).take(part.take(chosen))
        learned = self._seen.new(resolution.endpoints, index, self._clock.monotonic())
        try:
            batch = settled_batch(flows, resolution, chosen, minutes, learned)
        except Exception:
            self._seen.forget(learned)
            raise
        with self._lock:
            self.totals.add(batch.sums)
            if self._waiting + len(batch) > self._max_waiting:
                self._drop(self._stuck, batch.sums)
                self._seen.forget(learned)
            else:
                self._open = added(self._open, batch.sums)
                self._waiting += len(batch)
                self._queue.append(batch)
                # Each wake takes the interpreter from the loop.
                if self._waiting >= WAKE_FLOWS or len(self._queue) >= MAX_BATCHES:
                    self._lock.notify()
        self._write_journal()

    def _refuse(self, reason: str, flows: Flows, resolution: Resolution, chosen: I64) -> None:
        if not len(chosen):
            return
        sums = _sums(flows, resolution, chosen)
        with self._lock:
            self.totals.add(sums)
            self._drop(reason, sums)
        self._write_journal()

    def _write_journal(self) -> None:
        if self._journal is not None:
            self._journal.write(self._instance, self.totals.sums)

    def counts(self) -> HistoryCounts | None:
        """The books now; None without books."""
        return self.books() if self._has_books else None

    def books(self) -> HistoryCounts:
        """The books now."""
        with self._lock:
            return HistoryCounts(
                ledger=dict(self.totals.sums),
                recorded=dict(self._recorded),
                dropped={reason: dict(sums) for reason, sums in self._dropped.items()},
                lost=dict(self._lost),
                open={name: amount for name, amount in self._open.items() if amount != Sum()},
                lost_before=dict(self._lost_before),
                segments=self._segments,
                write_seconds=self._write_seconds,
                writer_starts=self._writer_starts,
                until=self._until,
                failed_merges=dict(self._failed_merges),
            )

    async def start(self, instance: int) -> None:
        """Open the books of the ledger ``instance``; KznError if the history cannot be used."""
        self._loop = asyncio.get_running_loop()
        self._instance = instance
        await self._in_writer(self._open_books)
        self._thread.start()

    async def run(self) -> None:
        """Write each minute when it is over, until cancelled; a flush is never cut short."""
        while True:
            now = self._clock.wall()
            await asyncio.sleep(self._period - now % self._period)
            await asyncio.shield(asyncio.ensure_future(self.flush()))

    async def flush(self) -> None:
        """Write everything that was offered before the call, then merge what is due."""
        async with self._flushing:
            until = int(self._clock.wall())
            taken = await self._take()
            if self.durable is not None and not self._is_closing:
                await self.durable()
            await self._write(taken, until)
            await self._maintain()

    async def close(self) -> None:
        """Write the open minute and end the writer."""
        self._is_closing = True
        self._hurry.set()
        if self._thread.is_alive():
            await self.flush()
            await self._note(self._until)
            with self._lock:
                self._queue.append(_stop())
                self._lock.notify()
            self._thread.join()
        await self._in_writer(self._writer.close)
        self._writes.shutdown(wait=False)
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    # In the folding thread.

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._queue:
                    self._lock.wait()
                item = self._queue.popleft()
            if isinstance(item, SettledBatch):
                reason = self._folded_batch(item)
                with self._lock:
                    self._waiting -= len(item)
                    if reason:
                        self._close_open(item.sums)
                        self._drop(self._stuck if reason == "full" else reason, item.sums)
            elif item.cancelled():
                return
            else:
                taken = self._taken()
                assert self._loop is not None  # noqa: S101 - set by start
                self._loop.call_soon_threadsafe(item.set_result, taken)

    def _folded_batch(self, item: SettledBatch) -> str:
        try:
            reason = self._fold.add(item)
        except Exception:  # noqa: BLE001 - a defect must not end the thread that flushes wait for
            _LOG.exception("history: a batch cannot be folded; the open minute is dropped")
            self._forget_folded()
            return "fault"
        if not reason:
            self._folded = added(self._folded, item.sums)
        return reason

    def _taken(self) -> Taken:
        """What was folded; nothing, and its bytes dropped, after an error: a flush never hangs."""
        try:
            taken = self._fold.take()
        except Exception:  # noqa: BLE001 - a defect must not end the thread that flushes wait for
            _LOG.exception("history: the open minute cannot be completed and is dropped")
            self._forget_folded()
            taken = self._fold.take()
        self._folded = {}
        return taken

    def _forget_folded(self) -> None:
        """Drop all that is folded: after an error it may be there in part, or twice."""
        self._fold.forget()
        with self._lock:
            self._close_open(self._folded)
            self._drop("fault", self._folded)
        self._folded = {}

    def _drop(self, reason: str, sums: ByClass) -> None:
        self._dropped[reason] = added(self._dropped.get(reason, {}), sums)

    def _close_open(self, sums: ByClass) -> None:
        negative = {name: Sum().minus(amount) for name, amount in sums.items()}
        self._open = added(self._open, negative)

    # On the event loop.

    async def _take(self) -> Taken:
        taken: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._queue.append(taken)
            self._lock.notify()
        return await taken

    async def _write(self, taken: Taken, until: int) -> None:
        for rows, sums in zip(taken.hours, taken.sums, strict=True):
            self._number += 1
            started = time.perf_counter()
            facts = self._facts()
            is_last = rows is taken.hours[-1]
            reason = await self._write_segment(
                self._number, _bytes_of(rows), taken, facts, until if is_last else self._until
            )
            with self._lock:
                self._close_open(sums)
                self._write_seconds += time.perf_counter() - started
                if reason:
                    self._drop(reason, sums)
                    self._gaps.append(
                        Gap(
                            int(rows["time"].min()),
                            int(rows["time"].max()) + MINUTE,
                            reason,
                            sum(amount.bytes for amount in sums.values()),
                        )
                    )
                else:
                    self._recorded = added(self._recorded, sums)
                    self._segments += 1
        self._until = until
        if not taken.hours or self._gaps:
            await self._note(until)

    async def _write_segment(
        self, number: int, rows: Payload, taken: Taken, facts: ClusterFacts, until: int
    ) -> str:
        """Write one segment; an empty string, or the reason why nothing of it is there."""
        for _ in range(RETRIES):
            try:
                await self._in_writer(self._describe, facts)
                await self._in_writer(self._add_ends, taken)
                await self._in_writer(self._writer.write, number, rows, self._dropped_now(), until)
            except RefusedSegmentError as error:
                self._warnings.warn(error.reason, "%s", error)
                return error.reason
            except WriterGoneError as error:
                self._warnings.warn("gone", "%s; it is started again", error)
                books = await self._started_again()
                if books is None:
                    break
                if books.number >= number:
                    return ""
            else:
                self._stuck = "queue_full"
                return ""
        return "writer_gone"

    async def _started_again(self) -> Books | None:
        """The books after a new start; None if the server ends before the writer runs."""
        self._stuck = "writer_gone"
        while True:
            try:
                return await self._in_writer(self._open_again)
            except KznError as error:
                self._warnings.warn("start", "%s", error)
            if self._is_closing:
                return None
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), _BACKOFF)

    async def _note(self, until: int) -> None:
        """Make drops, gaps and the time durable; what cannot be is tried a minute later."""
        gaps = list(self._gaps)
        try:
            await self._in_writer(self._writer.note, self._dropped_now(), gaps, until)
        except (RefusedSegmentError, WriterGoneError) as error:
            self._warnings.warn("note", "%s", error)
            return
        del self._gaps[: len(gaps)]

    async def _maintain(self) -> None:
        """Merge and remove what is due, a step at a time; what is left waits for the next minute.

        Meanwhile no minute is written: all steps of a day may take many.
        """
        due = self._clock.wall() + MAINTAIN_SECONDS
        try:
            while (
                not self._is_closing
                and (now := self._clock.wall()) < due
                and await self._in_writer(self._writer.maintain, now)
            ):
                pass
        except (RefusedSegmentError, WriterGoneError) as error:
            self._warnings.warn("maintain", "%s; it is tried again", error)
            reason = error.reason if isinstance(error, RefusedSegmentError) else "gone"
            with self._lock:
                self._failed_merges[reason] = self._failed_merges.get(reason, 0) + 1

    def _dropped_now(self) -> dict[str, ByClass]:
        with self._lock:
            return {reason: dict(sums) for reason, sums in self._dropped.items()}

    async def _in_writer(self, call: Callable[..., _T], *arguments: object) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writes, call, *arguments)

    # In the writer's thread.

    def _open_books(self) -> None:
        books = self._open_again()
        if self._journal is not None:
            before, counted = self._journal.read()
            if before == books.instance and before != self._instance:
                self._note_lost_before(books, counted)
        lost_until_now = books.lost if books.instance == self._instance else {}
        books = self._writer.open_books(self._instance, self.totals.sums)
        lost = sum(
            sum(a.bytes for a in part.values()) * sign
            for part, sign in ((books.lost, 1), (lost_until_now, -1))
        )
        if lost:
            self._gaps.append(Gap(books.until, int(self._clock.wall()), "restart", lost))
            _LOG.warning("history: %d bytes were not recorded when the server ended", lost)
        self._recorded, self._lost = dict(books.recorded), dict(books.lost)
        self._dropped = {reason: dict(sums) for reason, sums in books.dropped.items()}
        self._number, self._until = books.number, books.until
        if self._journal is not None:
            self._journal.write(self._instance, self.totals.sums)

    def _note_lost_before(self, books: Books, counted: ByClass) -> None:
        accounted = books.accounted()
        for name, amount in counted.items():
            missing = amount.minus(accounted.get(name, Sum()))
            if missing.bytes > 0:
                self._lost_before[name] = missing
        if lost := sum(amount.bytes for amount in self._lost_before.values()):
            self._gaps.append(Gap(books.until, int(self._clock.wall()), "restart", lost))
            _LOG.warning("history: the server before this one had not recorded %d bytes", lost)

    def _open_again(self) -> Books:
        books = self._writer.open()
        self._writer_starts += 1
        self._generation, self._ends_sent = -1, 0
        self._facts_sent = None
        return books

    def _describe(self, facts: ClusterFacts) -> None:
        sent = self._facts_sent or ClusterFacts()
        new = dict(facts.provider_ids.items() - sent.provider_ids.items())
        if self._facts_sent is None or new or facts.cluster != sent.cluster:
            self._writer.describe(facts.cluster, new)
        self._facts_sent = facts

    def _add_ends(self, taken: Taken) -> None:
        is_new = taken.generation != self._generation
        first = 0 if is_new else self._ends_sent
        if is_new or taken.number_of_ends > first:
            self._writer.add_ends(taken.ends[first : taken.number_of_ends], anew=is_new)
        self._generation, self._ends_sent = taken.generation, taken.number_of_ends


def _sums(flows: Flows, resolution: Resolution, chosen: I64) -> ByClass:
    return by_class(
        resolution.verdict.take(chosen), flows.packets.take(chosen), flows.bytes.take(chosen)
    )


def _bytes_of(rows: Rows) -> memoryview:
    """The bytes of rows, not copied: 40 MB would hold up the event loop for 20 ms."""
    return np.ascontiguousarray(rows).view(np.uint8).data


def _stop() -> asyncio.Future[Taken]:
    stop: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
    stop.cancel()
    return stop
