"""Money, order and overlaps of proposals."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import pytest
from advice_world import BOTH, GIB, HOUR, month, of_all, party, service, talk, workload, world

from kzn.advisor.declaration import Rule
from kzn.advisor.evaluate import Advice, advise
from kzn.advisor.prices import zone_prices
from kzn.advisor.proposal import Change, Draft, Move, Verdict
from kzn.advisor.world import World

WEB, CART, DB = party("shop/web"), party("shop/cart"), party("shop/db", "StatefulSet")
FLOWS = talk(WEB, CART, {("a", "b"): (GIB, 3 * GIB), ("a", "a"): 5 * GIB})


def draft(
    *moves: Move, subject: str = "x", verdict: Verdict = "proposed", effort: int = 1
) -> Draft:
    flows = tuple(move.flow for move in moves)
    return Draft(
        subject,
        "t",
        Change("c"),
        flows,
        moves,
        verdict=verdict,
        effort=effort,  # type: ignore[arg-type]
    )


def rule(name: str, *drafts: Draft) -> Rule:
    return Rule(name, "s", lambda _world: drafts)


def advice(*rules: Rule, found: World | None = None) -> Advice:
    return advise(found or world(FLOWS), rules)


def test_a_saving_is_bytes_at_the_price_of_both_sides_in_both_directions() -> None:
    (one,) = advice(rule("r", draft(Move(0, GIB), Move(1, 3 * GIB)))).proposals
    assert one.saving_per_month == {"USD": pytest.approx(month(4 * GIB))}
    assert one.cost == {"USD": pytest.approx(4 * GIB * BOTH)}
    assert (one.measured_bytes, one.crossing_bytes, one.saved_bytes) == (4 * GIB, 4 * GIB, 4 * GIB)
    assert [(p.src_zone, p.dst_zone, round(p.both_per_gib, 6)) for p in one.prices] == [
        ("a", "b", 0.02),
        ("b", "a", 0.02),
    ]


def test_a_month_is_of_the_seconds_that_have_data() -> None:
    short = world(FLOWS, window=replace(HOUR, seconds=1800))
    one = advice(rule("r", draft(Move(0, GIB))), found=short).proposals[0]
    assert one.saving_per_month == {"USD": pytest.approx(2 * month(GIB))}
    none = world(FLOWS, window=replace(HOUR, seconds=0))
    assert advice(rule("r", draft(Move(0, GIB))), found=none).total_per_month == {"USD": 0}


def test_savings_of_the_same_bytes_are_added_once() -> None:
    found = advice(
        rule("big", draft(Move(0, GIB), Move(1, 2 * GIB))),
        rule("small", draft(Move(1, 3 * GIB), subject="y")),
        rule("other", draft(Move(0, GIB / 2), subject="z")),
    )
    assert [one.id for one in found.proposals] == ["big:x", "small:y", "other:z"]
    assert [round(one.counted_bytes_per_month / 730 / GIB, 6) for one in found.proposals] == [
        3,
        1,
        0,
    ]
    assert found.total_per_month == {"USD": pytest.approx(month(4 * GIB))}
    assert [one.overlaps for one in found.proposals] == [(), ("big:x",), ("big:x",)]
    assert sum(found.by_rule.values()) == pytest.approx(found.total_per_month["USD"])


def test_what_is_refused_or_left_comes_last_and_counts_nothing() -> None:
    found = advice(
        rule("no", draft(Move(1, 3 * GIB), verdict="refused")),
        rule("leave", draft(Move(1, 3 * GIB), verdict="leave")),
        rule("yes", draft(Move(1, GIB))),
    )
    assert [one.rule for one in found.proposals] == ["yes", "leave", "no"]
    assert found.total_per_month == {"USD": pytest.approx(month(GIB))}


def test_equal_savings_are_in_the_order_of_effort() -> None:
    found = advice(
        rule("hard", draft(Move(0, GIB), effort=4)), rule("light", draft(Move(0, GIB), effort=1))
    )
    assert [one.rule for one in found.proposals] == ["light", "hard"]


def test_bytes_without_a_price_are_named_and_save_no_money() -> None:
    off = replace(world(FLOWS), price_of=zone_prices(None, (), date(2026, 1, 1)))
    (one,) = advice(rule("r", draft(Move(0, GIB))), found=off).proposals
    assert one.saving_per_month == {}
    assert (one.unpriced_saved_bytes, one.unpriced_bytes, one.cost) == (GIB, GIB, {})
    assert one.saved_bytes_per_month == 730 * GIB


def test_a_rule_that_fails_is_named_and_the_others_answer() -> None:
    def broken(_world: World) -> Iterator[Draft]:
        raise ZeroDivisionError("by what")
        yield

    found = advice(Rule("bad", "s", broken), rule("good", draft(Move(0, GIB))))
    assert found.failed == {"bad": "ZeroDivisionError: by what"}
    assert [one.rule for one in found.proposals] == ["good"]


def test_the_command_to_verify_has_the_window_and_the_flows() -> None:
    span = "--by zones --before 2023-11-14T22:13:20Z..2023-11-14T23:13:20Z"
    flows = FLOWS + talk(CART, DB, {("a", "b"): GIB}, 5432)
    found = world(flows)

    def verify(made: Draft) -> str:
        return advice(rule("r", made), found=found).proposals[0].verify

    of_workload = replace(draft(Move(0, GIB)), workloads=(CART, WEB))
    assert verify(of_workload) == f"kzn diff --where workload=shop/cart {span}"
    # A Service's side is what is asked and answered at its ports, not what it asks others.
    of_service = replace(of_workload, service="shop/cart")
    assert verify(of_service) == f"kzn diff --where workload=shop/cart --where port=8080 {span}"
    of_pair = replace(draft(Move(1, 2), subject="shop/web~shop/cart"), workloads=(WEB, CART))
    assert verify(of_pair) == (
        "kzn diff --where cause_workload=shop/web --where workload=shop/cart --where port=8080"
        f" {span}"
    )
    # Once the client moved, its bytes with others count too.
    of_both = replace(of_pair, flows=(0, 1, 4, 5))
    assert verify(of_both) == f"kzn diff --where workload=shop/web {span}"


def test_two_proposals_of_one_id_overlap_and_none_overlaps_itself() -> None:
    one = draft(Move(0, GIB), Move(0, GIB / 2))
    found = advice(rule("r", one, draft(Move(0, GIB / 4))))
    assert [p.overlaps for p in found.proposals] == [(), ("r:x",)]


def test_two_ports_of_a_pair_are_two_subjects() -> None:
    flows = [
        flow
        for port in (5432, 6379)
        for flow in talk(WEB, DB, {("a", "b"): (GIB, 9 * GIB), ("b", "b"): GIB}, port)
    ]
    found = of_all(world(flows, [], [workload(WEB, {"a": 1, "b": 1}), workload(DB, {"b": 2})]))
    ids = [one.id for one in found.proposals]
    assert ids == [
        "database-reads:Deployment/shop/web~StatefulSet/shop/db:5432/tcp",
        "database-reads:Deployment/shop/web~StatefulSet/shop/db:6379/tcp",
    ]


def test_two_rules_for_one_pair_save_no_more_than_crosses() -> None:
    flows = talk(WEB, DB, {("a", "b"): (GIB, 9 * GIB), ("b", "b"): GIB}, port=5432)
    found = of_all(
        world(
            flows,
            [service("shop/db", DB, {"b": 2}, 5432)],
            [workload(WEB, {"a": 1, "b": 1}), workload(DB, {"b": 2}, has_claims=True)],
        )
    )
    assert len(found.proposals) > 1
    assert found.total_per_month["USD"] == pytest.approx(month(10 * GIB))


@pytest.mark.parametrize(("first", "second", "best"), [(100, 100, 100), (100, 300, 300)])
def test_moves_that_exclude_each_other_count_once(first: int, second: int, best: int) -> None:
    # web (a) -> api (b) -> db (c): once api is in c, web in b crosses to it again.
    api, db = party("shop/api"), party("shop/db")
    flows = talk(WEB, api, {("a", "b"): first * GIB})
    flows += talk(api, db, {("b", "c"): second * GIB}, 5432)
    placed = [workload(WEB, {"a": 1}), workload(api, {"b": 1}), workload(db, {"c": 1})]
    found = of_all(world(flows, [], placed))
    assert [one.rule for one in found.proposals] == ["apart", "apart"]
    assert found.total_per_month == {"USD": pytest.approx(month(best * GIB))}
    assert found.proposals[1].overlaps == (found.proposals[0].id,)
    assert found.proposals[1].counted_per_month == {"USD": 0}


def test_a_move_counts_beyond_what_is_saved_of_its_flows_and_nothing_after_it_does() -> None:
    moved = replace(draft(Move(0, GIB), Move(1, 2 * GIB), subject="m"), moved=WEB)
    found = advice(rule("other", draft(Move(1, 5 * GIB))), rule("move", moved))
    assert [round(one.counted_bytes_per_month / 730 / GIB, 6) for one in found.proposals] == [5, 0]
    found = advice(
        rule("other", draft(Move(0, 0.5 * GIB), subject="o")),
        rule("move", moved),
        rule("small", draft(Move(1, 0.2 * GIB), subject="s")),
    )
    assert [one.rule for one in found.proposals] == ["move", "other", "small"]
    assert [round(one.counted_bytes_per_month / 730 / GIB, 6) for one in found.proposals] == [
        3,
        0,
        0,
    ]
    flows = FLOWS + talk(CART, DB, {("a", "b"): 4 * GIB}, 5432)
    found = advice(
        rule("other", draft(Move(0, 0.5 * GIB), Move(4, 2 * GIB))),
        rule("move", replace(moved, moves=(Move(1, 1.2 * GIB),))),
        found=world(flows),
    )
    assert [round(one.counted_bytes_per_month / 730 / GIB, 6) for one in found.proposals] == [
        2.5,
        0.7,
    ]
