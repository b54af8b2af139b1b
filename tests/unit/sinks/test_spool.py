"""The spool of a sink: nothing is left out or comes twice, over restarts, merges and its limit."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from calls import calls_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from questions import T0
from spooled import LIMIT, SERVER, SmallHistory

from kzn.errors import KznError
from kzn.history.segments import HOUR, Segment
from kzn.sinks import spool as spool_module
from kzn.sinks.spool import Amount, Spool, open_spools


def drained(spool: Spool) -> list[str]:
    """The names of everything that waits, delivered."""
    found: list[str] = []
    while (segment := spool.first()) is not None:
        assert segment.size == len(segment.path.read_bytes())
        found.append(segment.name)
        spool.delivered(segment)
    return found


def test_segments_are_delivered_in_order_and_counted(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    spool = history.spool()
    spool.adopt()
    written = [history.write(minute) for minute in (0, 1, 61)]
    for one in written:
        spool.add(one)
    size = sum(history.sizes().values())
    assert spool.counts(0).waiting == Amount(3, size)
    assert drained(spool) == [one.name for one in written]
    counts = spool.counts(0)
    assert (counts.delivered, counts.waiting, counts.dropped) == (Amount(3, size), Amount(), {})
    assert counts.lag == 0


def test_a_sink_that_lags_gets_minutes_that_are_merged_meanwhile(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    spool = history.spool()
    minutes = [history.write(minute) for minute in range(3)]
    for one in minutes:
        spool.add(one)
    history.merge(T0 + 2 * HOUR)
    assert [path for path in history.sizes() if path.startswith("m")] == []
    again = history.spool()
    again.adopt()
    assert drained(again) == [one.name for one in minutes]


def test_a_first_start_delivers_what_the_history_has(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    for minute in (0, 1, 60, 61):
        history.write(minute)
    history.merge(T0 + HOUR + 200)
    last = history.write(125)
    spool = history.spool()
    spool.adopt()
    merged = [name for name in history.sizes() if name.startswith("h")]
    minutes = [name for name in history.sizes() if name.startswith("m")]
    assert len(merged) == 1
    assert sorted(drained(spool)) == sorted([*merged, *minutes])
    assert last.name in minutes


def test_a_segment_that_a_killed_server_wrote_is_adopted(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    spool = history.spool()
    spool.add(history.write(0))
    unseen = history.write(1)
    again = history.spool()
    again.adopt()
    assert drained(again)[1:] == [unseen.name]


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_kill_after_a_delivery_delivers_nothing_twice(tmp_path: Path, is_removed: bool) -> None:
    """The journal is saved, then the link is removed; a kill may come between."""
    history = SmallHistory(tmp_path)
    spool = history.spool()
    one, two = history.write(0), history.write(1)
    spool.add(one)
    spool.add(two)
    first = spool.first()
    assert first is not None
    content = first.path.read_bytes()
    spool.delivered(first)
    if not is_removed:
        first.path.write_bytes(content)
    again = history.spool()
    again.adopt()
    assert drained(again) == [two.name]
    assert again.counts(0).delivered.segments == 2


def test_what_it_takes_to_adopt_is_in_proportion_to_the_segments(tmp_path: Path) -> None:
    def adopted(segments: int) -> int:
        root = tmp_path / str(segments)
        (root / "raw" / "2026-11-26").mkdir(parents=True)
        for number in range(1, segments + 1):
            Segment(T0, SERVER, number, "m").path(root).write_bytes(b"content")
        (spool,) = open_spools(root, SERVER, [("one", "dir:///target")], LIMIT)
        calls = calls_of(spool.adopt)
        assert spool.counts(0).waiting.segments == segments
        return calls

    assert adopted(400) < 2.5 * adopted(200)


def test_an_hour_that_was_merged_while_there_was_no_sink_is_counted(tmp_path: Path) -> None:
    """The sink has its first minutes, so the merged file cannot be delivered."""
    history = SmallHistory(tmp_path)
    spool = history.spool()
    spool.add(history.write(0))
    assert len(drained(spool)) == 1
    history.write(1)
    history.write(60)
    history.write(61)
    history.merge(T0 + 3 * HOUR)
    again = history.spool()
    again.adopt()
    sizes = history.sizes()
    first, second = sorted(sizes)
    assert again.counts(0).dropped == {"merged": Amount(1, sizes[first])}
    assert drained(again) == [second]


def test_beyond_the_limit_the_oldest_are_dropped(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    written = [history.write(minute) for minute in range(5)]
    sizes = [history.sizes()[one.name] for one in written]
    spool = history.spool(limit=sum(sizes[3:]))
    for one in written:
        spool.add(one)
    counts = spool.counts(0)
    assert counts.dropped == {"spool_full": Amount(3, sum(sizes[:3]))}
    assert counts.waiting == Amount(2, sum(sizes[3:]))
    assert drained(spool) == [one.name for one in written[3:]]


def test_many_are_dropped_by_one_change_of_the_journal_also_by_a_kill_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = SmallHistory(tmp_path)
    written = [history.write(minute) for minute in range(6)]
    sizes = history.sizes()
    spool = history.spool(limit=1)
    saved: list[None] = []
    real = spool_module._write
    with monkeypatch.context() as patch:
        patch.setattr(spool_module, "_write", lambda *known: saved.append(real(*known)))
        patch.setattr(Path, "unlink", lambda *_known, **_also: None)
        spool.adopt()
    assert len(saved) == 2  # what it adopts, and what it drops of that
    (folder,) = (tmp_path / "spool").iterdir()
    assert len([*folder.glob("m*.parquet")]) == 6
    again = history.spool(limit=1)
    again.adopt()
    assert again.counts(0).dropped == {
        "spool_full": Amount(5, sum(sizes[one.name] for one in written[:5]))
    }
    assert drained(again) == [written[5].name]


def test_many_links_that_someone_removed_are_one_change_of_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = SmallHistory(tmp_path)
    for minute in range(4):
        history.write(minute)
    spool = history.spool()
    spool.adopt()
    (folder,) = (tmp_path / "spool").iterdir()
    for path in folder.glob("m*.parquet"):
        path.unlink()
    saved: list[None] = []
    real = spool_module._write
    monkeypatch.setattr(spool_module, "_write", lambda *known: saved.append(real(*known)))
    assert spool.first() is None
    assert spool.counts(0).dropped["gone"].segments == 4
    assert len(saved) == 1


def test_what_was_dropped_while_it_was_delivered_is_not_delivered_as_well(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    one, two = history.write(0), history.write(1)
    spool = history.spool(limit=1)
    spool.add(one)
    under_way = spool.first()
    assert under_way is not None
    spool.add(two)
    spool.delivered(under_way)
    counts = spool.counts(0)
    assert (counts.delivered.segments, counts.waiting.segments) == (0, 1)
    assert counts.dropped["spool_full"].segments == 1


def test_a_file_that_someone_removed_and_one_that_cannot_be_linked_are_counted(
    tmp_path: Path,
) -> None:
    history = SmallHistory(tmp_path)
    spool = history.spool()
    one = history.write(0)
    size = history.sizes()[one.name]
    spool.add(one)
    (tmp_path / "spool" / "test" / one.name).unlink()
    two = history.write(1)
    two.path(tmp_path).unlink()
    spool.add(two)
    assert spool.first() is None
    assert spool.counts(0).dropped == {"io": Amount(1, 0), "gone": Amount(1, size)}


def test_a_new_sink_gets_all_hours_in_any_order_of_their_numbers(tmp_path: Path) -> None:
    """Late data give an older hour the higher number."""
    history = SmallHistory(tmp_path)
    for minute in (60, 61, 0, 1):
        history.write(minute)
    history.merge(T0 + 3 * HOUR)
    spool = history.spool()
    spool.adopt()
    assert spool.counts(0).dropped == {}
    assert sorted(drained(spool)) == sorted(history.sizes())
    assert len(history.sizes()) == 2


def merged_after_minutes(root: Path, target: str = "test://h/d") -> tuple[SmallHistory, str]:
    """A history of which a sink has two minutes, one that was merged since; the hour's file."""
    history = SmallHistory(root)
    (spool,) = open_spools(root, SERVER, [("test", target)], LIMIT)
    spool.adopt()
    for minute in (0, 1):
        spool.add(history.write(minute))
    assert len(drained(spool)) == 2
    history.merge(T0 + 3 * HOUR)
    (name,) = history.sizes()
    return history, name


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("test://h/d", "test://h/d?tls=yes&user-file=/x&keep=raw=9d"),
        ("test://h/d?endpoint=http://h&a=1", "test://h/d?endpoint=http://h"),
        ("test://h/d", "test://h/d/"),
    ],
)
def test_options_that_say_how_do_not_begin_anew(tmp_path: Path, before: str, after: str) -> None:
    merged_after_minutes(tmp_path, before)
    (again,) = open_spools(tmp_path, SERVER, [("test", after)], LIMIT)
    again.adopt()
    assert drained(again) == []
    assert again.counts(0).delivered.segments == 2


