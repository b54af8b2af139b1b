"""The ledger: the series that a flow adds to, when series end, and saving them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from cluster import cluster, flows_between, index_of

from kzn.errors import KznError
from kzn.model.endpoint import Endpoint
from kzn.model.flows import (
    INITIATOR_DESTINATION,
    INITIATOR_SOURCE,
    INITIATOR_UNKNOWN,
    PORT_OF_SOURCE,
)
from kzn.server.ledger.family import FAMILIES, FamilyName, Row
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.resolve.resolve import resolve
from kzn.topology.index import AddressIndex

CLUSTER = cluster(
    """
    n1 a r
    n2 b r
    n3 a s
    """,
    """
    shop/web-1 n1 10.1.0.1,fd00::1 Deployment/web
    shop/web-2 n1 10.1.0.2 Deployment/web
    shop/db-0 n2 10.2.0.1 StatefulSet/db
    shop/copy-0 n3 10.3.0.1 StatefulSet/copy
    """,
    "store Database 10.9.0.0/24 b r",
)
WEB1, WEB1_V6, WEB2, DB, COPY, STORE, OUT = (
    "10.1.0.1", "fd00::1", "10.1.0.2", "10.2.0.1", "10.3.0.1", "10.9.0.7", "8.8.8.8",
)  # fmt: skip
WEB = ("shop", "Deployment", "web")

Amount = tuple[str, str, int]


@pytest.fixture(scope="module")
def index() -> AddressIndex:
    return index_of(CLUSTER)


def add(
    ledger: Ledger, index: AddressIndex, *amounts: Amount, node: str = "n1", now: float = 0.0
) -> None:
    flows = flows_between(*amounts)
    ledger.add(resolve(flows, node, index, 90.0, 100.0), flows.bytes, index, now)


def series(ledger: Ledger, family: FamilyName) -> dict[tuple[str, ...], int]:
    return dict(ledger.snapshot().rows(family))


def labels(rows: Iterable[tuple[str, ...]], at: int) -> set[str]:
    return {row[at] for row in rows}


def test_a_pod_series_counts_bytes_sent_to_another_zone_or_region(index: AddressIndex) -> None:
    ledger = Ledger(LedgerLimits())
    add(ledger, index, (WEB1, DB, 1), (WEB1, COPY, 10), (WEB1, WEB2, 100), (WEB1, OUT, 1000))
    add(ledger, index, (WEB1_V6, STORE, 10_000), (STORE, WEB1, 100_000), (DB, WEB1, 1_000_000))
    assert series(ledger, "pod") == {("shop", "web-1"): 10_011}


def test_flows_between_many_workloads_are_summed_as_those_between_few() -> None:
    pods = [
        f"d/w{number} n{1 + number % 2} 10.0.1.{number} Deployment/w{number}"
        for number in range(201)
    ]
    wide = index_of(cluster("n1 a r\nn2 b r", "\n".join(pods)))
    ends = [(src, (src + step) % 200) for src in range(0, 200, 2) for step in (1, 7, 19, 1)]
    amounts = [
        (f"10.0.1.{src}", f"10.0.1.{dst}", 1 << number % 40)
        for number, (src, dst) in enumerate(ends)
    ]
    expected: Counter[tuple[str, str]] = Counter()
    for (src, dst), (*_, size) in zip(ends, amounts, strict=True):
        expected[f"w{src}", f"w{dst}"] += size
    ledger = Ledger(LedgerLimits())
    add(ledger, wide, *amounts)
    found = series(ledger, "pair")
    assert {(row[1], row[4]): size for row, size in found.items()} == expected
    egress = {row[2]: size for row, size in series(ledger, "workload").items() if size}
    assert sum(series(ledger, "zone").values()) == sum(expected.values())
    assert len(egress) == 200


def test_nodes_can_be_in_the_pods_family_as_in_kubezonnet(index: AddressIndex) -> None:
    sent = ("10.0.0.1", DB, 3), (WEB1, DB, 1), (OUT, DB, 5)  # the last one is forwarded by n1
    ledger = Ledger(LedgerLimits(nodes_as_pods=True))
    add(ledger, index, *sent)
    assert series(ledger, "pod") == {("shop", "web-1"): 1, ("_node_", "n1"): 8}
    ledger = Ledger(LedgerLimits())
    add(ledger, index, *sent)
    assert series(ledger, "pod") == {("shop", "web-1"): 1}


def test_a_workload_has_a_series_for_each_direction_class_and_pair_of_zones(
    index: AddressIndex,
) -> None:
    ledger = Ledger(LedgerLimits())
    add(ledger, index, (WEB1, DB, 1), (WEB2, DB, 10), (WEB1, WEB2, 100), (WEB1, OUT, 1000))
    add(ledger, index, (OUT, WEB1, 5), (STORE, WEB1, 7), (WEB1, COPY, 9))
    assert series(ledger, "workload") == {
        (*WEB, "egress", "cross_zone", "a", "b"): 11,
        (*WEB, "egress", "same_zone", "a", "a"): 100,
        (*WEB, "egress", "external", "a", ""): 1000,
        (*WEB, "ingress", "same_zone", "a", "a"): 100,
        (*WEB, "ingress", "external", "", "a"): 5,
        (*WEB, "ingress", "cross_zone", "b", "a"): 7,
        (*WEB, "egress", "cross_region", "a", "s/a"): 9,
        ("shop", "StatefulSet", "db", "ingress", "cross_zone", "a", "b"): 11,
        ("shop", "StatefulSet", "copy", "ingress", "cross_region", "a", "s/a"): 9,
        ("", "Database", "store", "egress", "cross_zone", "b", "a"): 7,
    }


def test_only_cross_zone_traffic_has_pair_series(index: AddressIndex) -> None:
    ledger = Ledger(LedgerLimits())
    add(ledger, index, (WEB1, DB, 1), (WEB2, DB, 2), (WEB1, WEB2, 50), (WEB1, OUT, 60))
    add(ledger, index, (STORE, WEB1, 3))
    assert series(ledger, "pair") == {
        ("shop", "web", "a", "shop", "db", "b", "unknown"): 3,
        ("", "store", "b", "shop", "web", "a", "unknown"): 3,
    }


def test_pair_series_are_split_by_the_side_that_opened_the_connection(index: AddressIndex) -> None:
    ledger = Ledger(LedgerLimits())
    flows = flows_between((WEB1, DB, 1), (WEB1, DB, 20), (WEB2, DB, 300), (WEB2, DB, 4000))
    opened = np.array([INITIATOR_SOURCE, INITIATOR_DESTINATION, INITIATOR_UNKNOWN, 3], np.uint8)
    flows = replace(flows, flags=opened | np.uint8(PORT_OF_SOURCE))
    ledger.add(resolve(flows, "n1", index, 90.0, 100.0), flows.bytes, index, 0.0)
    pair = ("shop", "web", "a", "shop", "db", "b")
    assert series(ledger, "pair") == {
        (*pair, "source"): 1,
        (*pair, "destination"): 20,
        (*pair, "unknown"): 4300,
    }


def test_zone_series_count_all_attributed_bytes(index: AddressIndex) -> None:
    ledger = Ledger(LedgerLimits())
    add(ledger, index, (WEB1, DB, 1), (WEB1, WEB2, 10), (WEB1, OUT, 100), (OUT, WEB1, 1000))
    add(ledger, index, (DB, WEB1, 10_000))
    assert series(ledger, "zone") == {
        ("a", "b", "cross_zone"): 1,
        ("a", "a", "same_zone"): 10,
        ("a", "", "external"): 100,
        ("", "a", "external"): 1000,
    }


def test_a_forwarded_flow_is_attributed_to_the_node(index: AddressIndex) -> None:
    ledger = Ledger(LedgerLimits())
    add(ledger, index, (OUT, DB, 9))
    assert ("", "n1", "a", "shop", "db", "b", "unknown") in series(ledger, "pair")
    assert ("", "Node", "n1", "egress", "cross_zone", "a", "b") in series(ledger, "workload")
    assert series(ledger, "pod") == {}


def test_a_zone_name_of_a_second_region_is_prefixed_with_the_region(index: AddressIndex) -> None:
    ledger = Ledger(LedgerLimits())
    add(ledger, index, (WEB1, COPY, 1))
    assert [*series(ledger, "zone")] == [("a", "s/a", "cross_region")]


def test_a_full_family_adds_further_bytes_to_other(index: AddressIndex) -> None:
    ledger = Ledger(LedgerLimits(dict.fromkeys(FAMILIES, 1)))
    add(ledger, index, (WEB1, DB, 1), (WEB2, DB, 2), (WEB1, COPY, 4))
    assert sum(series(ledger, "pod").values()) == 7
    assert sum(series(ledger, "pair").values()) == 7
    assert sum(series(ledger, "zone").values()) == 7
    assert sum(series(ledger, "workload").values()) == 14
    for family, width in (("pod", 2), ("pair", 7), ("zone", 3), ("workload", 7)):
        assert len(series(ledger, family)) == 2
        assert ("other",) * width in series(ledger, family)


def test_a_series_ends_when_it_is_idle_and_its_owner_is_deleted(index: AddressIndex) -> None:
    ledger = Ledger(LedgerLimits(retention=600.0))
    add(ledger, index, (WEB1, DB, 1), (WEB2, COPY, 2), now=0.0)
    add(ledger, index, (WEB2, COPY, 2), now=500.0)
    ledger.sweep(599.0, lambda _: False)
    assert set(series(ledger, "pod")) == {("shop", "web-1"), ("shop", "web-2")}
    ledger.sweep(601.0, lambda endpoint: endpoint.workload != "db" and endpoint.name != "web-1")
    assert set(series(ledger, "pod")) == {("shop", "web-2")}
    assert labels(series(ledger, "workload"), 2) == {"web", "copy"}
    assert labels(series(ledger, "pair"), 4) == {"copy"}
    assert len(series(ledger, "zone")) == 2


def test_whether_an_owner_exists_is_looked_up_once_per_retention(index: AddressIndex) -> None:
    ledger = Ledger(LedgerLimits(retention=600.0))
    add(ledger, index, (WEB1, DB, 1), now=0.0)
    asked: list[str] = []

    def lives(endpoint: Endpoint) -> bool:
        asked.append(endpoint.name)
        return True

    for now in (601.0, 602.0, 1200.0):
        ledger.sweep(now, lives)
    assert sorted(set(asked)) == ["db-0", "web-1"]
    assert asked.count("db-0") == 2  # once as a workload, once as the end of a pair
    assert series(ledger, "pod") == {("shop", "web-1"): 1}


def test_names_are_evicted_with_their_series_and_can_be_added_again(index: AddressIndex) -> None:
    ledger = Ledger(LedgerLimits(retention=1.0))
    ledger.load([Row("pod", ("shop", f"job-{number}"), 1) for number in range(3000)], 0.0)
    add(ledger, index, (WEB2, COPY, 1), now=9.0)
    add(ledger, index, (WEB1, DB, 1), now=10.0)
    ledger.sweep(10.5, lambda _: False)
    assert series(ledger, "pod") == {("shop", "web-1"): 1}
    taken = ("shop", "taken", "a", "shop", "taken-too", "b", "source")
    ledger.load([Row("pair", taken, 9), Row("pod", ("shop", "taken"), 9)], 10.5)
    add(ledger, index, (WEB1, DB, 1), (WEB2, COPY, 5), now=11.0)
    assert series(ledger, "pod") == {
        ("shop", "web-1"): 2,
        ("shop", "taken"): 9,
        ("shop", "web-2"): 5,
    }
    assert series(ledger, "pair") == {
        ("shop", "web", "a", "shop", "db", "b", "unknown"): 2,
        taken: 9,
        ("shop", "web", "a", "shop", "copy", "s/a", "unknown"): 5,
    }


def rows(ledger: Ledger) -> list[Row]:
    snapshot = ledger.snapshot()
    return [Row(family, *row) for family in FAMILIES for row in snapshot.rows(family)]


def test_series_loaded_from_saved_rows_continue_from_the_saved_values(index: AddressIndex) -> None:
    ledger, again = Ledger(LedgerLimits({"pair": 1})), Ledger(LedgerLimits({"pair": 1}))
    add(ledger, index, (WEB1, DB, 1), (WEB2, COPY, 2), (STORE, WEB1, 3), (WEB1, OUT, 4))
    again.load(rows(ledger), 0.0)
    assert sorted(rows(again)) == sorted(rows(ledger))
    add(again, index, (WEB1, DB, 10))
    assert series(again, "pod")["shop", "web-1"] == 11
    assert series(again, "zone")["a", "b", "cross_zone"] == 11


@pytest.mark.parametrize("row", [Row("pod", ("shop",), 1), Row("planet", ("earth",), 1)])
def test_a_row_of_an_unknown_family_or_number_of_labels_is_refused(row: Row) -> None:
    with pytest.raises(KznError, match="has no series"):
        Ledger(LedgerLimits()).load([row], 0.0)


@pytest.mark.parametrize(
    "row",
    [
        Row("workload", (*WEB, "sideways", "cross_zone", "a", "b"), 1),
        Row("zone", ("a", "b", "cross_planet"), 1),
        Row("pair", ("shop", "web", "a", "shop", "db", "b", "neither"), 1),
    ],
)
def test_a_row_with_a_label_of_a_newer_version_is_counted_as_other(row: Row) -> None:
    ledger = Ledger(LedgerLimits())
    ledger.load([row], 0.0)
    assert rows(ledger) == [Row(row.family, FAMILIES[row.family].other_labels, 1)]


def test_a_sweep_of_many_idle_series_is_done_in_steps_and_checks_each_once() -> None:
    number = 30_007
    ledger = Ledger(LedgerLimits(retention=10.0))
    rows = [Row("pod", ("shop", f"p{n}"), n) for n in range(number)]
    ledger.load(rows, 0.0)
    asked: list[Endpoint] = []

    def lives(owner: Endpoint) -> bool:
        asked.append(owner)
        return True

    steps = [len(ledger.snapshot().views["pod"].keys) for _ in ledger.sweep_steps(100.0, lives)]
    # Series without an owner have ended: those of a state file whose pods are gone.
    assert steps[:7] == [*range(number - 5_000, 0, -5_000), 0]
    assert asked == []
    assert ledger.snapshot().views["pod"].retired == sum(range(number))
