"""Runs the agent's background tasks: one that fails is logged at once and started again.

In: a function that returns a task's coroutine. Out: the failure in `AgentStats`, hence in a metric
and in `/healthz`, until the task has run for `STEADY_SECONDS` again.
Never: a failure that only shows when the agent ends, or an end of the agent because of one: batches
are cut and delivered meanwhile.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from kzn.agent.stats import AgentStats
from kzn.daemon.backoff import Backoff
from kzn.errors import KznError

log = logging.getLogger(__name__)

STEADY_SECONDS = 10.0
"""Less than a liveness probe takes to give up: one failure does not restart a container."""
LONGEST_SECONDS = 60.0
"""The longest wait before a task is started again."""

Work = Callable[[], Coroutine[Any, Any, None]]


async def keep_running(
    name: str,
    work: Work,
    stats: AgentStats,
    *,
    ends_agent: tuple[type[Exception], ...] = (),
    backoff: Backoff | None = None,
    steady: float = STEADY_SECONDS,
) -> None:
    """Run ``work`` until it returns or the caller is cancelled; after a failure, again.

    ``ends_agent`` are errors that are raised instead: those that another try cannot mend.
    """
    backoff = backoff or Backoff(random.SystemRandom(), longest=LONGEST_SECONDS)

    def recovered() -> None:
        backoff.reset()
        if stats.failing_tasks.pop(name, None) is not None:
            log.info("task %s runs again", name)

    while True:
        timer = asyncio.get_running_loop().call_later(steady, recovered)
        try:
            await work()
        except ends_agent:
            raise
        except Exception as error:
            wait = backoff.next()
            stats.task_failed(name, str(error) or type(error).__name__)
            log.error(
                "task %s failed: %s; starting it again in %.1f s",
                name,
                error
                if isinstance(error, KznError)
                else f"internal error: {type(error).__name__}: {error}",
                wait,
                exc_info=None if isinstance(error, KznError) else error,
            )
        else:
            recovered()
            return
        finally:
            timer.cancel()
        await asyncio.sleep(wait)


@asynccontextmanager
async def in_background(name: str, work: Work, stats: AgentStats) -> AsyncIterator[None]:
    """Keep ``work`` running for the length of the block."""
    task = asyncio.create_task(keep_running(name, work, stats), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
