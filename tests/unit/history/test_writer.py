"""The writer: segments, merges, rollups; what a kill leaves is cleaned at the next start."""

import errno
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from historic import bytes_of, rows_of

from kzn.history import writer as writer_module
from kzn.history.books import Books, Gap, load, sync_directory
from kzn.history.retention import Keep
from kzn.history.segments import DAY, FOLDERS, HOUR, LEVELS, Level, Segment, listing
from kzn.history.writer import WriteError, Writer
from kzn.history.writing.merging import Merging
from kzn.model.settled import SETTLED, End, Sum

T0 = 1_795_651_200  # 2026-11-26T00:00:00Z
VERDICTS = [("same_zone", ""), ("cross_zone", ""), ("unresolved", "ambiguous")]
WEB = End("Pod", "shop", "Deployment", "web", "web-1", "n1", "a", "r", "10.0.0.1")
DB = End("Pod", "shop", "StatefulSet", "db's", "db-0", "n2", "b", "r", "10.0.0.2")


def rows(*found: tuple[int, int, int, int], minute: int = T0) -> Any:
    """Rows of (source, destination, verdict, bytes)."""
    made = np.zeros(len(found), SETTLED)
    made["time"] = minute
    for name, column in zip(
        ("src", "dst", "verdict", "bytes"), zip(*found, strict=True), strict=True
    ):
        made[name] = column
    made["packets"], made["port"], made["protocol"], made["initiator"] = 1, 443, 6, 1
    return made


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    made = Writer(tmp_path, "00000001", VERDICTS, Keep())
    made.add_ends([WEB, DB], anew=True)
    yield made
    made.close()


def again(opened: Writer, root: Path) -> Writer:
    opened.close()
    made = Writer(root, "00000001", VERDICTS, Keep())
    made.add_ends([WEB, DB], anew=True)
    return made


def drained(opened: Writer, now: float) -> None:
    while opened.maintain(now):
        pass


def test_a_segment_is_sorted_and_has_the_names(opened: Writer, tmp_path: Path) -> None:
    sums = opened.write(1, rows((0, 1, 1, 5), (1, 0, 2, 7), (0, 1, 0, 1 << 40)), {})
    assert sums == {"cross_zone": Sum(1, 5), "unresolved": Sum(1, 7), "same_zone": Sum(1, 1 << 40)}
    found = rows_of(tmp_path, columns="dst_workload, src_pod, class, reason, protocol, bytes")
    assert [row[0] for row in found] == ["db's", "db's", "web"]
    assert sorted(found) == [
        ("db's", "web-1", "cross_zone", "", "tcp", 5),
        ("db's", "web-1", "same_zone", "", "tcp", 1 << 40),
        ("web", "db-0", "unresolved", "ambiguous", "tcp", 7),
    ]
    assert load(tmp_path) == Books(0, 1, sums, since=T0, checked=writer_module.CHECKED)


def test_a_number_is_written_once(opened: Writer, tmp_path: Path) -> None:
    opened.write(1, rows((0, 1, 1, 5)), {})
    assert opened.write(1, rows((0, 1, 1, 5)), {}) == {}
    assert bytes_of(tmp_path) == {"cross_zone": 5}