def test_a_journal_with_all_of_a_url_is_understood(tmp_path: Path) -> None:
    merged_after_minutes(tmp_path)
    journal = tmp_path / "spool" / "test" / "journal.json"
    found = json.loads(journal.read_text())
    journal.write_text(json.dumps(found | {"target": "test://h/d?keep=raw=9d"}))
    (again,) = open_spools(tmp_path, SERVER, [("test", "test://h/d")], LIMIT)
    again.adopt()
    assert (drained(again), again.counts(0).delivered.segments) == ([], 2)


def test_a_sink_that_was_not_there_at_a_start_gets_nothing_twice(tmp_path: Path) -> None:
    """What waited goes there when it is back; hours that were merged meanwhile are counted."""
    history, _ = merged_after_minutes(tmp_path)
    (spool,) = open_spools(tmp_path, SERVER, [("test", "test://h/d")], LIMIT)
    spool.add(history.write(120))
    assert open_spools(tmp_path, SERVER, [], LIMIT) == []
    assert [path.name for path in (tmp_path / "spool").glob("*/*")] == ["journal.json"]
    waited = history.write(121)
    (again,) = open_spools(tmp_path, SERVER, [("test", "test://h/d")], LIMIT)
    again.adopt()
    found = drained(again)
    assert len(found) == 2
    assert found[1] == waited.name
    assert again.counts(0).delivered.segments == 4


