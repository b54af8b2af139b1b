"""The writer: segments, merges, rollups; what a kill leaves is cleaned at the next start."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from historic import bytes_of, rows_of

from kzn.history import writer as writer_module
from kzn.history.books import Books, Gap, load
from kzn.history.retention import Keep
from kzn.history.segments import DAY, HOUR, LEVELS, Segment, listing
from kzn.history.writer import WriteError, Writer
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


def test_a_segment_is_sorted_and_has_the_names(opened: Writer, tmp_path: Path) -> None:
    sums = opened.write(1, rows((0, 1, 1, 5), (1, 0, 2, 7), (0, 1, 0, 1 << 40)), {})
    assert sums == {"cross_zone": Sum(1, 5), "unresolved": Sum(1, 7), "same_zone": Sum(1, 1 << 40)}
    found = rows_of(tmp_path, columns="dst_workload, src_pod, class, reason, protocol, bytes")
    assert found == [
        ("db's", "web-1", "cross_zone", "", "tcp", 5),
        ("db's", "web-1", "same_zone", "", "tcp", 1 << 40),
        ("web", "db-0", "unresolved", "ambiguous", "tcp", 7),
    ]
    assert load(tmp_path) == Books(0, 1, sums)


def test_a_number_is_written_once(opened: Writer, tmp_path: Path) -> None:
    opened.write(1, rows((0, 1, 1, 5)), {})
    assert opened.write(1, rows((0, 1, 1, 5)), {}) == {}
    assert bytes_of(tmp_path) == {"cross_zone": 5}


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
    for level in LEVELS:
        assert bytes_of(tmp_path, level) == {"cross_zone": 48 * 49 // 2, "same_zone": 48}
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
