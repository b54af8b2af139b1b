"""Which rollouts a comparison shows: those of what it compares, and what is not known."""

from typing import Any

import pytest

from kzn.client.advice import MeasuredPair, Proposed
from kzn.client.rollouts import RolloutsAnswer
from kzn.reports.comparison.rolled_out import MOST, as_json, as_lines, named, rolled_out
from kzn.topology.rollouts import Rollout


def change(
    name: str, kind: str = "Deployment", what: str = "replicas", time: float = 0.0
) -> Rollout:
    namespace, _, short = name.rpartition("/")
    return Rollout(time, time, namespace, kind, short, what, "1", "2")


ALL = RolloutsAnswer(
    [
        change("shop/web"),
        change("shop/cart", "Service", "service"),
        change("bank/web"),
        change("bank/pay", "Service", "service"),
        change("/n1", "Node"),
    ],
    5,
    0.0,
)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (None, ["web", "cart", "web", "pay", "n1"]),
        (frozenset({"shop/web"}), ["web", "cart"]),
        (frozenset({"web"}), ["web", "web"]),
        (frozenset({"n1"}), ["n1"]),
        (frozenset[str](), []),
    ],
)
def test_rollouts_of_the_names_and_of_services_beside_them(
    names: frozenset[str] | None, found: list[str]
) -> None:
    assert [one.name for one in rolled_out(ALL, names).rollouts] == found


def names_of(*asked: Any) -> set[str]:
    found = named(*asked)
    assert found is not None
    return set(found)


def test_names_are_those_of_filters_or_of_rows_and_zones_have_none() -> None:
    where = (("dst_workload", ("shop/cart", "web")), ("port", ("80",)))
    assert names_of(where, None, ["x/y"], "zones") == {"shop/cart", "web"}
    assert named((), None, ["a > b"], "zones") is None
    assert names_of((), None, ["shop/web > bank/web"], "pair") == {"shop/web", "bank/web"}
    assert names_of((), None, ["bank/web:443", "shop/cart"], "port") == {"bank/web", "shop/cart"}
    pair = MeasuredPair(("Pod", "s", "Job", "w"), ("Node", "", "Node", "n1"), 1, "tcp")
    proposal = Proposed("x", "x", 0, 1, True, 1, 1, 1.0, (pair,), 1)
    assert names_of(where, proposal, [], "zones") == {"s/w", "n1"}


def test_of_many_the_newest_are_shown_and_what_is_left_out_is_said() -> None:
    many = RolloutsAnswer(
        [change("shop/web", time=1.7e9 - number) for number in range(MOST + 3)], 900, 0.0, ["note"]
    )
    lines = list(as_lines(rolled_out(many, None)))
    assert len(lines) == 1 + MOST + 1 + 2
    assert lines[1] == "  2023-11-14T22:13:20Z  Deployment shop/web: replicas 1 → 2"
    assert lines[-3:] == [
        "  and 3 more",
        "rollouts: note",
        "rollouts: only the newest 23 of 900 were looked at",
    ]
    assert as_json(rolled_out(many, None))["of"] == MOST + 3
    assert list(as_lines(rolled_out(RolloutsAnswer([], 0, 0.0), None))) == []


def test_names_from_a_cluster_do_not_command_a_terminal() -> None:
    evil = Rollout(0.0, 0.0, "x", "Deployment", "w\x1b[2J", "images", "a\nb", "c\x07")
    lines = list(as_lines(rolled_out(RolloutsAnswer([evil], 1, 0.0), None)))
    assert all(line.isprintable() for line in lines)
