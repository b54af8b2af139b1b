"""The loop: one batch at a time, cleared only after delivery, and a last one when it stops."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from virtual import play

from kzn.agent.loop import CHECK_SECONDS, Loop, empty
from kzn.agent.maps.spool import Spool
from kzn.agent.stats import AgentStats
from kzn.errors import KernelError, KznError
from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.totals import Counts, Totals


@dataclass
class FakeSpool:
    """`Spool` over a list of the bytes that each buffer saw."""

    seen: list[int]
    sequence: int = 0
    under_way: bool = False
    mismatches: int = 0
    done: list[int] = field(default_factory=list)
    fails: int = 0
    clear_fails: int = 0
    awake: int = 0
    looks: list[bool] = field(default_factory=list)
    applied: int = 0

    def mark_drained(self) -> None:
        self.awake += 1

    def look_at_waiting(self) -> None:
        self.looks.append(self.under_way)

    def cut(self) -> Batch:
        if self.fails:
            self.fails -= 1
            raise KernelError("read map flows_0: EIO", errno=5)
        if self.under_way and self.sequence == self.applied:
            self.acknowledge(self.sequence)
        if not self.under_way:
            self.under_way, self.sequence = True, self.sequence + 1
        index = self.sequence - 1
        seen = self.seen[index] if index < len(self.seen) else 0
        return Batch(self.sequence, 10, 0, Flows.empty(), Totals(seen=Counts(seen, seen)))

    def acknowledge(self, sequence: int) -> None:
        assert self.under_way
        assert sequence == self.sequence
        self.applied = sequence
        if self.clear_fails:
            self.clear_fails -= 1
            raise KernelError("write entry 0 of map spool: ENOMEM", errno=12)
        self.under_way = False
        self.done.append(sequence)


def stats(interval: float = 0.0) -> AgentStats:
    return AgentStats(probe="p", interval=interval)


def make(spool: FakeSpool, deliver: Any, its: AgentStats) -> Loop:
    return Loop(cast(Spool, spool), deliver, its, lambda: None)


def test_a_batch_is_cleared_only_after_it_was_delivered() -> None:
    spool = FakeSpool([1])

    async def deliver(batch: Batch) -> None:
        assert spool.done == []
        assert batch.sequence == 1

    asyncio.run(make(spool, deliver, stats()).once())
    assert spool.done == [1]


def test_stopping_cuts_and_delivers_once_more() -> None:
    spool, delivered = FakeSpool([5, 6]), []

    async def deliver(batch: Batch) -> None:
        delivered.append(batch.totals.seen.bytes)

    async def scenario() -> None:
        stop = asyncio.Event()
        stop.set()
        await make(spool, deliver, stats(interval=3600)).run(stop)

    asyncio.run(scenario())
    assert (delivered, spool.done) == ([5], [1])


def test_a_batch_left_by_an_earlier_agent_is_delivered_before_the_first_interval() -> None:
    spool, delivered = FakeSpool([5, 6], sequence=1, under_way=True), []

    async def scenario() -> None:
        stop = asyncio.Event()

        async def deliver(batch: Batch) -> None:
            delivered.append(batch.totals.seen.bytes)
            stop.set()

        await make(spool, deliver, stats(interval=3600)).run(stop)

    asyncio.run(scenario())
    assert (delivered, spool.done) == ([5, 6], [1, 2])


def test_a_delivery_that_never_ends_clears_nothing() -> None:
    spool = FakeSpool([5])

    async def scenario() -> None:
        started = asyncio.Event()

        async def deliver(_batch: Batch) -> None:
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(make(spool, deliver, stats()).once())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert (spool.done, spool.under_way) == ([], True)


def test_hooks_that_are_gone_are_noticed_while_a_delivery_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kzn.agent.loop.CHECK_SECONDS", 0.0)
    spool = FakeSpool([5], under_way=True, sequence=1)

    async def deliver(_batch: Batch) -> None:
        await asyncio.Event().wait()

    def check() -> None:
        raise KznError("link_ipv4 is gone")

    loop = Loop(cast(Spool, spool), deliver, stats(), check)
    with pytest.raises(KznError, match="link_ipv4 is gone"):
        asyncio.run(loop.run(asyncio.Event()))
    assert spool.done == []


def test_a_failed_cut_is_counted_and_the_agent_is_unhealthy_until_one_succeeds() -> None:
    spool, its = FakeSpool([5], fails=1), stats()

    async def deliver(_batch: Batch) -> None:
        return

    asyncio.run(make(spool, deliver, its).once())
    assert its.cut_failures == 1
    assert "read map flows_0: EIO" in its.unhealthy_reason()
    asyncio.run(make(spool, deliver, its).once())
    assert (its.batches, its.unhealthy_reason()) == (1, "")


def test_a_batch_that_cannot_be_cleared_is_counted_and_cleared_later_and_not_sent_again() -> None:
    spool, its, delivered = FakeSpool([5, 6], clear_fails=2), stats(), []

    async def deliver(batch: Batch) -> None:
        delivered.append(batch.totals.seen.bytes)

    loop = make(spool, deliver, its)
    asyncio.run(loop.once())
    assert (its.clear_failures, its.cut_failures, delivered) == (1, 0, [5])
    assert "ENOMEM" in its.unhealthy_reason()
    asyncio.run(loop.once())
    assert (its.clear_failures, its.cut_failures, delivered) == (1, 1, [5])
    asyncio.run(loop.once())
    assert (delivered, spool.done, its.unhealthy_reason()) == ([5, 6], [1, 2], "")


def test_a_retired_set_that_cannot_be_cleared_is_emptied_by_another_try() -> None:
    spool, delivered = FakeSpool([5, 6], clear_fails=1), []

    async def deliver(batch: Batch) -> None:
        delivered.append(batch.totals.seen.bytes)

    with pytest.raises(KernelError):
        asyncio.run(empty(cast(Spool, spool), deliver))
    asyncio.run(empty(cast(Spool, spool), deliver))
    assert delivered == [5, 6]


def test_a_batch_counts_once_however_often_it_is_cut() -> None:
    spool, its = FakeSpool([5]), stats()
    tries = []

    async def deliver(_batch: Batch) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise asyncio.CancelledError

    loop = make(spool, deliver, its)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(loop.once())
    asyncio.run(loop.once())
    assert its.batches == 1
    assert its.bytes["seen", ""] == 5


@pytest.mark.parametrize("seen", [[5, 6], [0, 6], [5, 0], [0, 0], [5]])
def test_a_retired_set_is_emptied_to_the_last_byte(seen: list[int]) -> None:
    spool, delivered = FakeSpool(seen), []

    async def deliver(batch: Batch) -> None:
        delivered.append(batch.totals.seen.bytes)

    asyncio.run(empty(cast(Spool, spool), deliver))
    assert delivered == [size for size in seen if size]
    assert spool.done[-2:] == [spool.sequence - 1, spool.sequence]


def test_programs_do_not_go_dormant_while_the_server_is_away() -> None:
    spool = FakeSpool([5])

    async def scenario() -> None:
        stop = asyncio.Event()

        async def deliver(_batch: Batch) -> None:
            stop.set()
            await asyncio.sleep(1000.0)

        await make(spool, deliver, stats()).run(stop)

    play(scenario())
    assert spool.awake >= 1000.0 // CHECK_SECONDS
    assert spool.looks.count(True) >= 1000.0 // CHECK_SECONDS - 1  # the other buffer fills up
    assert spool.done == [1, 2]
