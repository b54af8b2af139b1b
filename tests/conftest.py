"""For all tests: with KZN_REQUIRE_ALL=1, which CI sets, what cannot be tried is a failure."""

import os
import signal
from collections.abc import Generator
from typing import Any

import pytest

REQUIRE_ALL = "KZN_REQUIRE_ALL"


def pytest_configure() -> None:
    """Take SIGINT again: a shell's background job ignores it, and so would all that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Turn a skip of a test into a failure where everything is required."""
    return _required((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    """Turn a skip of a whole module into a failure where everything is required."""
    return _required((yield))


def _required(report: Any) -> Any:
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(REQUIRE_ALL) == "1":
        report.outcome = "failed"
        report.longrepr = f"{REQUIRE_ALL}=1, but skipped: {report.longrepr}"
    return report