def test_a_sink_under_another_name_goes_on(tmp_path: Path) -> None:
    merged_after_minutes(tmp_path)
    (again,) = open_spools(tmp_path, SERVER, [("new", "test://h/d?name=new")], LIMIT)
    again.adopt()
    assert (drained(again), again.counts(0).delivered.segments) == ([], 2)
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["new"]


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"layout": 9}', '{"layout": 1}'])
def test_without_its_journal_a_sink_gets_no_hour_of_which_it_may_have_minutes(
    tmp_path: Path, text: str | None
) -> None:
    history, merged = merged_after_minutes(tmp_path)
    journal = tmp_path / "spool" / "test" / "journal.json"
    journal.unlink()
    if text is not None:
        journal.write_text(text)
    (again,) = open_spools(tmp_path, SERVER, [("test", "test://h/d")], LIMIT)
    late = history.write(125)
    again.adopt()
    assert again.counts(0).dropped == {"merged": Amount(1, history.sizes()[merged])}
    assert drained(again) == [late.name]


def test_without_its_journal_a_sink_gets_what_waits(tmp_path: Path) -> None:
    history, _ = merged_after_minutes(tmp_path)
    (spool,) = open_spools(tmp_path, SERVER, [("test", "test://h/d")], LIMIT)
    waiting = [history.write(minute) for minute in (120, 121)]
    for one in waiting:
        spool.add(one)
    (tmp_path / "spool" / "test" / "journal.json").unlink()
    (again,) = open_spools(tmp_path, SERVER, [("test", "test://h/d")], LIMIT)
    again.adopt()
    assert drained(again) == [one.name for one in waiting]


def test_what_a_killed_server_linked_without_noting_it_does_not_come_twice(tmp_path: Path) -> None:
    """Killed in its first adoption, then without the sink until the hour was merged."""
    history = SmallHistory(tmp_path)
    minutes = [history.write(minute) for minute in (0, 1)]
    spool = history.spool()
    for one in minutes:
        (tmp_path / "spool" / "test" / one.name).hardlink_to(one.path(tmp_path))
    history.merge(T0 + 3 * HOUR)
    spool = history.spool()
    spool.adopt()
    assert drained(spool) == list(history.sizes())


