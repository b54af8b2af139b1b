"""Fixtures of the kernel tests: a lab, and skips that CI turns into failures."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from kzn.demo.lab import Lab
from kzn.errors import UnsupportedError

REQUIRE_ALL = "KZN_REQUIRE_ALL"
"""Set in CI: what cannot be tried is a failure, not a skip."""

PREFIX = os.environ.get("KZN_LAB_PREFIX", "kzntest")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two zones with one node each and two pods a node, MTU 1500, shared by a module."""
    with ExitStack() as stack:
        yield _enter(stack, Lab(PREFIX))


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    """A lab of any size, for one test: ``make_lab(mtu=9001)``, arguments as of `Lab`.

    The names of a lab made earlier are hidden until the test has ended.
    """
    with ExitStack() as stack:
        yield lambda **arguments: _enter(stack, Lab(PREFIX, **arguments))


def _enter(stack: ExitStack, lab: Lab) -> Lab:
    try:
        return stack.enter_context(lab)
    except UnsupportedError as error:
        pytest.skip(f"{error}: {error.hint}")


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
