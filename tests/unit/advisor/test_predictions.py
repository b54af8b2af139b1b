"""Predictions against a simulator of kube-proxy's choice, in random clusters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from advice_world import of_all, party, service, talk, workload, world
from hypothesis import given, settings
from hypothesis import strategies as st
from routing_simulator import SimulatedEndpoint, choose, crossing, loads

from kzn.advisor.evaluate import SAVES
from kzn.advisor.facts import Endpoint, Flow, Service, Workload
from kzn.advisor.proposal import Proposal

ZONES = ("a", "b", "c")
WEB, CART, DB = party("shop/web"), party("shop/cart"), party("shop/db", "StatefulSet")
CONNECTIONS = 1_000_000
"""Of a client zone at most: chance then changes a share of 5 % by less than a hundredth."""
SIZE = (2_000, 18_000)
"""Bytes of the requests and of the responses of a connection."""
ROUTING: tuple[dict[str, Any], ...] = (
    {},
    {"distribution": "PreferClose"},
    {"distribution": "PreferSameZone"},
    {"topology_mode": "Auto"},
    {"distribution": "PreferClose", "topology_mode": "Disabled"},
)


@dataclass(frozen=True)
class Case:
    """A Service, its clients by zone, and how it chooses endpoints before a change."""

    clients: Mapping[tuple[str, str], int]
    endpoints: tuple[SimulatedEndpoint, ...]
    routing: Mapping[str, Any]
    seed: int
    members: tuple[str, ...] = ()
    """Zones of workloads that replicate to each other, one of each zone or several."""
    kind: str = "StatefulSet"
    has_claims: bool = False
    shared: str = ""
    """The Service that all of them are behind: "", "ClusterIP" or "None"."""

    @property
    def prefers_zone(self) -> bool:
        return "distribution" in self.routing and "topology_mode" not in self.routing


def endpoints_of(counts: Mapping[str, int]) -> list[SimulatedEndpoint]:
    """Endpoints on two nodes of each zone in turn."""
    return [
        SimulatedEndpoint(zone, f"{zone}{place % 2}")
        for zone, number in counts.items()
        for place in range(number)
    ]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    clients = {
        (zone, f"{zone}{number}"): draw(st.integers(50_000, CONNECTIONS))
        for zone in ZONES
        for number in range(2)
        if draw(st.booleans()) or (zone, number) == ("a", 0)
    }
    counts = {zone: draw(st.integers(0, 5)) for zone in ZONES}
    if not any(counts.values()):
        counts["b"] = 1
    has_all_hints = draw(st.booleans())
    endpoints = endpoints_of(counts)
    if not has_all_hints:
        endpoints[0] = replace(endpoints[0], has_hint=False)
    routing = draw(st.sampled_from(ROUTING))
    return Case(
        clients,
        tuple(endpoints),
        routing,
        draw(st.integers(0, 2**32)),
        tuple(draw(st.lists(st.sampled_from(ZONES), min_size=2, max_size=4))),
        draw(st.sampled_from(("StatefulSet", "Deployment"))),
        draw(st.booleans()),
        draw(st.sampled_from(("", "ClusterIP", "None"))),
    )


def members_of(case: Case) -> tuple[list[Flow], list[Service], list[Workload]]:
    """Workloads that all open connections to each other, and maybe one Service of them."""
    placed = [(party(f"data/m{at}", case.kind), zone) for at, zone in enumerate(case.members)]
    flows = [
        flow
        for one, zone in placed
        for other, there in placed
        if one != other
        for flow in talk(one, other, {(zone, there): 40_000_000}, 7000)
    ]
    ends = tuple(Endpoint(one, f"{zone}9", zone, True) for one, zone in placed)
    peers = replace(
        service("data/peers", CART, {}, 7000, is_headless=case.shared == "None"), endpoints=ends
    )
    known = [workload(one, {zone: 1}, has_claims=case.has_claims) for one, zone in placed]
    return flows, [peers] if case.shared else [], known


def proposals_of(case: Case, before: Mapping[tuple[str, str], int]) -> tuple[Proposal, ...]:
    sizes = {key: (n * SIZE[0], n * SIZE[1]) for key, n in before.items()}
    made = tuple(
        Endpoint(CART, one.node, one.zone, one.has_hint, one.has_hint) for one in case.endpoints
    )
    cart = replace(service("shop/cart", CART, {}, **case.routing), endpoints=made)
    copies = talk(DB, DB, {(a, b): 5_000_000 for a in ZONES for b in ZONES}, 8080)
    flows, services, known = members_of(case)
    pods = {zone: sum(one.zone == zone for one in case.endpoints) for zone in ZONES}
    found = of_all(
        world(
            talk(WEB, CART, sizes) + copies + flows,
            [cart, *services],
            [
                *known,
                workload(WEB, {zone: 1 for zone, _ in case.clients}, nodes=["x"]),
                workload(CART, {zone: n for zone, n in pods.items() if n}),
            ],
        )
    )
    assert not found.failed
    return found.proposals


def after_of(case: Case, one: Proposal, rng: np.random.Generator) -> tuple[int, dict[str, float]]:
    """What crosses, and the loads, once the proposal was followed."""
    endpoints = endpoints_of({zone.zone: zone.endpoints_after for zone in one.draft.zones})
    found = choose(case.clients, endpoints, prefers_zone=True, rng=rng)
    return crossing(found.counted), loads(found.all, endpoints)


@settings(max_examples=150)
@given(cases())
def test_predictions_are_within_five_percent_and_nothing_gets_worse(case: Case) -> None:
    rng = np.random.default_rng(case.seed)
    before = choose(case.clients, case.endpoints, prefers_zone=case.prefers_zone, rng=rng)
    was, total = crossing(before.counted), sum(before.all.values())
    little = 0.001 * total
    # What stays on nodes shows by what crosses from their zone: not where clients keep to their
    # zones already, and not where only one zone has endpoints.
    keeps = case.prefers_zone and all(one.has_hint for one in case.endpoints)
    shows_load = not keeps and len({one.zone for one in case.endpoints}) > 1
    for one in proposals_of(case, before.counted):
        if one.rule == "replication":
            assert one.draft.verdict == "leave"
            continue
        assert not {DB, *(member.party for member in members_of(case)[2])} & {*one.draft.workloads}
        if one.draft.verdict not in SAVES or one.rule == "apart":
            continue
        assert one.draft.zones
        crosses, measured = after_of(case, one, rng)
        predicted = (one.crossing_bytes - one.saved_bytes) / sum(SIZE)
        assert predicted == pytest.approx(crosses, rel=0.05, abs=little)
        assert one.saved_bytes / sum(SIZE) == pytest.approx(was - crosses, rel=0.05, abs=little)
        assert crosses <= was + little
        for zone in one.draft.zones if shows_load else ():
            if zone.load_after is not None:
                assert zone.load_after == pytest.approx(measured[zone.zone], rel=0.05, abs=0.005)


def test_a_preference_that_works_has_no_proposal() -> None:
    endpoints = tuple(endpoints_of(dict.fromkeys(ZONES, 1)))
    case = Case({(zone, f"{zone}1"): 1000 for zone in ZONES}, endpoints, ROUTING[1], 1)
    before = choose(case.clients, endpoints, prefers_zone=True, rng=np.random.default_rng(1))
    assert [one.rule for one in proposals_of(case, before.counted)] == ["replication"]
