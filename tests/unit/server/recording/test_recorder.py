"""The recorder: ledger = recorded + dropped + lost + open, by class, after any events."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest
from historic import (
    DB,
    JOB,
    NODES,
    STORE,
    WEB1,
    WEB2,
    HistoricWorld,
    InProcessWriter,
    bytes_by_class,
    bytes_of,
    rows_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from kzn.history.books import Books
from kzn.history.directory import Journal
from kzn.history.processes.framing import Payload
from kzn.history.processes.writer_process import RefusedSegmentError, WriterGoneError
from kzn.model.settled import ByClass, ClusterFacts, Sum, added
from kzn.server.recording import recorder as recorder_module
from kzn.server.recording.batches import SettledBatch
from kzn.server.recording.fold import Fold


def test_a_flow_becomes_a_row_with_both_ends(tmp_path: Path) -> None:
    async def run() -> None:
        world = HistoricWorld(tmp_path)
        await world.recorder.start(1)
        world.apply("n1", (WEB1, DB, 700), port=5432, flags=1)
        world.apply("n1", (WEB1, DB, 300), port=5432, flags=1)
        await world.recorder.close()

    asyncio.run(run())
    (row,) = rows_of(
        tmp_path,
        columns="epoch(time), src_kind, src_namespace, src_workload_kind, src_workload, src_pod,"
        " src_node, src_zone, src_region, src_address, dst_workload, dst_pod, dst_node, dst_zone,"
        " dst_address, port, protocol, class, reason, initiator, packets, bytes",
    )
    assert row == (
        *(1_000_000_980.0, "Pod", "shop", "Deployment", "web", "web-1", "n1", "a", "r", WEB1),
        *("db", "db-0", "n2", "b", DB, 5432, "tcp", "cross_zone", "", "source", 2, 1000),
    )


def test_rows_have_the_cluster_and_the_provider_ids_of_their_nodes(tmp_path: Path) -> None:
    facts = [ClusterFacts("", {"n1": "aws:///a/i-1"})]
    writer = InProcessWriter(tmp_path)

    async def run() -> None:
        world = HistoricWorld(tmp_path, writer, facts=lambda: facts[-1])
        await world.recorder.start(1)
        for now in (facts[0], ClusterFacts("east", {"n2": "aws:///b/i-2"})):
            facts.append(now)
            world.apply("n1", (WEB1, DB, 700))
            await world.recorder.flush()
        await world.recorder.close()

    asyncio.run(run())
    assert sorted(rows_of(tmp_path, columns="cluster, src_provider_id, dst_provider_id")) == [
        ("", "aws:///a/i-1", ""),
        ("east", "aws:///a/i-1", "aws:///b/i-2"),
    ]


def test_a_writer_that_is_started_again_is_told_the_cluster_again(tmp_path: Path) -> None:
    class Ends(InProcessWriter):
        ended = False

        def write(
            self, number: int, rows: Payload, dropped: Mapping[str, ByClass], until: int
        ) -> None:
            if number == 2 and not self.ended:
                self.ended = True
                raise WriterGoneError("it ended")
            super().write(number, rows, dropped, until)

    async def run() -> None:
        facts = ClusterFacts("east", {"n1": "aws:///a/i-1"})
        world = HistoricWorld(tmp_path, Ends(tmp_path), facts=lambda: facts)
        await world.recorder.start(1)
        for _ in range(2):
            world.apply("n1", (WEB1, DB, 700))
            await world.recorder.flush()
        await world.recorder.close()

    asyncio.run(run())
    assert rows_of(tmp_path, columns="cluster, src_provider_id") == [("east", "aws:///a/i-1")] * 2


def test_an_unresolved_flow_has_its_reason_and_an_external_one_its_address(tmp_path: Path) -> None:
    async def run() -> None:
        world = HistoricWorld(tmp_path)
        await world.recorder.start(1)
        world.apply("n1", (WEB1, "10.77.0.1", 7), (WEB1, "8.8.8.8", 9))
        world.settle()
        await world.recorder.close()
        assert world.recorder.books().missing() == {}

    asyncio.run(run())
    found = rows_of(
        tmp_path, columns="dst_kind, dst_address, class, reason, bytes", tail="ORDER BY bytes"
    )
    assert found == [
        ("Unknown", "10.77.0.1", "unresolved", "unknown_destination", 7),
        ("External", "8.8.8.8", "external", "", 9),
    ]


def test_a_minute_waits_for_the_commit_of_its_batches(tmp_path: Path) -> None:
    async def run() -> None:
        world = HistoricWorld(tmp_path)
        committed = asyncio.Event()

        async def durable() -> None:
            await committed.wait()

        world.recorder.durable = durable
        await world.recorder.start(1)
        world.apply("n1", (WEB1, DB, 700))
        flush = asyncio.create_task(world.recorder.flush())
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert bytes_of(tmp_path) == {}
        assert bytes_by_class(world.recorder.books().open) == {"cross_zone": 700}
        committed.set()
        await flush
        assert bytes_of(tmp_path) == {"cross_zone": 700}
        await world.recorder.close()

    asyncio.run(run())


@pytest.mark.parametrize("is_waiting", [True, False])
def test_what_does_not_fit_is_dropped_with_its_number(tmp_path: Path, *, is_waiting: bool) -> None:
    async def run() -> None:
        waiting, rows = (1, 100) if is_waiting else (100, 1)
        world = HistoricWorld(tmp_path, max_waiting=waiting, max_rows=rows)
        await world.recorder.start(1)
        world.apply("n1", (WEB1, DB, 5), (WEB1, WEB2, 6))
        world.apply("n1", (WEB1, JOB, 7))
        await world.recorder.flush()
        counts = world.recorder.books()
        assert counts.missing() == {}
        assert {r: bytes_by_class(s) for r, s in counts.dropped.items()} == {
            "queue_full": {"cross_zone": 11}
        }
        assert bytes_of(tmp_path) == {"cross_region": 7}
        await world.recorder.close()

    asyncio.run(run())


def test_absurd_counts_are_dropped_and_do_not_stop_the_history(tmp_path: Path) -> None:
    async def run() -> None:
        world = HistoricWorld(tmp_path)
        await world.recorder.start(1)
        for _ in range(20):
            world.apply("n1", (WEB1, DB, 1 << 60))
        world.apply("n1", (WEB1, DB, 9))
        await world.recorder.close()
        counts = world.recorder.books()
        assert counts.missing() == {}
        assert bytes_by_class(counts.dropped["overflow"]) == {"cross_zone": 20 << 60}

    asyncio.run(run())
    assert bytes_of(tmp_path) == {"cross_zone": 9}


def test_batches_of_one_turn_have_each_its_minute_and_its_age(tmp_path: Path) -> None:
    async def run() -> None:
        world = HistoricWorld(tmp_path)
        await world.recorder.start(1)
        together = [
            world.batch("n1", (WEB1, DB, 700), (WEB1, WEB2, 30)),
            world.batch("n2", (DB, WEB1, 4), age=300.0),
            world.batch("n3", (JOB, DB, 5), age=400 * 86400.0),
        ]
        assert world.pipeline.apply_all(together) == [None, None, None]
        await world.recorder.close()
        books = world.recorder.books()
        assert books.missing() == {}
        assert bytes_by_class(books.dropped["too_late"]) == {"cross_region": 5}
        assert bytes_by_class(books.recorded) == {"cross_zone": 734}
        assert sorted(
            rows_of(tmp_path, columns="epoch(time)::BIGINT, src_pod, dst_pod, bytes")
        ) == [
            (1_000_000_680, "db-0", "web-1", 4),
            (1_000_000_980, "web-1", "db-0", 700),
            (1_000_000_980, "web-1", "web-2", 30),
        ]

    asyncio.run(run())


def test_a_batch_older_than_the_minutes_that_are_kept_is_dropped(tmp_path: Path) -> None:
    async def run() -> None:
        world = HistoricWorld(tmp_path)
        await world.recorder.start(1)
        world.apply("n1", (WEB1, DB, 9), age=71 * 3600.0)
        world.apply("n1", (WEB1, DB, 10), age=69 * 3600.0)
        await world.recorder.close()
        counts = world.recorder.books()
        assert counts.missing() == {}
        assert bytes_by_class(counts.dropped["too_late"]) == {"cross_zone": 9}

    asyncio.run(run())
    assert bytes_of(tmp_path) == {"cross_zone": 10}


def test_merging_without_an_end_does_not_keep_the_next_minute_from_being_written(
    tmp_path: Path,
) -> None:
    class Busy(InProcessWriter):
        steps = 0

        def maintain(self, now: float) -> bool:
            self.steps += 1
            world.clock.seconds += 7
            return now < world.clock.wall() and self.steps < 100

    async def run() -> None:
        await world.recorder.start(1)
        for minute in (1, 2):
            world.apply("n1", (WEB1, DB, 5))
            await world.recorder.flush()
            assert bytes_of(tmp_path) == {"cross_zone": 5 * minute}
        await world.recorder.close()

    writer = Busy(tmp_path)
    world = HistoricWorld(tmp_path, writer)
    asyncio.run(run())
    assert writer.steps == 2 * 5  # of 7 seconds each, the last one begun within 30


class FailingWriter(InProcessWriter):
    """Fails as told by ``plan``, one word for each write: before or after it is durable."""

    def __init__(self, root: Path, plan: list[str]) -> None:
        super().__init__(root)
        self.plan = plan

    def write(self, number: int, rows: Payload, dropped: object, until: int) -> None:
        word = self.plan.pop(0) if self.plan else ""
        if word == "full":
            raise RefusedSegmentError("no space", reason="disk_full")
        if word == "before":
            self.close()
            raise WriterGoneError("gone")
        super().write(number, rows, dropped, until)  # type: ignore[arg-type]
        if word == "after":
            self.close()
            raise WriterGoneError("gone")


FAULTS = ["", "full", "before", "after"]


@settings(max_examples=12)
@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from([WEB1, WEB2, DB, JOB]),
                st.sampled_from([WEB1, WEB2, DB, JOB, STORE, "8.8.8.8", "10.77.0.1"]),
                st.one_of(st.integers(1, 10_000), st.just(1 << 52)),
                st.sampled_from([0.0, 70.0, 4000.0, 90_000.0]),
            ),
            st.sampled_from(["flush", "settle", "kill", "end"]),
        ),
        max_size=30,
    ),
    st.lists(st.sampled_from(FAULTS), max_size=8),
)
def test_the_books_close_for_any_events(
    tmp_path_factory: pytest.TempPathFactory, events: list[object], plan: list[str]
) -> None:
    root = tmp_path_factory.mktemp("history")
    asyncio.run(_run_events(root, events, plan))


async def _run_events(root: Path, events: list[object], plan: list[str]) -> None:
    """Kills and ends restart the recorder with the ledger's sums, as a state file does."""
    world = HistoricWorld(root, FailingWriter(root, plan))
    await world.recorder.start(7)
    lost: ByClass = {}
    for event in events:
        before = world.recorder.books()
        assert before.missing() == {}
        if isinstance(event, tuple):
            src, dst, size, age = event
            world.apply(NODES[src], (src, dst, size), age=age)
        elif event == "settle":
            world.settle()
        elif event == "flush":
            await world.recorder.flush()
        else:
            if event == "end":
                await world.recorder.close()
            dropped = world.recorder.books().dropped
            after = HistoricWorld(root, FailingWriter(root, plan), clock=world.clock)
            after.recorder.totals.sums = dict(world.recorder.totals.sums)
            after.pipeline.ledger = world.pipeline.ledger
            await after.recorder.start(7)
            if event == "end":
                assert after.recorder.books().lost == before.lost
                assert after.recorder.books().dropped == dropped
            world = after
            lost = world.recorder.books().lost
        counts = world.recorder.books()
        assert counts.missing() == {}
        assert counts.lost == lost
        assert {n: s for n, s in bytes_by_class(counts.ledger).items() if n != "unresolved"} == (
            world.ledger_by_class()
        )
    await world.recorder.close()
    counts = world.recorder.books()
    assert counts.missing() == {}
    assert counts.open == {}
    assert bytes_of(root) == bytes_by_class(counts.recorded)


