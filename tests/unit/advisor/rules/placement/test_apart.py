"""Two small workloads without a zone in common."""

from dataclasses import replace

import pytest
from advice_world import GIB, month, of_rule, party, talk, workload, world

WEB, CART = party("shop/web"), party("shop/cart")
FLOWS = talk(WEB, CART, {("a", "b"): 3 * GIB, ("c", "b"): GIB})
CLIENTS, SERVER = workload(WEB, {"a": 1, "c": 1}), workload(CART, {"b": 2})


def test_the_client_moves_to_the_server() -> None:
    (one,) = of_rule(world(FLOWS, workloads=[CLIENTS, SERVER]), "apart")
    assert one.saved_bytes == 4 * GIB
    assert one.saving_per_month == {"USD": pytest.approx(month(4 * GIB))}
    assert one.draft.change.commands == ()
    assert 'values: ["b"]' in one.draft.change.yaml


def test_the_saving_is_without_what_the_client_sends_across_afterwards() -> None:
    other = party("shop/db")
    flows = FLOWS + talk(WEB, CART, {("a", "b"): GIB}, 9090)
    less = talk(WEB, other, {("a", "a"): 2 * GIB}) + talk(other, WEB, {("c", "c"): GIB})
    (one,) = of_rule(world(flows + less, workloads=[CLIENTS, SERVER]), "apart")
    assert one.saved_bytes == pytest.approx(2 * GIB)
    assert one.crossing_bytes == 5 * GIB
    assert one.id == "apart:Deployment/shop/web~Deployment/shop/cart"
    more = talk(WEB, other, {("a", "a"): 5 * GIB})
    assert of_rule(world(flows + more, workloads=[CLIENTS, SERVER]), "apart") == []


@pytest.mark.parametrize(
    ("client", "server"),
    [
        ({"pods": {"a": 1, "b": 1}}, {}),
        ({"pods": {"a": 5}}, {}),
        ({"zones": ("a",)}, {}),
        ({"not_zones": ("b",)}, {}),
        ({"is_pinned": True}, {}),
        ({"spread": "DoNotSchedule"}, {}),
        ({}, {"is_pinned": True}),
        ({"is_known": False}, {}),
        ({}, {"has_claims": True}),
        ({}, {"pods": {"b": 1, "d": 1}}),
    ],
)
def test_it_is_silent(client: dict[str, object], server: dict[str, object]) -> None:
    workloads = [replace(CLIENTS, **client), replace(SERVER, **server)]  # type: ignore[arg-type]
    assert of_rule(world(FLOWS, workloads=workloads), "apart") == []