def test_a_segment_whose_folder_cannot_be_synced_is_not_there(
    opened: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are counted as dropped, so they must not be in answers as well."""

    def failing(path: Path) -> None:
        if any(path.glob("*.parquet")):
            raise OSError(5, "Input/output error")
        sync_directory(path)

    with monkeypatch.context() as patch:
        patch.setattr(writer_module, "sync_directory", failing)
        with pytest.raises(WriteError) as error:
            opened.write(1, rows((0, 1, 1, 5)), {})
    assert error.value.reason == "io"
    assert list((tmp_path / "raw").glob("*/*")) == []
    opened.write(2, rows((0, 1, 1, 7)), {})
    assert bytes_of(tmp_path) == {"cross_zone": 7}
    assert opened.books.recorded == {"cross_zone": Sum(1, 7)}


def test_hours_and_days_are_merged_when_they_are_over(opened: Writer, tmp_path: Path) -> None:
    for number in range(1, 49):
        minute = T0 + (number - 1) * HOUR // 2
        opened.write(number, rows((0, 1, 1, number), (1, 0, 0, 1), minute=minute), {})
    assert not opened.maintain(T0 + HOUR)  # late minutes may come
    while opened.maintain(T0 + DAY + 2 * HOUR):
        pass
    found = listing(tmp_path)
    assert [one.kind for one in found.levels["raw"]] == ["h"] * 24
    assert [one.number for one in found.levels["hour"]] == [*range(2, 49, 2)]
    assert [one.name for one in found.levels["day"]] == [f"d{T0}-00000001-48.parquet"]
    assert [one.name for one in found.levels["node_day"]] == [f"nd{T0}-00000001-48.parquet"]
    for level in LEVELS:
        assert bytes_of(tmp_path, level) == {"cross_zone": 48 * 49 // 2, "same_zone": 48}
    for level in ("node_hour", "node_day"):  # sent and received
        assert bytes_of(tmp_path, level) == {"cross_zone": 48 * 49, "same_zone": 96}
    assert rows_of(tmp_path, "day", "count(*), min(epoch(time)), max(epoch(time))") == [(2, T0, T0)]


def test_late_minutes_are_merged_into_what_is_there(opened: Writer, tmp_path: Path) -> None:
    opened.write(1, rows((0, 1, 1, 5)), {})
    later = T0 + DAY + 2 * HOUR
    while opened.maintain(later):
        pass
    opened.write(2, rows((0, 1, 1, 7)), {})
    assert bytes_of(tmp_path) == {"cross_zone": 12}
    while opened.maintain(later):
        pass
    for level in LEVELS:
        assert bytes_of(tmp_path, level) == {"cross_zone": 12}


def test_an_hour_whose_minutes_are_gone_is_closed(opened: Writer, tmp_path: Path) -> None:
    opened.write(1, rows((0, 1, 1, 5)), {})
    while opened.maintain(T0 + 5 * DAY):
        pass
    assert listing(tmp_path).levels["raw"] == []
    with pytest.raises(WriteError) as caught:
        opened.write(2, rows((0, 1, 1, 7)), {})
    assert caught.value.reason == "too_late"
    assert bytes_of(tmp_path, "hour") == {"cross_zone": 5}


@pytest.mark.parametrize(("kind", "level"), [("r", "day"), ("nr", "node_day")])
def test_a_day_is_not_made_without_an_hour_that_failed(
    opened: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, level: Level
) -> None:
    for hour in range(3):
        opened.write(hour + 1, rows((0, 1, 1, 5 + hour), minute=T0 + hour * HOUR), {})
    make = opened._make

    def failing(segment: Segment, content: Any) -> None:
        if segment.kind == kind and segment.begin == T0 + HOUR:
            raise OSError(errno.ENOSPC, "No space left on device")
        make(segment, content)

    later = T0 + DAY + 2 * HOUR
    with monkeypatch.context() as patch:
        patch.setattr(opened, "_make", failing)
        with pytest.raises(WriteError):
            drained(opened, later)
    assert listing(tmp_path).levels[level] == []
    while opened.maintain(later):
        pass
    assert bytes_of(tmp_path, level) == {"cross_zone": 18 if level == "day" else 36}


def test_what_fails_again_and_again_is_tried_less_often_and_stops_nothing_else(
    opened: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(2):
        opened.write(hour + 1, rows((0, 1, 1, 5 + hour), minute=T0 + hour * HOUR), {})
    publish, tried = opened._publish, []

    def failing(segment: Segment, temporary: Path, size: int) -> None:
        if segment.kind == "nr" and segment.begin == T0:
            tried.append(at)
            raise OSError(errno.EIO, "Input/output error")
        publish(segment, temporary, size)

    with monkeypatch.context() as patch:
        patch.setattr(opened, "_publish", failing)
        for at in range(0, 3 * HOUR, 60):
            with suppress(WriteError):
                drained(opened, T0 + 3 * HOUR + at)
    assert tried == [60 * minute for minute in (0, 1, 2, 4, 8, 16, 32, 64, 124)]
    assert bytes_of(tmp_path, "hour") == {"cross_zone": 11}
    assert bytes_of(tmp_path, "node_hour") == {"cross_zone": 12}
    drained(opened, T0 + 7 * HOUR)
    assert bytes_of(tmp_path, "node_hour") == {"cross_zone": 22}


def hanging(root: Path) -> tuple[Path, bytes]:
    """The first minute's file, which cannot be opened until a writer comes, and what it had."""
    slow = Segment(T0, "00000001", 1, "m").path(root)
    content = slow.read_bytes()
    slow.unlink()
    os.mkfifo(slow)
    return slow, content


def test_minutes_are_written_while_a_merge_takes_its_time(
    opened: Writer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file that cannot be opened until a writer comes stands for a disk that is slow."""
    monkeypatch.setattr(writer_module, "TELL_SECONDS", 0.0)
    for number in (1, 2):
        opened.write(number, rows((0, 1, 1, number)), {})
    opened.close()
    slow, content = hanging(tmp_path)
    opened = Writer(tmp_path, "00000001", VERDICTS, Keep(raw=2 * HOUR), patience=0.0)
    opened.add_ends([WEB, DB], anew=True)
    later = T0 + 4 * HOUR
    for number in (3, 4):
        assert opened.maintain(later)
        opened.write(number, rows((0, 1, 1, number), minute=T0 + HOUR * number), {})
    assert f"h{T0}-00000001-2.parquet of 2 files takes" in caplog.text
    assert opened.books.recorded == {"cross_zone": Sum(4, 10)}
    assert [one.number for one in listing(tmp_path).levels["raw"]] == [1, 2, 3, 4]
    slow.rename(tmp_path / "fifo")
    slow.write_bytes(content)
    os.close(os.open(tmp_path / "fifo", os.O_RDWR))  # the merge fails, and is tried again
    for _ in range(2):
        with suppress(WriteError):
            drained(opened, later + 2 * HOUR)
    assert bytes_of(tmp_path, "hour") == {"cross_zone": 10}
    opened.close()


def test_a_full_disk_does_not_end_the_check_of_rollups(
    opened: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_root: Path, _books: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    opened.books = replace(opened.books, checked=0)
    monkeypatch.setattr(writer_module, "save", full)
    assert opened.maintain(T0)
    assert opened.books.checked == writer_module.CHECKED
    assert not opened.maintain(T0)


def test_a_writer_ends_although_a_merge_goes_on(
    opened: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "END_SECONDS", 0.0)
    for number in (1, 2):
        opened.write(number, rows((0, 1, 1, number)), {})
    opened.close()
    slow, content = hanging(tmp_path)
    opened = Writer(tmp_path, "00000001", VERDICTS, Keep(), patience=0.0)
    assert opened.maintain(T0 + 2 * HOUR)
    opened.close()
    slow.rename(tmp_path / "fifo")
    slow.write_bytes(content)
    os.close(os.open(tmp_path / "fifo", os.O_RDWR))
    opened = again(opened, tmp_path)
    drained(opened, T0 + 2 * HOUR)
    assert bytes_of(tmp_path, "hour") == {"cross_zone": 3}
    opened.close()


def test_what_another_server_recorded_is_merged_rolled_up_and_removed(
    opened: Writer, tmp_path: Path
) -> None:
    """A directory has one writer, with any number: without its marker it gets a new one."""
    for number in (1, 2):
        opened.write(number, rows((0, 1, 1, number)), {})
    opened.close()
    (tmp_path / "books.json").unlink()
    opened = Writer(tmp_path, "00000002", VERDICTS, Keep())
    assert (opened.books.number, opened.books.recorded) == (0, {})
    opened.add_ends([WEB, DB], anew=True)
    opened.write(1, rows((0, 1, 1, 5)), {})
    drained(opened, T0 + DAY + 2 * HOUR)
    found = listing(tmp_path)
    assert [one.name for one in found.levels["raw"]] == [
        f"h{T0}-00000001-2.parquet",
        f"m{T0}-00000002-1.parquet",
    ]
    for level in FOLDERS:
        double = 1 + (level in {"node_hour", "node_day"})
        assert bytes_of(tmp_path, level) == {"cross_zone": 8 * double}
    drained(opened, T0 + 5 * DAY)
    assert listing(tmp_path).levels["raw"] == []
    assert opened.books.recorded == {"cross_zone": Sum(1, 5)}
    opened.close()


def test_days_of_nodes_that_lack_an_hour_are_made_again_after_an_upgrade(
    opened: Writer, tmp_path: Path
) -> None:
    """As versions of before made them; a day that cannot be made again is a gap."""
    for day in range(2):
        for hour in range(2):
            minute = T0 + day * DAY + hour * HOUR
            opened.write(2 * day + hour + 1, rows((0, 1, 1, 5), minute=minute), {})
    later = T0 + 5 * DAY  # the minutes are gone
    drained(opened, later)
    opened.close()
    merging = Merging(tmp_path, 1 << 30)
    found = listing(tmp_path)
    for day, short in enumerate(found.levels["node_day"]):
        hours = [one for one in found.levels["node_hour"] if one.begin // DAY * DAY == short.begin]
        short.path(tmp_path).unlink()
        merging.make("node_day", [hours[-1].path(tmp_path)], short.path(tmp_path))
        if not day:
            hours[0].path(tmp_path).unlink()
    merging.close()
    assert bytes_of(tmp_path, "node_day") == {"cross_zone": 20}
    books = json.loads((tmp_path / "books.json").read_text())
    del books["checked"]
    (tmp_path / "books.json").write_text(json.dumps(books))
    opened = again(opened, tmp_path)
    drained(opened, later)
    assert [one.begin for one in listing(tmp_path).levels["node_day"]] == [T0 + DAY]
    assert bytes_of(tmp_path, "node_day") == {"cross_zone": 20}
    assert opened.books.checked == writer_module.CHECKED
    opened.close()


def test_files_are_removed_although_the_books_cannot_be_saved(
    opened: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.write(1, rows((0, 1, 1, 5)), {})
    while opened.maintain(T0 + 3 * HOUR):
        pass

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer_module, "save", full)
        opened.write(2, rows((0, 1, 1, 7), minute=T0 + 4 * DAY), {})
        assert opened.maintain(T0 + 4 * DAY)
        assert [one.number for one in listing(tmp_path).levels["raw"]] == [2]
        with pytest.raises(WriteError) as caught:
            opened.maintain(T0 + 4 * DAY)
        assert caught.value.reason == "disk_full"
    while opened.maintain(T0 + 4 * DAY):
        pass
    assert load(tmp_path) == opened.books
    assert bytes_of(tmp_path, "hour") == {"cross_zone": 5}


def test_a_full_disk_is_a_reason_and_leaves_nothing(
    opened: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WriteError) as caught:
            opened.write(1, rows((0, 1, 1, 5)), {})
    assert caught.value.reason == "disk_full"
    assert [*tmp_path.glob("raw/*/*")] == []
    opened.write(2, rows((0, 1, 1, 6)), {"disk_full": {"cross_zone": Sum(1, 5)}})
    assert opened.books.dropped == {"disk_full": {"cross_zone": Sum(1, 5)}}
    assert bytes_of(tmp_path) == {"cross_zone": 6}


def test_what_a_killed_writer_left_is_swept_and_counted(opened: Writer, tmp_path: Path) -> None:
    opened.write(1, rows((0, 1, 1, 5)), {})
    opened.write(2, rows((0, 1, 1, 6)), {})
    first = Segment(T0, "00000001", 1, "m").path(tmp_path)
    kept = first.read_bytes()
    books = (tmp_path / "books.json").read_bytes()
    opened.write(3, rows((0, 1, 1, 7)), {})
    (tmp_path / "books.json").write_bytes(books)  # killed after the rename, before the books
    (first.parent / "m1-00000001-9.parquet.tmp").write_bytes(b"half")
    after = again(opened, tmp_path)
    assert after.books.recorded == {"cross_zone": Sum(3, 18)}
    assert [*tmp_path.glob("raw/*/*.tmp")] == []
    while after.maintain(T0 + 2 * HOUR):
        pass
    first.write_bytes(kept)  # killed after the merge, before its sources were removed
    last = again(after, tmp_path)
    assert not first.exists()
    assert bytes_of(tmp_path) == {"cross_zone": 18}
    assert last.books.recorded == {"cross_zone": Sum(3, 18)}
    last.close()


def test_nothing_is_merged_before_the_books_have_it(
    opened: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_root: Path, _books: Books) -> None:
        raise OSError(28, "No space left on device")

    opened.write(1, rows((0, 1, 1, 5)), {})
    with monkeypatch.context() as patch:
        patch.setattr(writer_module, "save", full)
        opened.write(2, rows((0, 1, 1, 6)), {})
        with pytest.raises(WriteError):
            opened.maintain(T0 + 2 * HOUR)
    assert again(opened, tmp_path).books.recorded == {"cross_zone": Sum(2, 11)}


def test_gaps_and_drops_are_durable(opened: Writer, tmp_path: Path) -> None:
    opened.open_books(4, {"cross_zone": Sum(1, 9)})
    gap = Gap(T0, T0 + 60, "io", 3)
    opened.note({"io": {"cross_zone": Sum(1, 3)}}, [gap], T0 + 60)
    found = load(tmp_path)
    assert found is not None
    assert (found.gaps, found.until, found.instance) == ((gap,), T0 + 60, 4)
    assert found.accounted() == {"cross_zone": Sum(2, 12)}


def test_a_damaged_file_is_moved_aside_and_stops_nothing(opened: Writer, tmp_path: Path) -> None:
    for number in range(1, 5):
        opened.write(number, rows((0, 1, 1, number), minute=T0 + (number - 1) * HOUR // 2), {})
    bad = listing(tmp_path).levels["raw"][0].path(tmp_path)
    bad.write_bytes(b"no Parquet")
    opened = again(opened, tmp_path)  # one that still has the rows would not read the file
    with pytest.raises(WriteError, match=bad.name) as caught:
        opened.maintain(T0 + 4 * HOUR)
    assert caught.value.reason == "damaged"
    assert bad.with_name(bad.name + ".damaged").read_bytes() == b"no Parquet"
    while opened.maintain(T0 + 4 * HOUR):
        pass
    assert bytes_of(tmp_path, "hour") == {"cross_zone": 2 + 3 + 4}
    stored = load(tmp_path)
    assert stored is not None
    assert stored.gaps == (Gap(T0, T0 + HOUR, "damaged", 0),)
    opened.close()


def test_a_damaged_segment_that_the_books_lack_does_not_stop_the_start(
    opened: Writer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened.write(1, rows((0, 1, 1, 5)), {})
    path = tmp_path / "raw/2026-11-26" / f"m{T0}-00000001-2.parquet"
    path.write_bytes(b"half a file")
    opened = again(opened, tmp_path)
    assert (opened.books.number, opened.books.recorded) == (1, {"cross_zone": Sum(1, 5)})
    assert path.name in caplog.text
    assert not path.exists()
    opened.close()


def test_rows_of_an_end_that_was_not_told_are_refused(opened: Writer, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="1 of 2 rows") as caught:
        opened.write(1, rows((0, 1, 1, 5), (0, 7, 1, 6)), {})
    assert caught.value.reason == "io"
    assert bytes_of(tmp_path) == {}