def test_what_a_kill_lost_is_a_number_also_without_a_state_file(tmp_path: Path) -> None:
    async def run() -> None:
        world = HistoricWorld(tmp_path, journal=Journal(tmp_path))
        await world.recorder.start(1)
        world.apply("n1", (WEB1, DB, 700))
        await world.recorder.flush()
        world.apply("n1", (WEB1, DB, 50), (WEB1, WEB2, 5), (WEB1, JOB, 6))
        # The process is killed here; the next one has another ledger.
        after = HistoricWorld(tmp_path, journal=Journal(tmp_path), clock=world.clock)
        await after.recorder.start(2)
        counts = after.recorder.books()
        assert counts.ledger == counts.lost == counts.recorded == {}
        assert counts.lost_before == {"cross_zone": Sum(2, 55), "cross_region": Sum(1, 6)}
        await after.recorder.close()
        again = HistoricWorld(tmp_path, journal=Journal(tmp_path), clock=world.clock)
        await again.recorder.start(3)
        assert again.recorder.books().lost_before == {}
        await again.recorder.close()

    asyncio.run(run())
    assert bytes_of(tmp_path) == {"cross_zone": 700}


def test_a_writer_that_does_not_come_back_drops_with_a_reason_and_the_server_can_end(
    tmp_path: Path,
) -> None:
    class Dead(InProcessWriter):
        is_dead = False
        was_asked = threading.Event()

        def open(self) -> Books:
            if self.is_dead:
                self.was_asked.set()
                raise WriterGoneError("cannot be started")
            return super().open()

        def write(self, *_arguments: object) -> None:
            raise WriterGoneError("gone")

    async def run() -> None:
        writer = Dead(tmp_path)
        world = HistoricWorld(tmp_path, writer, max_rows=2)
        await world.recorder.start(1)
        writer.is_dead = True
        world.apply("n1", (WEB1, DB, 700))
        flush = asyncio.create_task(world.recorder.flush())
        await asyncio.to_thread(writer.was_asked.wait, 20)
        world.apply("n1", (WEB1, DB, 1), (WEB1, WEB2, 2), (WEB1, JOB, 3))
        close = asyncio.create_task(world.recorder.close())
        await asyncio.gather(flush, close)
        counts = world.recorder.books()
        assert counts.missing() == {}
        assert bytes_by_class(added(*counts.dropped.values())) == bytes_by_class(counts.ledger)
        assert set(counts.dropped) == {"writer_gone"}

    asyncio.run(run())


