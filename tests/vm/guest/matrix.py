"""The pytest plugin of the guest suite: deselects tests and prints the results for the table.

Tests of probes that this kernel must refuse are deselected and listed with the reason;
test_cells.py asserts that they are refused. Others must run: a skip fails (KZN_REQUIRE_ALL).
"""

import json
import os
import platform
from collections import Counter
from typing import Any

import pytest
from cells import BIG_TCP4, DEVICES, LACKED, RESULT, SMOKE, is_before, lacking

from kzn.agent.maps.structs import LAYOUT

RELEASE = platform.release()
SUITE = os.environ.get("KZN_VM_SUITE", "")
REFUSED = lacking(RELEASE)

PROBE_OF_FILE = {"test_clsact": "clsact", "test_tcx": "tcx"} | dict.fromkeys(
    ("test_ipvs", "test_lab", "test_layouts", "test_sctp", "test_tunnels", "test_uplinks"), ""
)
"""The probe of the tests in a file without a parameter ``probe``; default `postrouting`."""

_deselected: Counter[str] = Counter()
_terminal: list[pytest.TerminalReporter] = []


def pytest_sessionstart(session: pytest.Session) -> None:
    """Keep the reporter: rows are printed as they come, also by a guest that runs out of time."""
    _terminal.append(session.config.pluginmanager.getplugin("terminalreporter"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of probes that this kernel must refuse."""
    away = {item: why for item in items if (why := _why_not(item))}
    _deselected.update(away.values())
    if away:
        config.hook.pytest_deselected(items=list(away))
        items[:] = [item for item in items if item not in away]


def _why_not(item: pytest.Item) -> str:
    if "guest" in item.path.parts:
        without = "postrouting" in REFUSED and "baseline" in item.name
        return "the baseline is a program of netfilter" if without else ""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    device = parameters.get("name")
    if SUITE == "smoke" and device in DEVICES and device not in SMOKE:
        return "devices that the suite `smoke` leaves out"
    probe = parameters.get("probe", PROBE_OF_FILE.get(item.path.stem, "postrouting"))
    name = str(getattr(probe, "name", probe))
    if name in REFUSED:
        return f"{name}: {REFUSED[name]}"
    since, words = BIG_TCP4
    is_big = "test_big_tcp" in item.name and parameters.get("family") == 4
    return words if is_big and is_before(RELEASE, since) else ""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print the row of a test for the host; its result is FAILED if the test failed."""
    row = dict(report.user_properties).get("cell")
    if not isinstance(row, dict) or (report.when != "call" and report.passed):
        return
    if report.failed:
        row = row | {"result": "FAILED"}
    elif report.skipped:  # as expected: the kernel has no such devices
        row = row | {"result": LACKED, "reason": getattr(report, "wasxfail", "")}
    _terminal[0].ensure_newline()
    head = {"kernel": RELEASE, "layout": LAYOUT}
    _terminal[0].write_line(RESULT + json.dumps(head | row))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests were left out, and why."""
    for why, number in _deselected.items():
        terminalreporter.write_line(f"deselected: {number} tests: {why}")
