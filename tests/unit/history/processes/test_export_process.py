"""Exports through a pipe: back-pressure, an end that comes too early, a client that goes."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from questions import ENDS, T0, VERDICTS, settled

from kzn.errors import KznError, UsageError
from kzn.history.export_query import Export
from kzn.history.processes.export_process import About, ExportProcess
from kzn.history.query import TrafficQuery
from kzn.history.retention import Keep
from kzn.history.segments import HOUR
from kzn.history.writer import Writer

ROWS = 40_000
SPAN = TrafficQuery(T0, T0 + HOUR, limit=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("history")
    writer = Writer(found, "00000001", VERDICTS, Keep())
    writer.add_ends(ENDS, anew=True)
    rows = settled([(0, 0, 1, 443, 6, 1, 1, 1)]).repeat(ROWS)
    rows["port"], rows["bytes"] = range(ROWS), range(1, ROWS + 1)
    writer.write(1, rows, {})
    writer.close()
    return found


async def whole(process: ExportProcess) -> bytes:
    await process.begin()
    try:
        return b"".join([piece async for piece in process.pieces()])
    finally:
        await process.end()


def test_all_rows_arrive(root: Path) -> None:
    process = ExportProcess(root, Export(SPAN))
    lines = asyncio.run(whole(process)).decode().splitlines()
    assert process.about == About(T0, T0 + HOUR, "minutes", ROWS)
    assert len(lines) == ROWS + 1
    assert sum(int(line.rpartition(",")[2]) for line in lines[1:]) == ROWS * (ROWS + 1) // 2


def test_an_error_comes_before_the_first_piece(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the limit is 7"):
        asyncio.run(whole(ExportProcess(root, Export(SPAN, rows=7))))
    with pytest.raises(KznError, match="no such directory"):
        asyncio.run(whole(ExportProcess(tmp_path / "none", Export(SPAN))))
    with pytest.raises(UsageError, match="could not begin"):
        asyncio.run(whole(ExportProcess(root, Export(SPAN), prepare_seconds=0.0)))


def test_who_does_not_read_makes_it_wait_and_its_end_is_an_error(root: Path) -> None:
    async def run() -> None:
        process = ExportProcess(root, Export(SPAN))
        await process.begin()
        pieces = process.pieces()
        first = await anext(pieces)
        assert first.startswith(b"time,src_kind,")
        child = process._process
        assert child is not None
        assert child.returncode is None  # megabytes wait in it, not here
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(KznError, match="before it was complete"):
            [piece async for piece in pieces]
        await process.end()

    asyncio.run(run())


def test_its_end_kills_the_process(root: Path) -> None:
    async def run() -> None:
        process = ExportProcess(root, Export(SPAN))
        await process.begin()
        child = process._process
        assert child is not None
        await process.end()
        assert child.returncode == -signal.SIGKILL
        await process.end()

    asyncio.run(run())


def test_an_export_that_takes_too_long_is_an_error(root: Path) -> None:
    process = ExportProcess(root, Export(SPAN), write_seconds=0.0)
    with pytest.raises(KznError, match="longer than 0 s"):
        asyncio.run(whole(process))
