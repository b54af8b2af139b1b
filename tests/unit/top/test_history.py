"""Sums of two moments make rates; a server that began anew begins a new window."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smallserver import status

from kzn.client.api import Status
from kzn.top.document import document
from kzn.top.history import Amount, History, MonthlyCost, SortKey, ordered
from kzn.top.reading import Cost, Pair, Reading, Workload, ZonePair

STATUS = status(agents=2, batches=10, seen=1000, unresolved=10)
CART = Workload("shop", "Deployment", "cart")
A_TO_B = ZonePair("a", "b", "cross_zone")
PAIR = Pair("shop", "cart", "a", "shop", "db", "b")


def look(at: float, total: int, status: Status = STATUS) -> Reading:
    return Reading(at, status, {A_TO_B: total}, {CART: {"sent": total}}, {PAIR: total})


def history(*looks: Reading, window: float = 60) -> History:
    made = History(window)
    for one in looks:
        made.add(one)
    return made


def test_one_look_has_totals_and_no_rates() -> None:
    assert history(look(5, 700)).zones() == {A_TO_B: Amount(700, None)}


def test_a_rate_is_the_growth_over_the_time_between_looks() -> None:
    seen = history(look(5, 700), look(15, 1700))
    assert seen.zones() == {A_TO_B: Amount(1700, 100.0)}
    assert seen.pairs() == {PAIR: Amount(1700, 100.0)}
    assert seen.workloads("sent") == {CART: Amount(1700, 100.0)}
    assert seen.workloads("received") == {}


def test_a_series_that_is_new_counts_from_zero() -> None:
    empty = replace(look(0, 0), zones={})
    assert history(empty, look(10, 500)).zones() == {A_TO_B: Amount(500, 50.0)}


def test_a_series_that_ended_and_came_again_counts_from_zero() -> None:
    assert history(look(0, 9000), look(10, 500)).zones() == {A_TO_B: Amount(500, 50.0)}


def test_what_is_older_than_the_window_is_forgotten() -> None:
    seen = history(*(look(at, at * at) for at in range(0, 101, 10)), window=20)
    assert seen.seconds == 20
    assert seen.zones()[A_TO_B] == Amount(10_000, (10_000 - 6_400) / 20)


def test_a_window_smaller_than_the_interval_has_two_looks_all_the_same() -> None:
    assert history(look(0, 0), look(10, 100), look(20, 300), window=1).zones() == {
        A_TO_B: Amount(300, 20.0)
    }


def test_a_server_that_began_anew_has_no_rates_at_first() -> None:
    anew = status(agents=2, batches=1, seen=50)
    seen = history(look(0, 9000), look(10, 9500), look(20, 50, anew))
    assert seen.zones() == {A_TO_B: Amount(50, None)}


@given(st.lists(st.tuples(st.integers(0, 10**18), st.floats(0.01, 60)), min_size=1, max_size=20))
def test_rates_are_never_negative(steps: list[tuple[int, float]]) -> None:
    seen, at = History(30), 0.0
    for total, pause in steps:
        at += pause
        seen.add(look(at, total))
        amount = seen.zones()[A_TO_B]
        assert amount.rate is None or amount.rate >= 0


AMOUNTS = {("b",): Amount(1, 9.0), ("a",): Amount(5, 1.0), ("c",): Amount(3, 9.0)}


@pytest.mark.parametrize(("sort", "names"), [("rate", "cba"), ("total", "acb"), ("name", "abc")])
def test_lists_are_in_the_requested_order(sort: str, names: str) -> None:
    assert "".join(key[0] for key, _ in ordered(AMOUNTS, sort)) == names  # type: ignore[arg-type]


def test_without_rates_the_order_is_that_of_totals() -> None:
    amounts = {("a",): Amount(1, None), ("b",): Amount(2, None)}
    assert [key for key, _ in ordered(amounts, "rate")] == [("b",), ("a",)]


NO_COST: dict[str, object] = {"cost": {}, "cost_per_month": None, "has_unpriced_bytes": None}


def test_the_document_has_it_all_in_numbers() -> None:
    assert document(history(look(5, 700), look(15, 1700)), "rate") == {
        "version": "1.0",
        "ready": True,
        "agents": 2,
        "nodes": 2,
        "nodes_known": 0,
        "nodes_reporting": 0,
        "seen_bytes": 1000,
        "unresolved_bytes": 10,
        "missed_bytes": 0,
        "rate_seconds": 10,
        "proposals": None,
        "saving_per_month": {},
        "prices": [],
        "zones": [
            {
                "src_zone": "a",
                "dst_zone": "b",
                "class": "cross_zone",
                "bytes": 1700,
                "bytes_per_second": 100.0,
                **NO_COST,
            }
        ],
        "workloads": [
            {
                "namespace": "shop",
                "workload_kind": "Deployment",
                "workload": "cart",
                "bytes": 1700,
                "bytes_per_second": 100.0,
                **NO_COST,
            }
        ],
        "pairs": [
            {
                "src_namespace": "shop",
                "src_workload": "cart",
                "src_zone": "a",
                "dst_namespace": "shop",
                "dst_workload": "db",
                "dst_zone": "b",
                "bytes": 1700,
                "bytes_per_second": 100.0,
                **NO_COST,
            }
        ],
    }


def test_a_server_that_begins_anew_clears_the_history_though_another_grows() -> None:
    def both(at: float, first: int, second: int) -> Reading:
        servers = tuple(status(agents=1, batches=n, seen=n) for n in (first, second))
        total = first + second
        added = status(agents=2, batches=total, seen=total)
        return Reading(at, added, {A_TO_B: total}, {}, {}, 0, servers)

    found = History(60)
    found.add(both(0, 100, 100))
    found.add(both(10, 5, 900))
    assert found.zones() == {A_TO_B: Amount(905, None)}


def dollars(amount: float, unpriced: int = 0) -> Cost:
    return Cost(Counter({"USD": amount}), unpriced)


def test_a_month_is_the_rate_of_the_cost_for_730_hours() -> None:
    looks = [
        replace(look(at, n), zone_costs={A_TO_B: dollars(n / 1e6)}) for at, n in ((0, 0), (36, 500))
    ]
    (amount,) = history(*looks).zones().values()
    assert amount.cost is not None
    assert amount.cost.month == pytest.approx({"USD": 0.0005 * 100 * 730})
    assert (amount.cost.total, amount.cost.unpriced) == ({"USD": 0.0005}, False)


def test_by_cost_the_dearest_is_first_and_what_has_no_price_is_last() -> None:
    free, dear, unknown = (Pair("s", name, "a", "s", "db", "b") for name in ("free", "dear", "x"))
    amounts = {
        unknown: Amount(9, 9.0, MonthlyCost({}, {}, True)),
        free: Amount(5, 5.0, MonthlyCost({"USD": 0.0}, {"USD": 0.0}, False)),
        dear: Amount(1, 1.0, MonthlyCost({"USD": 2.0}, {"USD": 1.0}, False)),
    }
    assert [pair.src for pair, _ in ordered(amounts, "cost")] == ["dear", "free", "x"]


LOADER = Workload("shop", "CronJob", "loader")


@pytest.mark.parametrize(
    ("sort", "names"),
    [("cost", ["loader", "cart"]), ("rate", ["cart"]), ("total", ["cart"]), ("name", ["cart"])],
)
def test_by_cost_a_workload_is_listed_whose_traffic_to_outside_is_all_that_costs(
    sort: SortKey, names: list[str]
) -> None:
    looks = [
        replace(
            look(at, n),
            workloads={CART: {"sent": n}, LOADER: {"egress_external": 9 * n}},
            workload_costs={CART: dollars(n / 1e6), LOADER: dollars(n / 1e5)},
        )
        for at, n in ((0, 0), (36, 500))
    ]
    found = history(*looks)
    listed = ordered(found.listed_workloads(sort), sort)
    assert [name.name for name, _ in listed] == names
    assert [row["workload"] for row in document(found, sort)["workloads"]] == names
    if sort == "cost":
        amount = listed[0][1]
        assert (amount.total, amount.rate) == (0, 0.0)
        assert amount.cost is not None
        assert amount.cost.month == pytest.approx({"USD": 0.005 * 100 * 730})


def test_by_cost_what_is_free_or_unpriced_and_crosses_nothing_is_not_listed() -> None:
    free, unknown = Workload("s", "Job", "free"), Workload("s", "Job", "unknown")
    costs = {free: dollars(0.0), unknown: Cost(unpriced=7)}
    found = history(replace(look(0, 0), workload_costs=costs))
    assert list(found.listed_workloads("cost")) == [CART]
