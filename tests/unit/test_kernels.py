"""The table of docs/kernels.md has every cell of the guest suite and no failed one."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "kernels.md"
EXACT = {"result": "exact"}
OTHERS = {"wireguard", "wireguard elsewhere", "esp", "SCTP", "Service by IPVS"} | {
    "idle devices beside a VXLAN"
}
"""Rows of the table whose tests have no table of their own."""


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
        ("| not seen |", "| exact |", "exact, not not seen"),
        ("\n| VRF |", "\n| VRFs |", "VRF: missing, not exact"),
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


def test_a_table_that_is_written_from_the_rows_of_guests_has_every_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for folder in ("tests/vm", "tests/vm/guest"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    table, cells = importlib.import_module("table"), importlib.import_module("cells")
    rows = []
    for release in ("6.1.0-50", "6.12.95", "7.3.4"):
        refused = cells.lacking(release)
        for probe in cells.PROBES:
            how = {"result": "refused", "reason": refused[probe]} if probe in refused else EXACT
            head = {"kernel": release, "probe": probe}
            rows += [
                head | {"family": family, "traffic": kind} | how
                for family in cells.FAMILIES
                for kind in cells.TRAFFIC
            ]
        rows.append({"kernel": release, "probe": "auto", "takes": "clsact"} | EXACT)
        for name, others in cells.DEVICES.items():
            words = {probe: others.get(probe, "exact") for probe in cells.on_devices(release)}
            rows.append({"kernel": release, "device": name} | words)
    page = table.put(f"{table.BEGIN}\n{table.END}", table.rendered(rows))
    assert [*table.problems(page, ("6.1", "6.12", "7"))] == []
    failed = [row | {"result": "FAILED"} if row.get("device") == "VRF" else row for row in rows]
    page = table.put(page, table.rendered(failed))
    problems = [*table.problems(page, ("6.1", "6.12", "7"))]
    assert len(problems) == 5  # postrouting and tcx on two kernels, clsact on one
    assert all("VRF: FAILED" in problem for problem in problems)


def test_the_devices_of_the_table_are_those_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "vm" / "guest"))
    devices = set(importlib.import_module("cells").DEVICES)
    tried = {*importlib.import_module("layouts").LAYOUTS, *importlib.import_module("tunnels").KINDS}
    assert devices >= tried
    assert devices - tried == OTHERS
