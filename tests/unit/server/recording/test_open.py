"""The store of a directory: what it refuses so that the limit of the manifests holds."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from questions import ENDS, T0, VERDICTS, settled
from spooled import SmallHistory

from kzn.daemon.http.messages import BusyError
from kzn.history.export_query import Export
from kzn.history.query import TrafficQuery
from kzn.history.retention import Keep
from kzn.history.segments import HOUR
from kzn.history.writer import Writer
from kzn.server.config import HistoryOptions
from kzn.server.recording.open import ExportStream, HistoryStore

EXPORT = Export(TrafficQuery(T0, T0 + HOUR, limit=0))


def test_one_export_at_a_time(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    history.write(0)

    async def run() -> None:
        store = HistoryStore(HistoryOptions(tmp_path, Keep()))
        first = await store.export(EXPORT)
        with pytest.raises(BusyError, match="another export"):
            await store.export(EXPORT)
        await first.aclose()
        second = await store.export(EXPORT)
        assert b"".join([piece async for piece in second]).startswith(b"time,")
        await second.aclose()
        await store.close()

    asyncio.run(run())


def test_an_export_that_is_left_half_way_makes_room_for_the_next(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "00000001", VERDICTS, Keep())
    writer.add_ends(ENDS, anew=True)
    flows: list[tuple[int, ...]] = [(0, 0, 1, port, 6, 1, 1, 7) for port in range(20_000)]
    writer.write(1, settled(flows), {})
    writer.close()

    async def run() -> None:
        store = HistoryStore(HistoryOptions(tmp_path, Keep()))
        for _ in range(2):
            export = await store.export(EXPORT)
            async with asyncio.timeout(60):
                assert [piece async for piece in _first(export)]
                process = export._process._process
                assert process is not None
                assert process.stdout is not None
                while not process.stdout._paused:  # type: ignore[attr-defined]  # noqa: ASYNC110
                    await asyncio.sleep(0)
                await export.aclose()
        await store.close()

    asyncio.run(run())


async def _first(export: ExportStream) -> AsyncIterator[bytes]:
    async for piece in export:
        yield piece
        return


def test_a_woken_store_answers_and_is_woken_again_after_its_process_ended(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    history.write(0)

    async def run() -> None:
        store = HistoryStore(HistoryOptions(tmp_path, Keep()))
        for _ in range(2):
            store.wake()
            store.wake()
            store._thread.submit(int).result()
            assert store._reader.is_running
            await store.ask(TrafficQuery(T0, T0 + HOUR))
            store._reader.close()
        await store.close()
        store.wake()
        assert not store._reader.is_running

    asyncio.run(run())


def test_a_query_without_an_answer_in_time_is_counted_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SmallHistory(tmp_path).write(0)

    async def run() -> None:
        store = HistoryStore(HistoryOptions(tmp_path, Keep()))
        with monkeypatch.context() as patched:
            patched.setattr(store._reader, "deadline", lambda: 0.0)
            with pytest.raises(BusyError, match="no turn") as caught:
                await store.ask(TrafficQuery(T0, T0 + HOUR))
        assert caught.value.reason == "answer_timeout"
        await store.ask(TrafficQuery(T0, T0 + HOUR))
        await store.close()

    asyncio.run(run())


def test_a_store_whose_process_cannot_start_says_so_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))

    async def run() -> None:
        store = HistoryStore(HistoryOptions(tmp_path, Keep()))
        store.wake()
        with pytest.raises(BusyError):
            await store.ask(TrafficQuery(T0, T0 + HOUR))
        await store.close()

    asyncio.run(run())
