"""Kill -9 at any instant: at most the open minute is lost, and its size is known to the byte."""

import json
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from historic import bytes_of, rows_of

from kzn.history.books import by_class, load
from kzn.history.directory import Journal
from kzn.history.segments import DAY, listing
from kzn.history.upkeep.tasks import tasks_of
from kzn.model.settled import ByClass, Sum

LIB = Path(__file__).parents[3] / "lib"
KILLS, SEED = 220, 15
STEP = 3600.0
"""Seconds of the victims' clock between two kills."""


class Victims:
    """The warm process of `history_victim`."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(LIB / "history_victim.py"), str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": ":".join([str(LIB), *sys.path])},
        )

    def start(self, seed: str, begin: float) -> tuple[int, Any]:
        """A new victim: its process id, and its books after the start."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seed} {begin}\n")
        self._process.stdin.flush()
        first, second = self._line(), self._line()
        pid, counts = sorted((first, second), key=len)
        return int(pid), json.loads(counts)

    def ended(self) -> None:
        """Wait for the victim's end."""
        assert self._line() == "ended"

    def close(self) -> None:
        """End the warm process."""
        self._process.kill()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.mark.slow
def test_a_kill_loses_at_most_the_open_minute_and_says_how_much(tmp_path: Path) -> None:
    chance = Random(SEED)
    victims = Victims(tmp_path)
    try:
        lost_before: ByClass = {}
        for number in range(KILLS):
            pid, counts = victims.start(f"{SEED}-{number}", 1e6 + number * STEP)
            _check_loss(tmp_path, counts, lost_before)
            lost_before = by_class(counts["lost"])
            time.sleep(chance.random() ** 2 * 0.4)
            subprocess.run(["kill", "-9", str(pid)], check=True)
            victims.ended()
            if number % 20 == 0:
                _check_files(tmp_path)
        _, counts = victims.start("end", 1e6 + KILLS * STEP)
        victims.ended()
    finally:
        victims.close()
    _check_files(tmp_path)
    books = load(tmp_path)
    assert books is not None
    assert books.lost == by_class(counts["lost"])
    assert books.accounted() == Journal(tmp_path).read()[1]
    found = listing(tmp_path)
    assert found.temporary == []
    assert found.covered == []
    # A victim that ran ahead of the next one's clock has made files that are due to be made again.
    due = {task.target.begin for task in tasks_of(found)}
    merged = {one.begin for one in found.levels["hour"]} - due
    days = {one.begin for one in found.levels["day"]} - {begin - begin % DAY for begin in due}
    assert len(merged) > 20
    assert len(days) > 3
    by_hour = _by_span(tmp_path, "raw", 3600)
    assert _of(_by_span(tmp_path, "hour", 3600), merged) == _of(by_hour, merged)
    by_day = _by_span(tmp_path, "hour", DAY)
    assert _of(_by_span(tmp_path, "day", DAY), days) == _of(by_day, days)


def _check_loss(root: Path, counts: Any, lost_before: ByClass) -> None:
    """What this start found lost was applied after the last flush that was complete."""
    ledger, flushed = by_class(counts["ledger"]), Journal(root / "flushed").read()[1]
    for name, lost in by_class(counts["lost"]).items():
        new = lost.minus(lost_before.get(name, Sum()))
        open_then = ledger.get(name, Sum()).minus(flushed.get(name, Sum()))
        assert 0 <= new.bytes <= open_then.bytes


def _check_files(root: Path) -> None:
    """The files have what the books have, or one segment more that the next start will add."""
    books = load(root)
    if books is None:
        return
    newer = [
        one for one in listing(root).levels["raw"] if one.kind == "m" and one.number > books.number
    ]
    assert len(newer) <= 1
    if not newer:
        found = {name: amount.bytes for name, amount in books.recorded.items()}
        assert bytes_of(root) == found


def _by_span(root: Path, level: Any, seconds: int) -> dict[int, int]:
    rows = rows_of(
        root,
        level,
        f"(epoch(time)::BIGINT // {seconds}) * {seconds} AS span, sum(bytes)",
        "GROUP BY span",
    )
    return {int(span): int(size) for span, size in rows}


def _of(sizes: dict[int, int], spans: set[int]) -> dict[int, int]:
    return {span: sizes[span] for span in spans}
