"""The cost meter: three views of every byte's cost, each as if it were priced by itself."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cost_world import ADDRESSES, OUTER, CostWorld, Flow, some
from hypothesis import given, settings
from hypothesis import strategies as st

from kzn.pricing import aws, gcp
from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import Conversion
from kzn.server.http.api import largest_rows
from kzn.server.ledger.family import PAIR, WORKLOAD, ZONE, Family
from kzn.server.ledger.limits import LedgerLimits

SHIPPED = [replace(one, valid_from=date(2000, 1, 1)) for one in (aws.PRICES, gcp.PRICES)]
BOOK = PriceBook(SHIPPED)
WEB1, WEB2, DB, COPY, GKE, OUT = (
    "10.1.0.1", "10.2.0.1", "10.2.0.2", "10.3.0.1", "10.4.0.1", "8.8.8.8",
)  # fmt: skip
GIB = 1 << 30
WEB = ("shop", "D", "web")


def cheaper(share: float) -> PriceBook:
    return PriceBook(replace(one, discount=share) for one in SHIPPED)


def in_euro() -> PriceBook:
    return PriceBook(replace(one, conversion=Conversion("EUR", 0.9)) for one in SHIPPED)


def from_tomorrow() -> PriceBook:
    """The clock of these tests begins on 2001-09-09."""
    return PriceBook(
        [*SHIPPED, *(replace(one, valid_from=date(2001, 9, 10), discount=0.5) for one in SHIPPED)]
    )


BOOKS = (BOOK, cheaper(0.25), cheaper(1.0), in_euro(), from_tomorrow(), PriceBook([]))


@pytest.fixture
def world() -> CostWorld:
    return CostWorld(BOOK)


def test_a_byte_between_two_zones_is_billed_at_both_sides_and_caused_by_its_opener(
    world: CostWorld,
) -> None:
    world.apply("n1", (WEB1, DB, GIB, 2))
    gb = pytest.approx(0.01)
    assert world.series("workload_cost") == {
        (*WEB, "sender", "cross_zone", "USD"): gb,
        ("shop", "S", "db", "receiver", "cross_zone", "USD"): gb,
    }
    assert world.series("caused_cost") == {
        ("shop", "S", "db", "cross_zone", "USD"): pytest.approx(0.02)
    }
    assert world.series("zone_cost") == {("a", "b", "cross_zone", "USD"): pytest.approx(0.02)}
    assert world.series("priced") == {("USD",): GIB}
    assert world.series("unpriced") == {}


def test_an_unknown_opener_means_the_sender(world: CostWorld) -> None:
    world.apply("n1", (WEB1, DB, GIB, 0))
    assert world.series("caused_cost") == {(*WEB, "cross_zone", "USD"): pytest.approx(0.02)}


def test_a_managed_database_pays_nothing_and_plain_bytes_of_its_zone_do(world: CostWorld) -> None:
    world.apply("n1", (WEB1, "10.9.0.1", GIB, 1), (WEB1, "10.9.4.1", 2 * GIB, 1))
    assert some(world.series("workload_cost")) == {
        (*WEB, "sender", "cross_zone", "USD"): pytest.approx(0.03),
        ("", "Database", "plain", "receiver", "cross_zone", "USD"): pytest.approx(0.02),
    }
    assert world.series("zone_cost") == {("a", "b", "cross_zone", "USD"): pytest.approx(0.05)}


def test_free_is_a_series_at_0_and_unpriced_is_none(world: CostWorld) -> None:
    world.apply("n1", (WEB1, "10.9.3.1", 5, 1), (WEB1, GKE, 7, 1))
    assert world.series("zone_cost") == {("a", "b", "cross_zone", "USD"): 0.0}
    assert world.series("unpriced") == {("providers_differ",): 7}
    assert world.series("priced") == {("USD",): 5}


def test_same_zone_traffic_that_is_free_has_no_series(world: CostWorld) -> None:
    world.apply("n2", (WEB2, DB, 5, 1))
    assert world.series("workload_cost") == world.series("zone_cost") == {}
    assert world.series("priced") == {("USD",): 5}


def test_what_goes_outside_is_caused_by_outside_when_that_opened_it(world: CostWorld) -> None:
    world.apply("n1", (WEB1, OUT, GIB, 2), (OUT, WEB1, GIB, 1))
    price = pytest.approx(0.09)
    assert some(world.series("workload_cost")) == {(*WEB, "sender", "external", "USD"): price}
    assert world.series("caused_cost") == {("", "External", "external", "external", "USD"): price}


def test_a_region_without_a_zone_is_priced_by_its_region(world: CostWorld) -> None:
    world.apply("n1", (WEB1, "10.9.1.1", GIB, 1))
    assert world.series("zone_cost") == {("a", "", "cross_region", "USD"): pytest.approx(0.02)}


def test_a_network_without_a_zone_has_no_price_unless_it_says_one(world: CostWorld) -> None:
    office, partner = "10.9.2.1", "10.9.5.1"
    world.apply("n1", (WEB1, office, GIB, 1), (office, WEB1, 7, 2), (WEB1, partner, 2 * GIB, 1))
    assert world.series("unpriced") == {("no_zone",): GIB + 7}
    assert world.series("priced") == {("USD",): 2 * GIB}
    key = ("a", "", "external", "USD")
    assert some(world.series("zone_cost")) == {key: pytest.approx(0.18)}


def in_two_currencies() -> PriceBook:
    euro = replace(SHIPPED[1], conversion=Conversion("EUR", 0.5))
    return PriceBook([SHIPPED[0], euro])


def row_of(world: CostWorld, family: Family, *labels: str) -> tuple[object, ...]:
    """Bytes, cost, currency and unpriced bytes of a row of the API."""
    blocks, _ = largest_rows(world.pipeline.snapshot().ledger, family, 99)
    (found,) = (row for block in blocks for row in block if row[: len(labels)] == labels)
    return found[len(family.labels) :]


def test_other_of_two_currencies_has_no_cost_and_says_why(tmp_path: Path) -> None:
    limits = LedgerLimits({"zone": 1, "workload": 1})
    world = CostWorld(in_two_currencies(), tmp_path / "state", limits)
    other = ("other", "other", "other")
    world.apply("n2", (WEB2, DB, 1, 1))  # takes the only places
    world.apply("n1", (WEB1, DB, GIB, 1))
    assert row_of(world, ZONE, *other) == (GIB, pytest.approx(0.02), "USD", 0)
    world.apply("n4", (GKE, OUT, 5, 1))
    assert row_of(world, ZONE, *other) == (GIB + 5, pytest.approx(0.02), "USD", 5)
    world.apply("n4", ("10.0.0.4", GKE, GIB, 1), (GKE, "10.0.0.4", 3, 1))
    mixed = (2 * GIB + 8, None, "mixed", 5)
    assert row_of(world, ZONE, *other) == mixed
    world.restart()
    assert row_of(world, ZONE, *other) == mixed
    world.apply("n1", (WEB1, DB, GIB, 1))
    assert row_of(world, ZONE, *other) == (3 * GIB + 8, None, "mixed", 5)
    world.close()


OFF = (
    {"priced": False},
    {"off": frozenset({"zone_cost", "workload_cost", "caused_cost", "priced", "unpriced"})},
)


@pytest.mark.parametrize("off", OFF)
def test_a_run_without_prices_keeps_the_saved_costs(tmp_path: Path, off: dict[str, Any]) -> None:
    world = CostWorld(BOOK, tmp_path / "state", LedgerLimits({"zone": 1}))
    world.apply("n1", (WEB1, DB, GIB, 1))
    world.apply("n1", (WEB1, COPY, GIB, 1))  # to other
    limits = world.limits
    world.limits = replace(limits, **off)
    world.restart()
    assert not world.limits.has_costs
    world.apply("n1", (WEB1, DB, 5, 1), (WEB1, COPY, 7, 1))
    view = world.pipeline.snapshot().ledger.views["zone"]
    assert view.costs is None  # hidden
    world.limits = limits
    world.restart()
    zone, other = ("a", "b", "cross_zone"), ("other",) * 3
    assert row_of(world, ZONE, *zone) == (GIB + 5, pytest.approx(0.02), "USD", 5)
    assert row_of(world, ZONE, *other) == (GIB + 7, pytest.approx(0.02), "USD", 7)
    assert row_of(world, WORKLOAD, *WEB, "egress", "cross_zone") == (
        GIB + 5, pytest.approx(0.01), "USD", 5,
    )  # fmt: skip
    assert row_of(world, PAIR, "shop", "web", "a", "shop", "db") == (
        GIB + 5, pytest.approx(0.02), "USD", 5,
    )  # fmt: skip
    world.apply("n1", (WEB1, DB, GIB, 1))
    assert row_of(world, ZONE, *zone) == (2 * GIB + 5, pytest.approx(0.04), "USD", 5)
    world.close()


def test_a_row_of_two_currencies_at_once_has_no_cost_either() -> None:
    world = CostWorld(in_two_currencies())
    # n1 and n5 are nodes of two clouds in zones of one name and region.
    world.apply("n1", (WEB1, "10.9.4.1", GIB, 1))
    world.apply("n5", ("10.5.0.1", "10.9.3.1", GIB, 1))
    assert row_of(world, ZONE, "a", "b", "cross_zone")[1:3] == (None, "mixed")


def test_a_price_counts_from_the_tick_that_sees_it_and_no_cost_decreases(world: CostWorld) -> None:
    key = ("a", "b", "cross_zone", "USD")
    world.apply("n1", (WEB1, DB, GIB, 1))
    world.book = cheaper(0.5)
    world.apply("n1", (WEB1, DB, GIB, 1))
    world.tick()
    assert world.series("zone_cost") == {key: pytest.approx(0.04)}
    world.apply("n1", (WEB1, DB, GIB, 1))
    assert world.series("zone_cost") == {key: pytest.approx(0.05)}
    world.book = cheaper(1.0)
    world.tick()
    world.apply("n1", (WEB1, DB, GIB, 1))
    assert world.series("zone_cost") == {key: pytest.approx(0.05)}


def test_bytes_up_to_the_day_a_list_begins_have_the_price_of_the_one_before() -> None:
    world = CostWorld(from_tomorrow())
    world.apply("n1", (WEB1, DB, GIB, 1))
    world.tick(86_400.0)
    world.apply("n1", (WEB1, DB, GIB, 1))
    assert world.series("zone_cost") == {("a", "b", "cross_zone", "USD"): pytest.approx(0.03)}


def test_another_currency_is_another_series(world: CostWorld) -> None:
    world.apply("n1", (WEB1, DB, GIB, 1))
    world.book = in_euro()
    world.tick()
    world.apply("n1", (WEB1, DB, GIB, 1))
    assert world.series("zone_cost") == {
        ("a", "b", "cross_zone", "USD"): pytest.approx(0.02),
        ("a", "b", "cross_zone", "EUR"): pytest.approx(0.018),
    }


def test_rows_have_their_cost_and_their_priced_bytes(world: CostWorld) -> None:
    world.apply("n1", (WEB1, DB, GIB, 1), (WEB1, GKE, 5, 1))
    views = world.pipeline.snapshot().ledger.views
    for family, each in (("workload", 0.01), ("pair", 0.02), ("zone", 0.02)):
        costs, sizes = views[family].costs, views[family].bytes
        assert costs is not None
        assert costs.priced_bytes.tolist() == [n if n == GIB else 0 for n in sizes.tolist()]
        assert costs.cost.tolist() == [each if n == GIB else 0.0 for n in sizes.tolist()]


def test_bytes_of_a_time_without_prices_are_unpriced(tmp_path: Path) -> None:
    world = CostWorld(BOOK, tmp_path / "state")
    world.limits = replace(world.limits, priced=False)
    world.restart()
    world.apply("n1", (WEB1, DB, 10, 1))
    world.limits = replace(world.limits, priced=True)
    world.restart()
    world.apply("n1", (WEB1, DB, 5, 1))
    assert world.series("unpriced") == {("before_prices",): 10}
    assert world.series("priced") == {("USD",): 5}
    world.close()


def test_beyond_the_limit_of_a_family_costs_have_other_names_and_keep_side_and_class() -> None:
    world = CostWorld(BOOK, limits=LedgerLimits({"workload_cost": 1, "workload": 1, "zone": 1}))
    world.apply("n1", (WEB1, DB, GIB, 1), (WEB1, COPY, GIB, 1))
    other = ("other", "other", "other")
    sides = world.series("workload_cost")
    assert set(sides) <= {
        (*name, side, cls, "USD")
        for name in (WEB, ("shop", "S", "db"), ("far", "Pod", "copy"), other)
        for side in ("sender", "receiver")
        for cls in ("cross_zone", "cross_region")
    }
    assert len([labels for labels in sides if labels[0] != "other"]) == 1
    check(world, exact=False)


def flows_of(node: str) -> st.SearchStrategy[Flow]:
    inner = [address for addresses in ADDRESSES.values() for address in addresses]
    own, far = st.sampled_from(ADDRESSES[node]), st.sampled_from([*inner, *OUTER])
    size, opener = st.integers(0, 1 << 40), st.integers(0, 2)
    outward = st.tuples(own, far, size, opener)
    return outward | st.tuples(st.sampled_from(OUTER), own, size, opener)


def batches() -> st.SearchStrategy[tuple[str, list[Flow]]]:
    return st.sampled_from(sorted(ADDRESSES)).flatmap(
        lambda node: st.tuples(st.just(node), st.lists(flows_of(node), min_size=1, max_size=6))
    )


STEPS = st.lists(
    st.one_of(
        batches(),
        batches(),
        batches(),
        st.tuples(st.just("book"), st.sampled_from(BOOKS)),
        st.tuples(st.just("tick"), st.sampled_from([0.5, 6.0, 40_000.0])),
        st.tuples(st.just("restart"), st.just(None)),
        st.tuples(st.just("commit"), st.just(None)),
        st.tuples(st.just("end"), st.sampled_from(["web-1", "db-0", "copy", "gke"])),
    ),
    max_size=25,
)


def see_all_zones(world: CostWorld) -> None:
    """A process knows the provider of a zone from the first endpoint of it that has one."""
    world.apply("n1", ("10.0.0.1", "10.0.0.2", 1, 1), ("10.0.0.1", "10.0.0.3", 1, 1))


def play(world: CostWorld, steps: list[tuple[str, object]]) -> Iterator[None]:
    see_all_zones(world)
    for what, value in steps:
        if what == "book":
            assert isinstance(value, PriceBook)
            world.book = value
            world.tick()
        elif what == "tick":
            assert isinstance(value, float)
            world.tick(value)
        elif what == "restart":
            world.restart()
            see_all_zones(world)
        elif what == "commit":
            world.commit()
        elif what == "end":
            space = "shop" if value in ("web-1", "db-0") else "far"
            world.index.drop_pod(f"static:{space}/{value}")
        else:
            assert isinstance(value, list)
            world.apply(what, *value)
        yield


MONEY = ("workload_cost", "caused_cost", "zone_cost")


def check(world: CostWorld, *, exact: bool) -> None:
    """Compare with the truth: each series if none ended and no limit is small, else the sums."""
    truth = world.truth
    views = zip(MONEY, (truth.sides, truth.caused, truth.zones), strict=True)
    for family, wanted in views:
        if exact:
            assert some(world.series(family)) == pytest.approx(some(wanted), rel=1e-9, abs=0)
        assert sum(world.total(family).values()) == pytest.approx(
            sum(wanted.values()), rel=1e-9, abs=0
        )
    priced, unpriced = world.series("priced"), world.series("unpriced")
    assert priced == {(name,): size for name, size in truth.priced.items() if size}
    assert unpriced == {(name,): size for name, size in truth.unpriced.items() if size}
    assert sum(priced.values()) + sum(unpriced.values()) == truth.attributed
    assert sum(world.series("zone").values()) == truth.attributed


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_three_views_add_up_to_the_cost_of_each_byte_and_none_decreases(
    steps: list[tuple[str, object]],
) -> None:
    with TemporaryDirectory() as folder:
        world = CostWorld(BOOK, Path(folder) / "state", LedgerLimits(retention=3600.0))
        before: dict[tuple[str, tuple[str, ...]], float] = {}
        for _ in play(world, steps):
            now = {(f, labels): n for f in MONEY for labels, n in world.series(f).items()}
            assert all(now.get(key, size) >= size for key, size in before.items())
            before = now
        check(world, exact=not any(what in ("end", "tick") for what, _ in steps))
        world.close()


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_they_add_up_beyond_the_limits_of_series_as_well(steps: list[tuple[str, object]]) -> None:
    small = {"workload": 2, "pair": 1, "zone": 2, "workload_cost": 2, "zone_cost": 1}
    with TemporaryDirectory() as folder:
        world = CostWorld(BOOK, Path(folder) / "state", LedgerLimits(small, retention=60.0))
        for _ in play(world, steps):
            pass
        check(world, exact=False)
        world.close()
