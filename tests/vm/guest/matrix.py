"""The plugin of the guest suite: leaves out what this kernel must refuse, and tells the results.

What is left out is said with its reason, and that this kernel refuses it is what test_cells.py
asserts. Everything else runs: a skip is a failure there (KZN_REQUIRE_ALL).
"""

import json
import platform
from collections import Counter
from typing import Any

import pytest
from cells import BIG_TCP4, RESULT, is_before, lacking

RELEASE = platform.release()
REFUSED = lacking(RELEASE)

PROBE_OF_FILE = {"test_clsact": "clsact", "test_tcx": "tcx", "test_lab": "", "test_uplinks": ""}
"""Tests without a parameter ``probe`` are of `postrouting`, those of these files of another."""

_left_out: Counter[str] = Counter()
_results: list[dict[str, Any]] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of probes that this kernel must refuse."""
    away = {item: why for item in items if (why := _why_not(item))}
    _left_out.update(away.values())
    if away:
        config.hook.pytest_deselected(items=list(away))
        items[:] = [item for item in items if item not in away]


def _why_not(item: pytest.Item) -> str:
    if "guest" in item.path.parts:
        return ""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    probe = parameters.get("probe", PROBE_OF_FILE.get(item.path.stem, "postrouting"))
    name = str(getattr(probe, "name", probe))
    if name in REFUSED:
        return f"{name}: {REFUSED[name]}"
    since, words = BIG_TCP4
    is_big = "test_big_tcp" in item.name and parameters.get("family") == 4
    return words if is_big and is_before(RELEASE, since) else ""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what a test said of its cell; a cell whose test failed is a failed one."""
    said = dict(report.user_properties).get("cell")
    if not isinstance(said, dict) or (report.when != "call" and report.passed):
        return
    if report.failed:
        said = said | {"result": "FAILED"}
    _results.append({"kernel": RELEASE} | said)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The lines that the host makes the table of."""
    for why, number in _left_out.items():
        terminalreporter.write_line(f"left out: {number} tests: {why}")
    for row in _results:
        terminalreporter.write_line(RESULT + json.dumps(row))
