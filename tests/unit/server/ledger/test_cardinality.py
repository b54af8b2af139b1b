"""How many series a workload has, and families that are limited or off."""

from itertools import permutations, product

import pytest
from cluster import cluster, flows_between, index_of

from kzn.errors import UsageError
from kzn.server.config import MAX_NODES, ledger_limits, node_limit
from kzn.server.ledger.family import FAMILIES, Row
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import MAX_SERIES, LedgerLimits
from kzn.server.resolve.resolve import resolve

OUT = "8.8.8.8"
ALL = tuple(FAMILIES)


def busy_ledger(zones: int, workloads: int, limits: LedgerLimits | None = None) -> Ledger:
    """Workloads with a pod in each zone, each of which sends to all others and outside."""
    nodes = "\n".join(f"n{z} z{z} r" for z in range(zones))
    address = {(w, z): f"10.{w}.{z}.1" for w, z in product(range(1, workloads + 1), range(zones))}
    pods = "\n".join(f"s/w{w}-{z} n{z} {a} Deployment/w{w}" for (w, z), a in address.items())
    index = index_of(cluster(nodes, pods))
    ledger = Ledger(limits or LedgerLimits())
    for z in range(zones):
        here = [a for (_, zone), a in address.items() if zone == z]
        flows = [(a, b, 1) for a, b in product(here, address.values()) if a != b]
        flows += [(a, OUT, 1) for a in here] + [(OUT, a, 1) for a in here]
        found = flows_between(*flows)
        ledger.add(resolve(found, f"n{z}", index, 90.0, 100.0), found.bytes, index, 0.0)
    return ledger


def count(ledger: Ledger, family: str) -> int:
    return len(list(ledger.snapshot().rows(family)))


@pytest.mark.parametrize(("zones", "expected"), [(1, 4), (2, 12), (3, 24), (4, 40)])
def test_a_workload_that_talks_to_all_zones_has_this_many_series(zones: int, expected: int) -> None:
    """docs/metrics.md has these numbers: 2z² of pairs of zones, 2z to and from outside."""
    assert expected == 2 * zones**2 + 2 * zones
    for workloads in (2, 5):
        ledger = busy_ledger(zones, workloads)
        assert count(ledger, "workload") == expected * workloads
        assert count(ledger, "zone") == zones**2 + 2 * zones


def test_a_pair_of_workloads_has_a_series_for_each_two_zones_and_direction() -> None:
    for zones, workloads in ((2, 2), (3, 2), (3, 4)):
        between_zones = len(list(permutations(range(zones), 2)))
        ledger = busy_ledger(zones, workloads)
        assert count(ledger, "pair") == workloads**2 * between_zones  # with itself too
        assert count(ledger, "pod") == workloads * zones


@pytest.mark.parametrize("family", ALL)
def test_a_family_that_is_off_has_no_series_and_the_others_are_as_before(family: str) -> None:
    limits = ledger_limits({}, [name for name in ALL if name != family])
    ledger, full = busy_ledger(2, 2, limits), busy_ledger(2, 2)
    assert family not in ledger.snapshot().views
    assert count(ledger, family) == 0
    for name in set(ALL) - {family}:
        assert dict(ledger.snapshot().rows(name)) == dict(full.snapshot().rows(name))


def test_beyond_the_limit_of_the_command_line_bytes_are_in_other() -> None:
    ledger, full = busy_ledger(3, 2, ledger_limits({"workload": 5}, ALL)), busy_ledger(3, 2)
    rows = dict(ledger.snapshot().rows("workload"))
    assert len(rows) == 6
    assert sum(rows.values()) == sum(dict(full.snapshot().rows("workload")).values())
    assert ledger.snapshot().views["workload"].limit == 5


def test_saved_series_of_a_family_that_is_off_are_not_shown() -> None:
    ledger = Ledger(ledger_limits({}, ["zone"]))
    ledger.load([Row("pod", ("s", "w1-0"), 5), Row("zone", ("a", "b", "cross_zone"), 7)], 0.0)
    assert count(ledger, "pod") == 0
    assert dict(ledger.snapshot().rows("zone")) == {("a", "b", "cross_zone"): 7}


@pytest.mark.parametrize(
    ("series", "families", "reason"),
    [
        ({"pods": 1}, ALL, "'pods' is not a family"),
        ({"pod": 0}, ALL, "0 series of family pod"),
        ({"pod": MAX_SERIES + 1}, ALL, "out of range"),
        ({}, ["pod", "x"], "'x' is not a family"),
        ({}, [""], "'' is not a family"),
    ],
)
def test_wrong_limits_are_refused(series: dict[str, int], families: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        ledger_limits(series, families)


def test_the_number_of_nodes_with_totals_is_a_limit_too() -> None:
    assert node_limit({"pod": 5}) == MAX_NODES
    assert node_limit({"node": 5}) == 5
    assert ledger_limits({"node": 5, "pod": 7}, ALL).series == {"pod": 7}
    with pytest.raises(UsageError, match="0 nodes"):
        node_limit({"node": 0})


def test_nodes_as_pods_needs_the_family_of_pods() -> None:
    assert ledger_limits({}, ["pod"], nodes_as_pods=True).nodes_as_pods
    with pytest.raises(UsageError, match="family pod"):
        ledger_limits({}, ["workload"], nodes_as_pods=True)