@pytest.mark.slow
def test_a_month_adds_up_by_hour_day_and_in_all(tmp_path: Path) -> None:
    """31 days, a batch every few minutes, late ones among them; against a plain dictionary."""
    seed = 15
    chance = Random(seed)
    expected: dict[tuple[int, str, str], int] = {}

    async def run() -> None:
        world = HistoricWorld(tmp_path)
        world.clock.seconds = 86_400 * 20.0
        await world.recorder.start(1)
        began = world.clock.wall()
        while world.clock.wall() < began + 31 * 86_400:
            for _ in range(chance.randrange(1, 4)):
                src, dst = chance.choice([WEB1, WEB2, DB, JOB]), chance.choice([DB, WEB1, STORE])
                if src == dst:
                    continue
                age, size = (
                    chance.choice([0.0, 0.0, 0.0, 5000.0, 40_000.0]),
                    chance.randrange(1, 10**9),
                )
                world.apply(NODES[src], (src, dst, size), age=age)
                closed = world.clock.wall() - age
                key = (int(-(-closed // 60) - 1) * 60, src, dst)
                expected[key] = expected.get(key, 0) + size
            if chance.random() < 0.3:
                await world.recorder.flush()
            world.clock.seconds += chance.choice([60, 200, 3000, 30_000])
        await world.recorder.flush()
        world.clock.seconds += 2 * 86_400
        await world.recorder.flush()
        assert world.recorder.books().missing() == {}
        await world.recorder.close()

    asyncio.run(run())
    names = {WEB1: "web", WEB2: "web", DB: "db", JOB: "job", STORE: "store"}
    for level, seconds in (("hour", 3600), ("day", 86_400)):
        plain: dict[tuple[int, str, str], int] = {}
        for (minute, src, dst), size in expected.items():
            key = (minute // seconds * seconds, names[src], names[dst])
            plain[key] = plain.get(key, 0) + size
        found = rows_of(
            tmp_path,
            level,  # type: ignore[arg-type]
            "epoch(time)::BIGINT, src_workload, dst_workload, sum(bytes)",
            "GROUP BY ALL",
        )
        assert {(t, src, dst): int(size) for t, src, dst, size in found} == plain
        assert sum(size for *_, size in found) == sum(expected.values())
        sent: dict[tuple[int, str], int] = {}
        received: dict[tuple[int, str], int] = {}
        for (minute, src, dst), size in expected.items():
            for sums, address in ((sent, src), (received, dst)):
                node = (minute // seconds * seconds, NODES.get(address, ""))
                sums[node] = sums.get(node, 0) + size
        for direction, side, sums in (("sent", "src", sent), ("received", "dst", received)):
            of_nodes = rows_of(
                tmp_path,
                f"node_{level}",  # type: ignore[arg-type]
                f"epoch(time)::BIGINT, {side}_node, sum(bytes)",
                f"WHERE direction = '{direction}' GROUP BY ALL",
            )
            assert {(t, node): int(size) for t, node, size in of_nodes} == sums


@pytest.mark.parametrize("step", ["add", "take"])
def test_an_error_of_the_fold_drops_the_open_minute_and_hangs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real, calls = getattr(Fold, step), iter([0, 1, 0])

    def fails_once(fold: Fold, *arguments: object) -> object:
        if next(calls, 0):
            raise MemoryError
        return real(fold, *arguments)

    async def run() -> HistoricWorld:
        world = HistoricWorld(tmp_path)
        await world.recorder.start(1)
        monkeypatch.setattr(Fold, step, fails_once)
        for size in (5, 7, 11):
            world.apply("n1", (WEB1, DB, size))
            await world.recorder.flush()
            assert world.recorder.books().missing() == {}
        await world.recorder.close()
        return world

    books = asyncio.run(run()).recorder.books()
    assert bytes_by_class(books.dropped["fault"]) == {"cross_zone": 7}
    assert bytes_of(tmp_path) == bytes_by_class(books.recorded) == {"cross_zone": 16}


def test_what_was_folded_before_an_error_is_dropped_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Fold.add, iter([0, 1])

    def fails_once(fold: Fold, batch: SettledBatch) -> str:
        reason = real(fold, batch)
        if next(calls, 0):
            raise ValueError("after the batch is in")
        return reason

    async def run() -> HistoricWorld:
        world = HistoricWorld(tmp_path)
        await world.recorder.start(1)
        monkeypatch.setattr(Fold, "add", fails_once)
        for size in (5, 7, 11):
            world.apply("n1", (WEB1, DB, size))
        await world.recorder.close()
        return world

    books = asyncio.run(run()).recorder.books()
    assert books.missing() == {}
    assert bytes_by_class(books.dropped["fault"]) == {"cross_zone": 12}
    assert bytes_of(tmp_path) == {"cross_zone": 11}


def test_owners_are_told_again_if_a_batch_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    async def run() -> HistoricWorld:
        world = HistoricWorld(tmp_path)
        await world.recorder.start(1)
        with monkeypatch.context() as patched:
            patched.setattr(recorder_module, "settled_batch", fail)
            world.apply("n1", (WEB1, DB, 5))
        world.apply("n1", (WEB1, DB, 7))
        await world.recorder.close()
        return world

    books = asyncio.run(run()).recorder.books()
    assert books.dropped == {}
    assert bytes_of(tmp_path) == bytes_by_class(books.recorded) == {"cross_zone": 7}
