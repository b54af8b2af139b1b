"""Fixtures of the guest suite: a lab that must be had, and what a test says of its cell."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from counting import PREFIX

from kzn.lab.lab import Lab

KZN = [sys.executable, "-m", "kzn.cli.main"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two zones with one node each and two pods a node; a kernel that cannot have it fails."""
    with Lab(PREFIX) as made:
        yield made


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the table is to say of this test; the plugin (matrix.py) reads it."""
    said: dict[str, Any] = {}
    request.node.user_properties.append(("cell", said))
    return said
