"""Notes for the next agent: written, read back, and tolerant of other folders."""

from pathlib import Path

import pytest

from kzn.agent.pins.notes import LONGEST_SECONDS, LastTrial, Notes


def test_a_trial_replaces_the_one_before_and_clears_the_suspicion(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    assert notes.last_trial() is None
    assert notes.suspect()
    assert notes.suspected_blind
    notes.record(LastTrial(100.0, 1))
    notes.record(LastTrial(5000.9, 2))
    assert notes.last_trial() == LastTrial(5000.0, 2)
    assert not notes.suspected_blind
    assert [path.name for path in tmp_path.iterdir()] == ["auto+examined+5000+2"]


def test_a_folder_with_a_malformed_name_is_not_a_trial(tmp_path: Path) -> None:
    for name in ("auto+examined+", "auto+examined+x+1", "auto+examined+5", "auto+examined+5+1+2"):
        (tmp_path / name).mkdir()
    assert Notes(tmp_path).last_trial() is None


def test_a_suspicion_that_cannot_be_written_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not Notes(tmp_path / "missing").suspect()
    assert "auto+distrusted" in caplog.text


@pytest.mark.parametrize(
    ("unchanged", "hours"), [(0, 1), (1, 2), (3, 8), (5, LONGEST_SECONDS / 3600), (9999, 24)]
)
def test_the_wait_doubles_with_each_trial_that_changes_nothing_up_to_a_day(
    unchanged: int, hours: float
) -> None:
    assert LastTrial(0.0, unchanged).next_seconds == min(hours, 24) * 3600
