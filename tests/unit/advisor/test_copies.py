"""Copies of the same data, in one workload and in several: no proposal puts them in one zone."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from advice_world import GIB, ZONES, of_all, of_rule, party, service, talk, workload, world

from kzn.advisor.evaluate import SAVES
from kzn.advisor.facts import Endpoint, Flow, Party, Service
from kzn.advisor.world import World

WEB = party("shop/web")


def members(kind: str, count: int = 3) -> list[Party]:
    return [party(f"data/m-{number}", kind) for number in range(count)]


def all_to_all(parties: Iterable[Party], ports: Iterable[int] = (9300,)) -> list[Flow]:
    """Each in a zone of its own, with connections to all others; a port for each in turn."""
    placed = list(zip(parties, ZONES, tuple(ports) * len(ZONES), strict=False))
    return [
        flow
        for one, zone, _ in placed
        for other, there, port in placed
        if one != other
        for flow in talk(one, other, {(zone, there): 100 * GIB}, port)
    ]


def behind_one(parties: Iterable[Party], each: int = 2, **routing: Any) -> Service:
    ends = tuple(
        Endpoint(one, f"{zone}{number}", zone, False)
        for one, zone in zip(parties, ZONES, strict=False)
        for number in range(each)
    )
    return replace(service("data/m", WEB, {}, 9300, **routing), endpoints=ends)


def placed(parties: Iterable[Party], pods: int, **facts: object) -> list[Any]:
    return [
        workload(one, {zone: pods}, **facts)  # type: ignore[arg-type]
        for one, zone in zip(parties, ZONES, strict=False)
    ]


def saving(found: World) -> list[str]:
    advice = of_all(found)
    assert not advice.failed
    return [one.id for one in advice.proposals if one.draft.verdict in SAVES]


@pytest.mark.parametrize("ports", [(6801,), (6801, 6805, 6809)])
def test_deployments_that_all_open_connections_to_each_other_stay_apart(
    ports: tuple[int, ...],
) -> None:
    osds = members("Deployment")
    assert saving(world(all_to_all(osds, ports), [], placed(osds, 1))) == []


@pytest.mark.parametrize("routing", [{}, {"is_headless": True}])
@pytest.mark.parametrize("has_claims", [True, False])
def test_a_workload_for_each_zone_behind_one_service_stays_in_its_zone(
    routing: Mapping[str, Any], has_claims: bool
) -> None:
    data = members("StatefulSet")
    found = world(
        all_to_all(data), [behind_one(data, **routing)], placed(data, 2, has_claims=has_claims)
    )
    assert saving(found) == []
    (one,) = of_all(found).proposals
    assert (one.id, one.draft.verdict) == ("replication:StatefulSet/data/m-0", "leave")
    assert one.draft.workloads == tuple(data)


def test_one_that_only_fetches_from_others_behind_its_service_is_a_copy() -> None:
    data = members("Deployment")
    flows = [flow for flow in all_to_all(data) if flow.client == data[0]]
    assert saving(world(flows, [behind_one(data)], placed(data, 1))) == []


def test_two_workloads_with_data_are_copies_without_a_service_in_common() -> None:
    # Both have pods in all zones: only what they have tells them from two applications.
    data = members("StatefulSet", 2)
    sizes = {(one, other): 100 * GIB for one in ZONES for other in ZONES}
    two = dict.fromkeys(ZONES, 2)
    for kind, is_copy in (("StatefulSet", True), ("Deployment", False)):
        data = members(kind, 2)
        flows = talk(data[0], data[1], sizes, 9300) + talk(data[1], data[0], sizes, 9300)
        services = [service(str(one), one, two, 9300) for one in data]
        found = world(flows, services, [workload(one, two) for one in data])
        assert (saving(found) == []) == is_copy


def test_clients_of_copies_are_still_advised() -> None:
    data = members("StatefulSet")
    client = talk(WEB, data[1], {("a", "b"): 300 * GIB}, 9300)
    found = world(all_to_all(data) + client, [behind_one(data)], placed(data, 2))
    (one,) = of_rule(found, "same-zone")
    assert one.saved_bytes == 300 * GIB
    assert one.draft.workloads == (*data, WEB)


def test_a_member_does_not_move_towards_what_it_uses() -> None:
    osds, monitor = members("Deployment"), party("data/mon")
    flows = all_to_all(osds) + talk(osds[0], monitor, {("a", "b"): 900 * GIB}, 6789)
    workloads = [*placed(osds, 1), workload(monitor, {"b": 1})]
    assert saving(world(flows, [], workloads)) == []
    # What no member is may move towards them.
    flows = all_to_all(osds) + talk(WEB, osds[1], {("a", "b"): 900 * GIB}, 9300)
    found = world(flows, [], [*placed(osds, 1), workload(WEB, {"a": 1})])
    assert saving(found) == ["apart:Deployment/shop/web~Deployment/data/m-1"]


def test_a_service_for_each_member_does_not_spread_it() -> None:
    osds = members("Deployment")
    services = [
        service(str(one), one, {zone: 1}, 9300) for one, zone in zip(osds, ZONES, strict=True)
    ]
    assert saving(world(all_to_all(osds), services, placed(osds, 1))) == []


def test_jobs_that_work_with_each_other_are_left() -> None:
    jobs = members("Job")
    assert saving(world(all_to_all(jobs))) == []


def test_without_knowing_who_opened_a_connection_neither_is_a_client_that_moves() -> None:
    osds = members("Deployment")
    flows = [replace(flow, initiator="unknown") for flow in all_to_all(osds)]
    found = world(flows, [], placed(osds, 1))
    assert not found.copies.are_mutual(osds[0], osds[1])
    assert saving(found) == []


def test_members_that_fetch_from_each_other_are_no_scrapers() -> None:
    parties = [party(f"data/m-{number}") for number in range(7)]
    ends = list(zip(parties, ZONES * 3, strict=False))
    flows = [
        flow
        for one, zone in ends
        for other, there in ends
        if one != other
        for flow in talk(one, other, {(zone, there): (GIB, 99 * GIB)}, 9000)
    ]
    assert saving(world(flows, [], [workload(one, {zone: 1}) for one, zone in ends])) == []


def test_pods_of_an_operators_own_kind_have_data() -> None:
    sizes = {("a", "b"): (GIB, 300 * GIB)}
    pools = members("StrimziPodSet", 2)
    flows = talk(pools[0], pools[1], sizes, 9092) + talk(pools[1], pools[0], sizes, 9092)
    brokers = service("data/pool", pools[1], {"a": 1, "b": 1}, 9092, is_headless=True)
    assert saving(world(flows, [brokers], [workload(pools[1], {"a": 1, "b": 1})])) == []


def test_a_preference_names_what_copies_may_send_by_the_same_service() -> None:
    data = members("StatefulSet")
    client = talk(WEB, data[1], {("a", "b"): 300 * GIB}, 9300)
    for copies in (all_to_all(data), []):
        found = world(copies + client, [behind_one(data)], placed(data, 2))
        (one,) = of_rule(found, "same-zone")
        assert any("send each other" in risk for risk in one.draft.risks) == bool(copies)
