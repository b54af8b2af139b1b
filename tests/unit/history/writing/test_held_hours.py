"""Rows that are held are those of just the files that they are taken for."""

import numpy as np
import pytest

from kzn.history.segments import HOUR, Segment
from kzn.history.writing import held_hours
from kzn.history.writing.end_names import EndNames
from kzn.history.writing.held_hours import HeldHours
from kzn.model.settled import SETTLED, End

NAMES = EndNames()
NAMES.add([End("Pod", "n", "Deployment", "w", "p", "n", "a", "r", "10.0.0.1")], {})


def segment(number: int, kind: str = "m", hour: int = 0) -> Segment:
    return Segment(hour * HOUR, "00000001", number, kind)


def held(*numbers: int, rows: int = 1) -> HeldHours:
    found = HeldHours()
    for number in numbers:
        part = np.zeros(rows, SETTLED)
        part["bytes"] = number
        found.add(segment(number), part, NAMES)
    return found


def numbers(found: HeldHours, *files: Segment) -> list[int] | None:
    rows = found.rows_of(files)
    return None if rows is None else sorted(rows["bytes"].tolist())


def test_an_hour_is_all_of_its_files_or_nothing() -> None:
    found = held(1, 2)
    assert numbers(found, segment(1), segment(2)) == [1, 2]
    assert numbers(found, segment(1)) is None
    assert numbers(found, segment(1), segment(2), segment(3)) is None
    assert numbers(found, segment(1, hour=1)) is None


def test_the_merged_file_stands_for_what_it_has() -> None:
    found = held(1, 2)
    found.merged(segment(2, "h"), [segment(1), segment(2)])
    assert numbers(found, segment(2, "h")) == [1, 2]
    assert numbers(found, segment(2)) is None
    found.add(segment(3), np.zeros(1, SETTLED), NAMES)
    assert numbers(found, segment(2, "h"), segment(3)) == [0, 1, 2]


def test_a_merge_of_more_than_is_held_ends_what_is_held() -> None:
    found = held(2)
    found.merged(segment(2, "h"), [segment(1, "h"), segment(2)])
    assert numbers(found, segment(2, "h")) is None
    assert numbers(found, segment(2)) is None


def test_the_largest_hours_are_forgotten_when_they_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(held_hours, "MAX_ROWS", 10)
    found = held(1, 2, rows=4)
    found.add(segment(3, hour=1), np.zeros(2, SETTLED), NAMES)
    assert numbers(found, segment(1), segment(2)) is not None
    found.add(segment(4, hour=1), np.zeros(1, SETTLED), NAMES)
    assert numbers(found, segment(1), segment(2)) is None
    assert numbers(found, segment(3, hour=1), segment(4, hour=1)) == [0, 0, 0]
    found.add(segment(5), np.zeros(1, SETTLED), NAMES)
    assert numbers(found, segment(1), segment(2), segment(5)) is None


def test_all_is_forgotten_when_names_change() -> None:
    found = held(1)
    found.clear()
    assert numbers(found, segment(1)) is None


def test_of_a_large_hour_the_sums_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_hours, "MAX_OF_HOUR", 5)
    found = held(1, 2, 3, 4, 5)
    files = [segment(number) for number in range(1, 6)]
    assert numbers(found, *files) == [1, 2, 3, 4, 5]
    for number in (6, 7, 8):
        part = np.zeros(2, SETTLED)
        part["bytes"] = number
        found.add(segment(number), part, NAMES)
    files += [segment(number) for number in (6, 7, 8)]
    assert numbers(found, *files) is None
    sums = found.sums_of(files, NAMES)
    assert sums is not None
    for part in (sums.pairs, sums.sent, sums.received):
        assert part["bytes"].tolist() == [1 + 2 + 3 + 4 + 5 + 2 * (6 + 7 + 8)]
    assert found.sums_of(files[1:], NAMES) is None
