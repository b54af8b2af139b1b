"""Fixtures of the guest suite: the lab, and the result of a cell."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from counting import PREFIX

from kzn.lab.lab import Lab

KZN = [sys.executable, "-m", "kzn.cli.main"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two zones with one node each and two pods a node; fails if the kernel cannot create it."""
    with Lab(PREFIX) as made:
        yield made


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The row of this test for the table; the plugin matrix.py reads it."""
    row: dict[str, Any] = {}
    request.node.user_properties.append(("cell", row))
    return row
