"""Background tasks: a failure is seen at once, and the task is started again."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from kzn.agent.background import in_background, keep_running
from kzn.agent.metrics import agent_metrics
from kzn.agent.stats import TASKS, AgentStats
from kzn.daemon.backoff import Backoff
from kzn.errors import KznError, RefusedError

AT_ONCE = 0.0
NEVER = 3600.0


def no_wait() -> Backoff:
    return Backoff(random.Random(1), first=0.0, longest=0.0)


def stats() -> AgentStats:
    return AgentStats(probe="tcx", interval=10.0)


@dataclass(slots=True)
class Work:
    """A task that fails with each of these errors, then runs until it is told to end."""

    errors: list[Exception]
    starts: int = 0
    runs: asyncio.Event = field(default_factory=asyncio.Event)
    end: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> None:
        self.starts += 1
        if self.errors:
            raise self.errors.pop(0)
        self.runs.set()
        await self.end.wait()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - of plain values, which the loop alone changes
            await asyncio.sleep(0)


def failures(counted: AgentStats) -> dict[tuple[str, ...], float]:
    [found] = [m for m in agent_metrics(counted) if m.metric.name.endswith("task_failures_total")]
    return dict(found.samples)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(limited())


@pytest.mark.parametrize("error", [ValueError("no such field"), KznError("EIO"), OSError(5, "EIO")])
def test_a_failure_is_a_log_line_a_metric_and_a_reason_at_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    counted = stats()
    work = Work([error])

    async def scenario() -> None:
        never = Backoff(random.Random(1), first=NEVER, longest=NEVER)
        task = asyncio.create_task(keep_running("devices", work, counted, backoff=never))
        await until(lambda: bool(counted.failing_tasks))
        assert failures(counted)["devices",] == 1
        assert counted.unhealthy_reason() == f"task devices: {error}"
        [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert "task devices failed" in record.getMessage()
        assert str(error) in record.getMessage()
        assert bool(record.exc_info) == (not isinstance(error, KznError))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario)


def test_a_failed_task_is_started_again_and_the_agent_is_healthy_once_it_runs() -> None:
    counted, work = stats(), Work([KznError("EIO"), KznError("EIO"), KznError("EIO")])

    async def scenario() -> None:
        task = asyncio.create_task(
            keep_running("devices", work, counted, backoff=no_wait(), steady=AT_ONCE)
        )
        await work.runs.wait()
        await until(lambda: not counted.unhealthy_reason())
        assert (work.starts, failures(counted)["devices",]) == (4, 3)
        work.end.set()
        await task

    run(scenario)


def test_the_agent_stays_unhealthy_until_the_task_has_run_for_a_while() -> None:
    counted, work = stats(), Work([KznError("EIO")])

    async def scenario() -> None:
        task = asyncio.create_task(
            keep_running("devices", work, counted, backoff=no_wait(), steady=NEVER)
        )
        await work.runs.wait()
        assert counted.unhealthy_reason() == "task devices: EIO"
        work.end.set()  # a task that ends has done its work
        await task
        assert counted.unhealthy_reason() == ""

    run(scenario)


def test_an_error_that_another_try_cannot_mend_ends_the_task() -> None:
    work = Work([RefusedError("not a node name", reason="node")])

    async def scenario() -> None:
        with pytest.raises(RefusedError):
            await keep_running("draining tcx", work, stats(), ends_agent=(RefusedError,))

    run(scenario)


def test_the_task_is_cancelled_at_the_end_of_the_block() -> None:
    work, counted = Work([]), stats()

    async def scenario() -> None:
        async with in_background("hooks", work, counted):
            await work.runs.wait()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert failures(counted) == {(task,): 0 for task in TASKS}

    run(scenario)
