"""The table of docs/kernels.md has every cell of the guest suite and no failed one."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
        ("| exact, encrypted |", "| not tried |", "esp: not tried, not exact, encrypted"),
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
    table, cells = _modules(monkeypatch)
    rows = _all_rows(cells)
    page = table.put(f"{table.BEGIN}\n{table.END}", table.rendered(rows))
    assert [*table.problems(page, ("6.1", "6.12", "7"))] == []
    failed = [row | {"result": "FAILED"} if row.get("device") == "VRF" else row for row in rows]
    page = table.put(page, table.rendered(failed))
    problems = [*table.problems(page, ("6.1", "6.12", "7"))]
    assert len(problems) == 5  # postrouting and tcx on two kernels, clsact on one
    assert all("VRF: FAILED" in problem for problem in problems)


def _modules(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    for folder in ("tests/vm", "tests/vm/guest"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    return importlib.import_module("table"), importlib.import_module("cells")


def _all_rows(cells: Any) -> list[dict[str, Any]]:
    """The rows of all guests of the suite `table`, as they are expected."""
    rows: list[dict[str, Any]] = []
    for release in ("6.1.0-50", "6.12.95", "7.3.4"):
        refused = cells.lacking(release)
        for probe in cells.PROBES:
            how = {"result": "refused", "reason": refused[probe]} if probe in refused else EXACT
            head = {"kernel": release, "layout": 4, "probe": probe}
            rows += [
                head | {"family": family, "traffic": kind} | how
                for family in cells.FAMILIES
                for kind in cells.TRAFFIC
            ]
        head = {"kernel": release, "layout": 4}
        rows.append(head | {"probe": "auto", "takes": "clsact"} | EXACT)
        for name, others in cells.DEVICES.items():
            words = {probe: others.get(probe, "exact") for probe in cells.on_devices(release)}
            rows.append(head | {"device": name} | words)
    return rows


def write(page: Path, *outputs: Path, suite: str = "table") -> subprocess.CompletedProcess[str]:
    """Write the rows in the outputs of runs to a page."""
    command = [sys.executable, "tests/vm/run.py", "--suite", suite, "--write-table"]
    command += ["--page", str(page), "--rows", *map(str, outputs)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def output(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """What a run printed, with these rows among its lines."""
    lines = [f"6.1  | .kzn-vm-result: {json.dumps(row)}" for row in rows]
    path.write_text("\n".join(["6.1  | kernel 6.1.0", *lines, "6.1  | kzn-vm-exit: 0", ""]))
    return path


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A copy of the page."""
    copy = tmp_path / "kernels.md"
    copy.write_text(PAGE.read_text())
    return copy


def test_the_outputs_of_single_runs_are_merged_and_the_last_row_of_a_cell_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: Path
) -> None:
    table, cells = _modules(monkeypatch)
    rows = _all_rows(cells)
    older = [row | {"result": "FAILED"} if row.get("device") == "VRF" else row for row in rows]
    first = output(tmp_path / "first", (row for row in older if row["kernel"] != "7.3.4"))
    second = output(tmp_path / "second", (row for row in older if row["kernel"] == "7.3.4"))
    third = output(tmp_path / "third", (row for row in rows if row.get("device") == "VRF"))
    assert write(page, first, second).returncode == 1
    assert page.read_text() == PAGE.read_text()
    done = write(page, first, second, third)
    assert done.returncode == 0, done.stdout + done.stderr
    assert table.put(PAGE.read_text(), table.rendered(rows)) == page.read_text()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda rows: rows[1:], "not tried, not refused"),
        (lambda _: [], "no results"),
        (lambda rows: [row for row in rows if "takes" not in row], "auto: not tried, not exact"),
        (lambda rows: [r | {"result": "FAILED"} if "takes" in r else r for r in rows], "auto"),
    ],
)
def test_rows_that_are_incomplete_or_wrong_are_not_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: Path, change: Any, problem: str
) -> None:
    _, cells = _modules(monkeypatch)
    done = write(page, output(tmp_path / "run", change(_all_rows(cells))))
    assert done.returncode == 1
    assert problem in done.stdout
    assert page.read_text() == PAGE.read_text()


def test_a_run_of_one_kernel_leaves_the_cells_and_the_layouts_of_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: Path
) -> None:
    table, cells = _modules(monkeypatch)
    text = table.put(PAGE.read_text(), table.rendered(_all_rows(cells)))
    page.write_text(text)
    device = {"kernel": "6.12.95", "layout": 5, "device": "VRF"}
    exact = {"postrouting": "exact", "tcx": "exact"}
    assert write(page, output(tmp_path / "one", [device | exact])).returncode == 0
    was = "| 6.12.95 | 4 | `clsact` | exact | none |"
    assert page.read_text() == text.replace(was, was.replace("4", "4, 5"))
    newer = [row | {"kernel": "7.4.1"} for row in _all_rows(cells) if row["kernel"] == "7.3.4"]
    page.write_text(text)
    assert write(page, output(tmp_path / "newer", newer)).returncode == 0
    assert page.read_text() == text.replace("7.3.4", "7.4.1")


def test_the_table_of_many_cpus_is_written_unless_a_cell_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: Path
) -> None:
    _, cells = _modules(monkeypatch)
    rows: list[dict[str, Any]] = []
    for cpus, possible in ((8, 64), (16, 16)):
        head = {"kernel": "6.12.95", "layout": 4, "cpus": cpus, "possible": possible}
        rows += [head | {"smp": name, "flows": 65536} | EXACT for name in cells.SMP]
        ratios = dict.fromkeys(cells.COSTS, 0.9)
        rows.append(head | {"smp": cells.COST, "ratios": ratios, "result": "measured"})
    lacking = write(page, output(tmp_path / "run", rows[1:]), suite="smp")
    assert lacking.returncode == 1
    assert "8 of 64 CPUs, every flow on every CPU: not tried, not exact" in lacking.stdout
    done = write(page, output(tmp_path / "run", rows), suite="smp")
    assert done.returncode == 0, done.stdout + done.stderr
    text = page.read_text()
    assert "| on many CPUs | 6.12.95, 8 of 64 CPUs | 6.12.95, 16 CPUs |" in text
    assert text.count("| exact: 65,536 flows | exact: 65,536 flows |") == len(cells.SMP)
    assert text.count("| 0.9 | 0.9 |") == len(cells.COSTS)


def test_the_devices_of_the_table_are_those_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "vm" / "guest"))
    devices = set(importlib.import_module("cells").DEVICES)
    tried = {*importlib.import_module("layouts").LAYOUTS, *importlib.import_module("tunnels").KINDS}
    assert devices >= tried
    assert devices - tried == OTHERS
