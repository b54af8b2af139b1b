"""Fixtures of the kernel tests: labs, or a skip with the reason where a lab is impossible."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from counting import PREFIX
from programs import Programs

from kzn.errors import UnsupportedError
from kzn.lab import daemons, traffic
from kzn.lab.lab import Lab

# A time limit that an emulated machine keeps within.
_WAIT = float(os.environ.get("KZN_TEST_WAIT", "0"))
traffic.TIMEOUT = max(traffic.TIMEOUT, _WAIT)
daemons.READY_SECONDS = max(daemons.READY_SECONDS, _WAIT)
daemons.STOP_SECONDS = max(daemons.STOP_SECONDS, _WAIT)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two zones of one node with two pods each, MTU 1500, shared by a module."""
    with ExitStack() as stack:
        yield _enter(stack, Lab(PREFIX))


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    """Probes that tests of many kinds of devices share."""
    with Programs() as made:
        yield made


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
