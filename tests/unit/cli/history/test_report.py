"""`kzn report` and `kzn diff` on the files of a history."""

import json
from pathlib import Path

import pytest
from questions import ENDS, T0, VERDICTS, settled

from kzn.cli import main
from kzn.errors import EXIT_FAULT, EXIT_OK, EXIT_USAGE
from kzn.history.retention import Keep
from kzn.history.writer import Writer

FLOWS: list[tuple[int, ...]] = [(0, 0, 2, 443, 6, 1, 1, 700), (1, 1, 0, 443, 6, 0, 2, 30)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    writer = Writer(tmp_path, "00000001", VERDICTS, Keep())
    writer.add_ends(ENDS, anew=True)
    writer.write(1, settled(FLOWS), {})
    writer.close()
    return tmp_path


def test_a_month_of_files_has_bytes_and_no_cost(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["report", "--history", str(root), "--month", "2026-11", "--by", "workload"]
    assert main.run([*command, "--format", "json"]) == EXIT_OK
    found = json.loads(capsys.readouterr().out)
    assert found["rows"][0]["name"] == "shop/Deployment/web"
    assert (found["total"]["bytes"], found["total"]["crossed_bytes"]) == (730, 700)
    assert found["total"]["cost"] is None
    assert main.run(command) == EXIT_OK
    assert "Traffic between zones, 2026-11" in capsys.readouterr().out


@pytest.mark.parametrize("style", ["csv", "md", "html", "table"])
def test_a_file_is_written_as_a_whole(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    path = tmp_path / "report-2026-11"
    command = ["report", "--history", str(root), "--month", "2026-11", "--format", style]
    assert main.run([*command, "-o", str(tmp_path / "report-{period}")]) == EXIT_OK
    assert capsys.readouterr().out == ""
    assert "shop" in path.read_text()
    assert not list(tmp_path.glob(".report*"))


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--month", "2026-13"], EXIT_USAGE, "is not a month"),
        (["--month", "2026-11", "--previous"], EXIT_USAGE, "exclude each other"),
        (["--last", "1y"], EXIT_USAGE, "is not a duration"),
        (["--month", "2999-01"], EXIT_FAULT, "has not begun"),
        (["--year", "2001"], EXIT_FAULT, "the history has nothing of that time"),
        (["-o", "/nowhere/at/all"], EXIT_USAGE, "does not exist"),
        (["--where", "colour=red"], EXIT_USAGE, "is not a filter"),
        (["--month", "2026-11", "--post-to", "/nowhere"], EXIT_USAGE, "No such file"),
    ],
)
def test_what_is_wrong_with_a_report_is_named(
    root: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, message: str
) -> None:
    assert main.run(["report", "--history", str(root), *options]) == code
    assert message in capsys.readouterr().err


def test_a_young_history_says_what_it_has(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And which options have an answer."""
    command = ["--history", str(root)]
    writer = Writer(root, "00000001", VERDICTS, Keep())
    writer.note({}, [], T0 + 240)
    writer.close()
    span = "it has 2026-11-26T00:00:00Z to 2026-11-26T00:04:00Z"
    assert main.run(["report", *command, "--year", "2001"]) == EXIT_FAULT
    assert f"{span}: --month 2026-11" in capsys.readouterr().err
    assert main.run(["diff", *command, "--after", f"{T0}..{T0 + 60}"]) == EXIT_FAULT
    error = capsys.readouterr().err
    assert span in error
    _, _, hint = error.partition("the halves of that: ")
    assert main.run(["diff", *command, *hint.split()]) == EXIT_OK


def test_two_windows_of_files(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    windows = ["--before", f"{T0}..{T0 + 60}", "--after", f"{T0 + 60}..{T0 + 120}"]
    command = ["diff", "--history", str(root), *windows]
    assert main.run([*command, "--json"]) == EXIT_OK
    found = json.loads(capsys.readouterr().out)
    assert found["total"]["before"]["crossed_bytes_per_hour"] == 700 * 60
    assert found["total"]["after"]["crossed_bytes_per_hour"] == 0
    assert main.run([*command, "--by", "zones"]) == EXIT_OK
    text = capsys.readouterr().out
    assert "100.0 % of the bytes crossed before, 0.0 % after; load is -95.7 %." in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--before", "1h..", "--after", "1h.."], "overlap"),
        (["--before", "soon"], "is not a time"),
        (["--where", "port"], "has no value"),
    ],
)
def test_what_is_wrong_with_a_comparison_is_named(
    root: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main.run(["diff", "--history", str(root), *options]) == EXIT_USAGE
    assert message in capsys.readouterr().err
