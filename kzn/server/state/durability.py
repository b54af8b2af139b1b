"""Durability of a server's counters, with or without a state file.

In: a pipeline and an optional open state file. Out: when a batch can be acked, which snapshot can
be shown, and the instance number by which agents know this ledger.
Never: an ack or a snapshot ahead of the file.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial

from kzn.server.ledger.family import FAMILIES, FamilyName
from kzn.server.pipeline import AccountingSnapshot, Pipeline
from kzn.server.settled_totals import SettledTotals
from kzn.server.state.checkpoint import CheckpointedState
from kzn.server.state.group_commit import CommitIntervals, CommitStats, Committer
from kzn.server.state.sqlite_store import StateFile
from kzn.topology.rollouts import Rollouts
from kzn.wire.sequences import AppliedSequences


class Durability:
    """Commits to ``state``; without a state file counters last as long as the process."""

    def __init__(
        self,
        pipeline: Pipeline,
        state: StateFile | None = None,
        *,
        now: float = 0.0,
        epoch: float = 0.0,
        intervals: CommitIntervals | None = None,
        settled: SettledTotals | None = None,
        rollouts: Rollouts | None = None,
    ) -> None:
        """Restore ``state`` into the pipeline and the others; KznError if the file is damaged.

        ``epoch`` is Unix time minus the clock of ``now``.
        """
        self.sequences = AppliedSequences()
        self.instance = secrets.randbits(32) or 1
        self._snapshot = partial(AccountingSnapshot.of, pipeline)
        self._committer: Committer[AccountingSnapshot] | None = None
        if state is not None:
            checkpoint = CheckpointedState(
                pipeline.ledger,
                pipeline.node_totals,
                self.sequences,
                pipeline.reporting,
                epoch,
                pipeline.settle,
                settled,
                rollouts,
            )
            saved = state.read()
            checkpoint.restore(saved, now)
            self.instance = saved.instance
            self._committer = Committer(state, checkpoint.take, self._snapshot, intervals=intervals)

    async def durable(self) -> None:
        """Return once everything applied before the call is committed."""
        if self._committer is not None:
            await self._committer.durable()

    async def committed_snapshot(
        self, families: Collection[FamilyName] = tuple(FAMILIES)
    ) -> AccountingSnapshot:
        """The latest snapshot that is committed; without a file the current one of ``families``."""
        if self._committer is None:
            return self._snapshot(families)
        return await self._committer.committed_snapshot()

    def stats(self) -> CommitStats | None:
        """Counters of the commits; None without a file."""
        return None if self._committer is None else self._committer.stats.copy()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Commit while the body runs; `close` commits the rest."""
        if self._committer is None:
            yield
            return
        await self._committer.start()
        async with asyncio.TaskGroup() as tasks:
            committing = tasks.create_task(self._committer.run(), name="state file")
            try:
                yield
            finally:
                committing.cancel()

    async def close(self) -> None:
        """Commit the rest and close the file."""
        if self._committer is not None:
            await self._committer.close()
