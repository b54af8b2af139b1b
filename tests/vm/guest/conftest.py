"""Fixtures of the guest suite: the lab, and the result of a cell."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from counting import PREFIX
from programs import Programs

from kzn.lab import daemons, traffic
from kzn.lab.lab import Lab

# A time limit that an emulated machine keeps within.
_WAIT = float(os.environ.get("KZN_TEST_WAIT", "0"))
traffic.TIMEOUT = max(traffic.TIMEOUT, _WAIT)
daemons.READY_SECONDS = max(daemons.READY_SECONDS, _WAIT)
daemons.STOP_SECONDS = max(daemons.STOP_SECONDS, _WAIT)
KZN = [sys.executable, "-m", "kzn.cli.main"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two zones with one node each and two pods a node; fails if the kernel cannot create it."""
    with Lab(PREFIX) as made:
        yield made


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    """Probes that the cells of the table share."""
    with Programs() as made:
        yield made


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The row of this test for the table; the plugin matrix.py reads it."""
    row: dict[str, Any] = {}
    request.node.user_properties.append(("cell", row))
    return row
