"""kzn/topology/ownership/current.py."""

from math import inf

import numpy as np

from kzn.topology.ownership.current import CurrentOwners


def certain(owners: CurrentOwners, row: int, opened: float, closed: float) -> int | None:
    """The owner of a row where it is certain."""
    found, is_certain = owners.find(np.array([row], np.int32), opened, closed)
    return int(found[0]) if is_certain[0] else None


def test_an_owner_is_certain_only_within_its_time() -> None:
    owners = CurrentOwners()
    row = owners.add()
    assert certain(owners, row, 10.0, 20.0) is None
    owners.put([row], [(7, 10.0, 30.0)])
    assert certain(owners, row, 10.0, 20.0) == 7
    assert certain(owners, row, 9.0, 20.0) is None
    assert certain(owners, row, 20.0, 30.0) is None


def test_a_dropped_row_is_reused_without_its_owner() -> None:
    owners = CurrentOwners()
    row = owners.add()
    owners.put([row], [(7, 0.0, inf)])
    owners.drop(row)
    reused = [owners.add() for _ in range(64)]
    assert row in reused
    assert certain(owners, row, 10.0, 20.0) is None


def test_thousands_of_rows_are_read_at_once() -> None:
    owners = CurrentOwners()
    rows = [owners.add() for _ in range(3000)]
    assert len(set(rows)) == 3000
    owners.put(rows, [(number, float(number), inf) for number in range(3000)])
    found, is_certain = owners.find(np.array(rows, np.int32), 1000.0, 1000.0)
    assert is_certain.tolist() == [number <= 1000 for number in range(3000)]
    assert found[is_certain].tolist() == list(range(1001))
