"""The sink ``dir``: whole copies, several servers, answers from the copies."""

import asyncio
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import enumerate as enumerate_threads

import pytest
from questions import T0
from spooled import SmallHistory

from kzn.errors import UsageError
from kzn.history.query import TrafficQuery
from kzn.history.reader import Reader
from kzn.history.segments import HOUR
from kzn.sinks.declaration import FinishedSegment, LaterError, RefusedError
from kzn.sinks.directory import DirectorySink, open_sink
from kzn.sinks.target import parse_target


def segments(root: Path, minutes: list[int]) -> list[FinishedSegment]:
    history = SmallHistory(root)
    spool = history.spool()
    for minute in minutes:
        spool.add(history.write(minute, 100 + minute))
    found: list[FinishedSegment] = []
    while (segment := spool.first()) is not None:
        found.append(replace(segment, path=root / "raw" / "2026-11-26" / segment.name))
        spool.delivered(segment)
    return found


def test_copies_of_two_servers_answer_as_one(tmp_path: Path) -> None:
    sink = open_sink(parse_target(f"dir://{tmp_path}/all"))
    for server, minutes in (("00000001", [0, 1]), ("0000000b", [0, 5])):
        for one in segments(tmp_path / server, minutes):
            name = one.name.replace("00000001", server)
            asyncio.run(sink.put(replace(one, name=name)))
    reader = Reader(tmp_path / "all")
    assert reader.ask(TrafficQuery(T0, T0 + HOUR)).total.bytes == 100 + 101 + 100 + 105
    reader.close()


def test_a_segment_that_comes_again_changes_nothing(tmp_path: Path) -> None:
    (one,) = segments(tmp_path / "history", [0])
    sink = DirectorySink(tmp_path / "copy")
    asyncio.run(sink.put(one))
    (copy,) = (tmp_path / "copy").glob("raw/*/*")
    before = copy.stat().st_ino
    asyncio.run(sink.put(one))
    assert copy.read_bytes() == one.path.read_bytes()
    assert copy.stat().st_ino == before
    copy.write_bytes(b"PAR1")
    asyncio.run(sink.put(one))
    assert copy.read_bytes() == one.path.read_bytes()
    asyncio.run(sink.close())


def test_a_folder_that_cannot_be_written_is_for_later(tmp_path: Path) -> None:
    (one,) = segments(tmp_path / "history", [0])
    (tmp_path / "copy").write_text("")
    with pytest.raises(LaterError, match="copy"):
        asyncio.run(DirectorySink(tmp_path / "copy").put(one))
    with pytest.raises(RefusedError):
        asyncio.run(DirectorySink(tmp_path / "other").put(replace(one, name="../../x")))


def test_a_copy_that_hangs_holds_up_nothing_and_is_tried_again_when_it_ends(tmp_path: Path) -> None:
    (one,) = segments(tmp_path / "history", [0])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # to open it waits for a writer

    async def run() -> None:
        sink = DirectorySink(tmp_path / "copy")
        hanging = replace(one, path=pipe)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sink.put(hanging), 0.05)
        for _ in range(50):
            with pytest.raises(LaterError, match="has not ended"):
                await sink.put(one)
        assert [thread.name for thread in enumerate_threads()].count("sink-dir") == 1
        await asyncio.to_thread(pipe.write_bytes, b"PAR1")
        async with asyncio.timeout(30):
            while True:
                with suppress(LaterError):
                    await sink.put(one)
                    break
                await asyncio.sleep(0)

    asyncio.run(run())
    (copy,) = (tmp_path / "copy").glob("raw/*/*")
    assert copy.read_bytes() == one.path.read_bytes()


def test_what_a_killed_server_left_is_removed_by_the_next_copy(tmp_path: Path) -> None:
    (one,) = segments(tmp_path / "history", [0])
    sink = DirectorySink(tmp_path / "copy")
    asyncio.run(sink.put(one))
    (copy,) = (tmp_path / "copy").glob("raw/*/*")
    copy.rename(copy.with_name(f"{copy.name}.12345678.tmp"))
    asyncio.run(sink.put(one))
    assert list((tmp_path / "copy").glob("raw/*/*")) == [copy]


@pytest.mark.parametrize("url", ["dir://host/path", "dir:///", "dir:///a?x=1"])
def test_what_is_not_a_folder_is_an_error(url: str) -> None:
    with pytest.raises(UsageError):
        open_sink(parse_target(url))
