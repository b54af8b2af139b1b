"""The table of docs/kernels.md has every cell of the guest suite and no failed one."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "kernels.md"


def check(page: Path) -> subprocess.CompletedProcess[str]:
    """Run the table check of tests/vm/run.py on a page."""
    command = [sys.executable, "tests/vm/run.py", "--check-table", "--page", str(page)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_committed_table_has_every_cell_of_the_suite() -> None:
    done = check(PAGE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("was", "becomes", "problem"),
    [
        ("| exact |", "| FAILED |", "FAILED, not exact"),
        ("| exact |", "| not tried |", "not tried, not exact"),
        ("| refused |", "| exact |", "exact, not refused"),
        ("| 6.12", "| 5.10", "0 kernels 6.12, not one"),
    ],
)
def test_a_table_with_a_failed_or_missing_cell_is_rejected(
    tmp_path: Path, was: str, becomes: str, problem: str
) -> None:
    page = tmp_path / "kernels.md"
    text = PAGE.read_text()
    assert was in text
    page.write_text(text.replace(was, becomes))
    done = check(page)
    assert done.returncode == 1
    assert problem in done.stdout
