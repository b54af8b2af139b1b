"""One task delivers a spool: errors are repeated, refusals counted, an end is orderly."""

import asyncio
from pathlib import Path

from spooled import LIMIT, SERVER, RecordingSink, SmallHistory

from kzn.sinks.declaration import FinishedSegment, LaterError, RefusedError
from kzn.sinks.deliver import Deliveries, Delivery
from kzn.sinks.spool import Amount, Spool


async def closed(spool: Spool, sink: RecordingSink, *, put_seconds: float = 30) -> Deliveries:
    """Everything delivered, as at the end of a server."""
    deliveries = Deliveries(
        [Delivery(spool, sink, put_seconds=put_seconds, first_backoff=0.001, wall=lambda: 0.0)]
    )
    async with deliveries.running():
        await asyncio.sleep(0)
        await deliveries.close(30)
    return deliveries


def test_segments_arrive_to_the_byte_and_the_sink_is_closed(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    written = [history.write(minute) for minute in (0, 61)]
    spool, sink = history.spool(), RecordingSink()
    spool.adopt()
    (counts,) = asyncio.run(closed(spool, sink)).counts()
    assert sink.got == {one.name: one.path(tmp_path).read_bytes() for one in written}
    assert sink.is_closed
    assert counts.delivered == Amount(2, sum(map(len, sink.got.values())))
    assert (counts.waiting, counts.failures) == (Amount(), 0)


def test_a_segment_comes_again_after_any_error_of_a_sink(tmp_path: Path) -> None:
    errors: list[BaseException] = [
        LaterError("the engine is away"),
        OSError("reset"),
        RuntimeError(),
        KeyError("defect"),
        asyncio.CancelledError(),
    ]
    history = SmallHistory(tmp_path)
    one, two = history.write(0), history.write(61)

    def fail(call: int) -> None:
        if call <= len(errors):
            raise errors[call - 1]

    spool, sink = history.spool(), RecordingSink(fail)
    spool.adopt()
    (counts,) = asyncio.run(closed(spool, sink)).counts()
    assert sink.order == [one.name] * 6 + [two.name]
    assert (counts.delivered.segments, counts.failures) == (2, 5)


def test_what_a_sink_refuses_is_dropped_with_its_reason(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    refused, strange = history.write(0), history.write(1)
    history.write(61)

    def refuse(call: int) -> None:
        if call < 3:
            raise RefusedError("no", reason="too_wide" if call == 1 else 'a"b')

    spool, sink = history.spool(), RecordingSink(refuse)
    spool.adopt()
    (counts,) = asyncio.run(closed(spool, sink)).counts()
    sizes = history.sizes()
    assert counts.dropped == {
        "too_wide": Amount(1, sizes[refused.name]),
        "refused": Amount(1, sizes[strange.name]),
    }
    assert counts.delivered.segments == 1


def test_a_sink_that_gives_no_answer_is_cancelled_and_tried_again(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    one = history.write(0)

    class Slow(RecordingSink):
        async def put(self, segment: FinishedSegment) -> None:
            self.calls += 1
            assert segment.name == one.name
            if self.calls == 1:
                await asyncio.Event().wait()

    spool, sink = history.spool(), Slow()
    spool.adopt()
    (counts,) = asyncio.run(closed(spool, sink, put_seconds=0.01)).counts()
    assert (counts.delivered.segments, counts.failures, sink.calls) == (1, 1, 2)
    assert one.path(tmp_path).exists()


def test_a_spool_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    class Failing(Spool):
        calls = 0

        def first(self) -> FinishedSegment | None:
            self.calls += 1
            if self.calls < 3:
                raise OSError(5, "Input/output error")
            return super().first()

    history = SmallHistory(tmp_path)
    one = history.write(0)
    spool, sink = Failing(tmp_path, SERVER, "test", "test://", LIMIT), RecordingSink()
    spool.adopt()
    (counts,) = asyncio.run(closed(spool, sink)).counts()
    assert (sink.order, counts.failures) == ([one.name], 2)


def test_a_sink_that_cancels_its_own_end_holds_up_no_other(tmp_path: Path) -> None:
    class Cancelling(RecordingSink):
        async def close(self) -> None:
            raise asyncio.CancelledError

    history = SmallHistory(tmp_path)
    history.write(0)
    spool = history.spool()
    spool.adopt()
    (counts,) = asyncio.run(closed(spool, Cancelling())).counts()
    assert counts.delivered.segments == 1


def test_a_task_that_is_cancelled_ends_with_any_reaction_of_the_sink(tmp_path: Path) -> None:
    begun = asyncio.Event()

    class Defiant(RecordingSink):
        async def put(self, segment: FinishedSegment) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise LaterError(segment.name) from None

    async def run() -> None:
        history, sink = SmallHistory(tmp_path), Defiant()
        history.write(0)
        spool = history.spool()
        spool.adopt()
        running = asyncio.create_task(Delivery(spool, sink).run())
        await asyncio.wait_for(begun.wait(), 30)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=30)
        assert done

    asyncio.run(run())


def test_an_end_does_not_wait_for_a_sink_that_is_away(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    history.write(0)

    def away(_: int) -> None:
        raise LaterError("away")

    async def run() -> Amount:
        spool, sink = history.spool(), RecordingSink(away)
        spool.adopt()
        deliveries = Deliveries([Delivery(spool, sink)])
        async with deliveries.running():
            await asyncio.sleep(0)
            await deliveries.close(0.05)
        assert sink.is_closed
        return deliveries.counts()[0].waiting

    assert asyncio.run(run()).segments == 1


def test_a_segment_that_comes_later_is_delivered(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)

    async def run() -> list[str]:
        spool, sink, got = history.spool(), RecordingSink(), asyncio.Event()
        sink.before = lambda _: got.set()
        running = asyncio.create_task(Delivery(spool, sink).run())
        await asyncio.sleep(0)
        one = history.write(0)
        await asyncio.to_thread(spool.add, one)
        await asyncio.wait_for(got.wait(), 30)
        running.cancel()
        assert sink.order == [one.name]
        return sink.order

    assert asyncio.run(run())
