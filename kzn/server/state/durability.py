"""What a server keeps beyond its own life: nothing, or a ledger in a state file.

In: a pipeline and, perhaps, an open state file. Out: when an ack may go out, what may be shown, and
the number by which agents know this ledger. Never: an ack or a look ahead of the file.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from kzn.server.pipeline import AccountingSnapshot, Pipeline
from kzn.server.state.checkpoint import CheckpointedState
from kzn.server.state.group_commit import CommitIntervals, CommitStats, Committer
from kzn.server.state.sqlite_store import StateFile
from kzn.wire.sequences import AppliedSequences


class Durability:
    """Without a file everything is durable at once, which is to say: for as long as we live."""

    def __init__(
        self,
        pipeline: Pipeline,
        state: StateFile | None = None,
        *,
        now: float = 0.0,
        intervals: CommitIntervals | None = None,
    ) -> None:
        """Read ``state`` into the pipeline; KznError when it makes no sense."""
        self.sequences = AppliedSequences()
        self.instance = secrets.randbits(32) or 1
        self._snapshot = partial(AccountingSnapshot.of, pipeline)
        self._committer: Committer[AccountingSnapshot] | None = None
        if state is not None:
            checkpoint = CheckpointedState(pipeline.ledger, pipeline.node_totals, self.sequences)
            saved = state.read()
            checkpoint.restore(saved, now)
            self.instance = saved.instance
            self._committer = Committer(state, checkpoint.take, self._snapshot, intervals=intervals)

    async def durable(self) -> None:
        """Return once all that was applied before would survive."""
        if self._committer is not None:
            await self._committer.durable()

    async def view(self) -> AccountingSnapshot:
        """What may be shown."""
        return self._snapshot() if self._committer is None else await self._committer.view()

    def stats(self) -> CommitStats | None:
        """What was committed; None without a file."""
        return None if self._committer is None else self._committer.stats.copy()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Commit inside. What is still to be kept at the end is `close`'s business."""
        if self._committer is None:
            yield
            return
        await self._committer.start()
        async with asyncio.TaskGroup() as tasks:
            saving = tasks.create_task(self._committer.run(), name="state file")
            try:
                yield
            finally:
                saving.cancel()

    async def close(self) -> None:
        """Commit what is left and let go of the file."""
        if self._committer is not None:
            await self._committer.close()