def test_the_journal_is_synced_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = SmallHistory(tmp_path)
    one = history.write(0)
    spool, done = history.spool(), list[str]()
    journal = tmp_path / "spool" / "test" / "journal.json"
    sync, rename = os.fsync, Path.replace

    def noted_sync(file: int) -> None:
        done.append("sync")
        sync(file)

    def noted_rename(path: Path, to: Path) -> Path:
        done.append("rename")
        return rename(path, to)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_rename)
    spool.add(one)
    assert done == ["sync", "rename", "sync"]
    assert json.loads(journal.read_text())["number"] == one.number


def test_another_target_and_another_history_begin_anew(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    spool = history.spool()
    spool.add(history.write(0))
    assert len(drained(spool)) == 1
    other = history.spool(target="test://elsewhere")
    other.adopt()
    assert other.counts(0).delivered.segments == 0
    assert len(drained(other)) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"layout": 9}', '{"layout": 1}'])
def test_a_damaged_journal_delivers_everything_again(tmp_path: Path, text: str) -> None:
    history = SmallHistory(tmp_path)
    spool = history.spool()
    spool.add(history.write(0))
    assert len(drained(spool)) == 1
    (tmp_path / "spool" / "test" / "journal.json").write_text(text)
    again = history.spool()
    again.adopt()
    assert len(drained(again)) == 1


def test_a_spool_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(KznError, match="spool"):
        Spool(tmp_path, "00000001", "test", "test://", 1)


def test_the_lag_is_the_age_of_the_oldest(tmp_path: Path) -> None:
    history = SmallHistory(tmp_path)
    spool = history.spool()
    one = history.write(0)
    spool.add(one)
    since = one.path(tmp_path).stat().st_mtime
    assert spool.counts(since + 30).lag == pytest.approx(30)


class Course:
    """A history and its sink through steps; flows have sizes of powers of two."""

    def __init__(self, root: Path) -> None:
        self.root, self.history = root, SmallHistory(root)
        self.minute, self.written = 60, 0
        self.got: dict[str, int] = {}
        self.restart()

    def _next(self, minute: int) -> Segment:
        size = self.written + 1
        self.written += size
        return self.history.write(minute, size)

    def restart(self, options: str = "") -> None:
        (self.spool,) = open_spools(self.root, SERVER, [("test", f"test://h/d?{options}")], LIMIT)
        self.spool.adopt()

    def options(self) -> None:
        self.restart("tls=yes")

    def lost(self) -> None:
        (self.root / "spool" / "test" / "journal.json").unlink()
        self.restart()

    def away(self) -> None:
        open_spools(self.root, SERVER, [], LIMIT)
        for _ in range(2):
            self._next(self.minute)
        self.merge()
        self.restart()

    def write(self) -> None:
        self.spool.add(self._next(self.minute))

    def late(self) -> None:
        self.spool.add(self._next(self.minute - 60))

    def hour(self) -> None:
        self.minute += 60

    def merge(self) -> None:
        self.history.merge(T0 + 60 * self.minute + 2 * HOUR)
        self.minute += 60

    def take(self) -> None:
        """The target ignores a name that it has."""
        segment = self.spool.first()
        if segment is not None:
            rows = duckdb.execute("SELECT sum(bytes) FROM read_parquet(?)", [str(segment.path)])
            ((size,),) = rows.fetchall()
            self.got[segment.name] = int(size)
            self.spool.delivered(segment)


STEPS = (
    *(Course.write, Course.late, Course.hour, Course.merge, Course.take),
    *(Course.restart, Course.options, Course.away, Course.lost),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=25))
def test_each_flow_is_delivered_once_under_any_schedule(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Callable[[Course], None]]
) -> None:
    course = Course(tmp_path_factory.mktemp("history"))
    for step in steps:
        step(course)
    while course.spool.counts(0).waiting.segments:
        course.take()
    total = 0
    for size in course.got.values():
        assert total & size == 0, "a flow is there twice"
        total |= size
    if not course.spool.counts(0).dropped and Course.lost not in steps:
        assert total == course.written
    course.history.writer.close()
