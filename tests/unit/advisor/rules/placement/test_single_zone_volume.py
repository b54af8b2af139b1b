"""Clients of a server whose volumes are of one zone."""

from dataclasses import replace

import pytest
from advice_world import GIB, of_rule, party, talk, workload, world

WEB, DB = party("shop/web"), party("shop/db", "StatefulSet")
FLOWS = talk(WEB, DB, {("a", "b"): 2 * GIB, ("b", "b"): GIB, ("c", "b"): GIB}, 5432)
CLIENTS = workload(WEB, {"a": 1, "b": 1, "c": 1})
SERVER = workload(DB, {"b": 2}, has_claims=True, volume_zones=("b",))


def test_the_clients_move_to_the_volumes() -> None:
    (one,) = of_rule(world(FLOWS, workloads=[CLIENTS, SERVER]), "single-zone-volume")
    assert one.saved_bytes == 3 * GIB
    assert one.draft.change.commands == ()
    assert 'values: ["b"]' in one.draft.change.yaml
    assert (one.draft.verdict, one.draft.confidence) == ("warning", "medium")


def test_the_saving_is_without_what_the_clients_send_across_afterwards() -> None:
    cache = party("shop/cache")
    for size, saved in ((2 * GIB, GIB), (3 * GIB, 0)):
        flows = FLOWS + talk(WEB, cache, {("a", "a"): size}) + talk(WEB, DB, {("b", "b"): GIB}, 1)
        found = of_rule(world(flows, workloads=[CLIENTS, SERVER]), "single-zone-volume")
        assert [one.saved_bytes for one in found] == ([pytest.approx(saved)] if saved else [])


def test_without_the_right_to_list_volumes_it_is_less_sure_and_says_so() -> None:
    server = replace(SERVER, volume_zones=())
    (one,) = of_rule(world(FLOWS, workloads=[CLIENTS, server]), "single-zone-volume")
    assert one.draft.confidence == "low"
    assert "right to list" in one.draft.unknown[0]


@pytest.mark.parametrize(
    ("client", "server"),
    [
        ({}, {"has_claims": False}),
        ({}, {"pods": {"b": 1, "c": 1}}),
        ({}, {"volume_zones": ("b", "c")}),
        ({"has_claims": True}, {}),
        ({"party": party("shop/web", "StatefulSet")}, {}),
    ],
)
def test_it_is_silent(client: dict[str, object], server: dict[str, object]) -> None:
    one, other = replace(CLIENTS, **client), replace(SERVER, **server)  # type: ignore[arg-type]
    flows = talk(one.party, DB, {("a", "b"): 2 * GIB}, 5432)
    assert of_rule(world(flows, workloads=[one, other]), "single-zone-volume") == []
