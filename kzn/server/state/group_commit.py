"""Group commit: one commit for the changes of many batches, then their acks.

In: a callback that returns the changes since its last call, and a store that writes atomically.
Out: `durable` returns once everything applied before the call is committed.
Never: a commit for each batch, a change lost because a commit failed, SQLite on the event loop.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, Protocol, TypeVar

from kzn.daemon.logs import RateLimited
from kzn.errors import StateError
from kzn.server.state.checkpoint import Changes

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Store(Protocol):
    """Writes changes atomically, or raises StateError; can block."""

    def write(self, changes: Changes) -> None:
        """Commit ``changes``."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


@dataclass(frozen=True, slots=True)
class CommitIntervals:
    """Commit intervals in seconds: with a pending ack or snapshot, idle, after an error.

    ``snapshot``: how long a snapshot waits for its commit before the last committed one is used.
    """

    pending_ack: float = 0.2
    idle: float = 1.0
    after_error: float = 1.0
    snapshot: float = 5.0


@dataclass(slots=True)
class CommitStats:
    """Commits since the server started; written by the event loop alone."""

    commits: int = 0
    seconds: float = 0.0
    """Duration of all commits, failed ones included."""
    failures: Counter[str] = field(default_factory=Counter)

    def copy(self) -> "CommitStats":
        """A copy that does not change with further commits."""
        return replace(self, failures=Counter(self.failures))


@dataclass(frozen=True, slots=True)
class _Group(Generic[_T]):
    """One commit: its changes, and the acks and snapshots that wait for it."""

    changes: Changes
    snapshot: _T | None
    acks: list[asyncio.Future[None]]
    snapshots: list[asyncio.Future[_T]]


class Committer(Generic[_T]):
    """Commits what `CheckpointedState.take` returns; ``snapshot`` copies the state for metrics.

    A snapshot is shown only after its commit: a counter that was scraped must not be smaller after
    a restart, or every rate over it would be wrong.
    """

    def __init__(
        self,
        store: Store,
        take: Callable[[], Changes],
        snapshot: Callable[[], _T],
        *,
        intervals: CommitIntervals | None = None,
    ) -> None:
        self.stats = CommitStats()
        self._store = store
        self._take = take
        self._snapshot = snapshot
        self._intervals = intervals or CommitIntervals()
        # One thread: a commit in progress when `run` is cancelled ends before the file is closed.
        self._thread = ThreadPoolExecutor(1, "state")
        self._acks: list[asyncio.Future[None]] = []
        self._snapshots: list[asyncio.Future[_T]] = []
        self._group: _Group[_T] | None = None
        self._last_committed: _T | None = None
        self._commit_requested = asyncio.Event()
        self._closing = asyncio.Event()
        self._closed = asyncio.Event()
        self._warnings = RateLimited(log)

    @property
    def pending_acks(self) -> int:
        """Calls of `durable` that the next commit answers."""
        return len(self._acks)

    async def durable(self) -> None:
        """Return once everything applied before this call is committed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._acks.append(done)
        self._commit_requested.set()
        await done

    async def committed_snapshot(self) -> _T:
        """A new snapshot after its commit or, when the commit takes too long, the last one."""
        done: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._snapshots.append(done)
        self._commit_requested.set()
        try:
            async with asyncio.timeout(self._intervals.snapshot):
                return await done
        except TimeoutError:
            if self._last_committed is None:
                raise
            return self._last_committed

    async def start(self) -> None:
        """The first commit, before the first ack or snapshot; StateError if it fails."""
        self._last_committed = self._snapshot()
        changes = self._take()
        if not changes.is_empty:
            await self._run(partial(self._store.write, changes))

    async def run(self) -> None:
        """Commit until `close` or a cancellation, then close the file."""
        try:
            while not self._closing.is_set():
                started = asyncio.get_running_loop().time()
                await self._wait_for_next(started, await self._commit())
            if not await self._commit() or not await self._commit():
                log.error("the last batches are not in the state file; agents will resend them")
        finally:
            await self._run(self._store.close)
            self._thread.shutdown(wait=False)
            self._closed.set()

    async def close(self) -> None:
        """Have `run` commit the rest and return."""
        self._closing.set()
        self._commit_requested.set()
        await self._closed.wait()

    async def _wait_for_next(self, started: float, committed: bool) -> None:
        intervals = self._intervals
        await _set_by(
            self._closing, started + (intervals.pending_ack if committed else intervals.after_error)
        )
        if committed:
            await _set_by(self._commit_requested, started + intervals.idle)

    async def _commit(self) -> bool:
        """Write one group; False if that failed, and the next call retries the same group."""
        group = self._group = self._group or self._gather()
        started = asyncio.get_running_loop().time()
        try:
            if not group.changes.is_empty:
                await self._run(partial(self._store.write, group.changes))
                self.stats.commits += 1
        except StateError as error:
            self._failed(error)
            return False
        finally:
            self.stats.seconds += asyncio.get_running_loop().time() - started
        self._succeeded(group)
        return True

    def _gather(self) -> _Group[_T]:
        self._commit_requested.clear()
        snapshot = self._snapshot() if self._snapshots else None
        group = _Group(self._take(), snapshot, self._acks, self._snapshots)
        self._acks, self._snapshots = [], []
        return group

    def _succeeded(self, group: _Group[_T]) -> None:
        self._group = None
        if self._warnings.resolved("commit"):
            log.info("state file: commits succeed again")
        for ack in group.acks:
            if not ack.done():
                ack.set_result(None)
        if group.snapshot is not None:
            self._last_committed = group.snapshot
            for snapshot in group.snapshots:
                if not snapshot.done():
                    snapshot.set_result(group.snapshot)

    def _failed(self, error: StateError) -> None:
        self.stats.failures[error.reason] += 1
        self._warnings.warn(
            "commit", "%s; batches are not acknowledged until a commit succeeds", error
        )
        # Agents time out and resend: the lists must not grow for as long as the disk is full.
        self._acks = [ack for ack in self._acks if not ack.done()]
        self._snapshots = [snapshot for snapshot in self._snapshots if not snapshot.done()]

    async def _run(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)


async def _set_by(event: asyncio.Event, deadline: float) -> None:
    """Return when the event is set, or at ``deadline`` of the loop's clock."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await event.wait()
