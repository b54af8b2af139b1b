"""Facts of rules from a topology and the rows of a history."""

import asyncio
from dataclasses import replace
from datetime import date

import pytest
from advice_history import T0, Store, sources_of

from kzn.advisor.facts import Endpoint, Window, version_of
from kzn.advisor.gather import (
    DIMENSIONS,
    Topology,
    cluster_of,
    services_of,
    window_of,
    workloads_of,
    world_of,
)
from kzn.advisor.prices import zone_prices
from kzn.history.query import Answer, Measure, MissingSpan, TrafficQuery
from kzn.model.endpoint import POD
from kzn.model.endpoint import Endpoint as Owner
from kzn.model.ip import pack
from kzn.topology.facts import NodeFacts, PodFacts, ServiceFacts, Workload
from kzn.topology.routing import Routing
from kzn.topology.routing_facts import (
    READY,
    TERMINATING,
    ZONE_HINT,
    ControllerFacts,
    ServiceRouting,
    SliceFacts,
    SlicePort,
    VolumeFacts,
)


def slice_of(uid: str, *members: tuple[str, str, str, int], port: int = 8080) -> SliceFacts:
    """Endpoints: address, node, zone, flags."""
    return SliceFacts(
        uid,
        "shop",
        "cart",
        (SlicePort("http", port, "TCP"),),
        b"".join(pack(one[0]) for one in members),
        bytes(one[3] for one in members),
        tuple(one[1] for one in members),
        tuple(one[2] for one in members),
    )


def owner(name: str, node: str, zone: str) -> Owner:
    return Owner(POD, "shop", name, "Deployment", "cart", node, zone, "r")


OWNERS = {
    pack("10.0.0.1"): owner("c1", "n1", "a"),
    pack("10.0.0.2"): owner("c2", "n2", "b"),
    pack("fd00::1"): owner("c1", "n1", "a"),
}


def topology(*slices: SliceFacts, **facts: object) -> Topology:
    routing = Routing()
    routing.put_service(ServiceFacts("s", "shop", "cart", routing=ServiceRouting("NodePort")))
    for one in slices:
        routing.put_slice(one)
    nodes = [NodeFacts("n1", "n1", "a", kubelet="v1.33.9"), NodeFacts("n2", "n2", "", kubelet="")]
    return Topology(routing.view(), nodes, owners=OWNERS, **facts)  # type: ignore[arg-type]


def test_a_service_has_its_ready_endpoints_once_for_both_families() -> None:
    found = topology(
        slice_of("6", ("fd00::1", "n1", "a", READY)),
        slice_of(
            "4",
            ("10.0.0.1", "n1", "a", READY | ZONE_HINT),
            ("10.0.0.2", "n2", "", READY),
            ("10.0.0.9", "n2", "", READY),  # nothing has it
            ("10.0.0.1", "n1", "a", READY | TERMINATING),
        ),
        slice_of("4b", ("10.0.0.2", "n2", "", 0), port=9090),
    )
    (one,) = services_of(found)
    party = one.parties[0]
    assert (str(party), party.workload_kind, one.type) == ("shop/cart", "Deployment", "NodePort")
    assert one.target_ports == {(8080, "tcp"), (9090, "tcp")}
    assert one.endpoints == (
        Endpoint(party, "n1", "a", True, True),
        Endpoint(party, "n2", "b", False, False),
    )
    assert (one.by_zone, one.keeps_to_zone) == ({"a": 1, "b": 1}, False)


def test_a_service_without_endpoints_is_left_out() -> None:
    assert list(services_of(topology(slice_of("4", ("10.0.0.1", "n1", "a", 0))))) == []


def test_workloads_have_their_pods_by_zone_and_the_volumes_of_their_claims() -> None:
    routing = Routing()
    claims = ("data-db-", "shared")
    routing.put_controller(
        ControllerFacts("c", "StatefulSet", "shop", "db", 2, claims=claims, zones=("b",))
    )
    for uid, claim, zones in (
        ("1", "data-db-1", ("b",)),
        ("2", "data-db-2", ("c",)),  # of a pod that is gone
        ("3", "shared", ("d",)),
    ):
        routing.put_volume(VolumeFacts(uid, "shop", claim, zones))
    pods = [
        (PodFacts(f"p{n}", "shop", f"db-{n}", node), Workload("StatefulSet", "db"))
        for n, node in enumerate(("n1", "n2", "n1", ""))
    ]
    nodes = [NodeFacts("n1", "n1", "a"), NodeFacts("n2", "n2", "b")]
    (one,) = workloads_of(Topology(routing.view(), nodes, pods)).values()
    assert one.pods == {"a": 2, "b": 1}
    assert one.nodes == {"n1", "n2"}
    assert (one.replicas, one.has_claims, one.is_known, one.zones) == (2, True, True, ("b",))
    assert one.volume_zones == ("b", "d")


def test_the_data_plane_is_known_by_what_runs() -> None:
    routing = Routing()
    for uid, kind, name in (
        ("1", "DaemonSet", "cilium"),
        ("2", "DaemonSet", "kube-proxy"),
        ("3", "Deployment", "istiod-canary"),
        ("4", "Deployment", "istiodish"),
    ):
        routing.put_controller(ControllerFacts(uid, kind, "kube-system", name))
    routing.api_version, routing.cilium = "v1.30.4-gke.1", {"enable-service-topology": "true"}
    found = cluster_of(Topology(routing.view(), topology().nodes))
    assert (found.proxy, found.meshes) == ("kube-proxy", ("Istio",))
    assert (found.api_version, found.kubelet) == ((1, 30), (1, 33))
    assert (found.zones, found.unlabelled) == ({"a": 1}, ("n2",))
    routing.drop_controller("2")
    assert cluster_of(Topology(routing.view())).proxy == "cilium"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v1.34.2-eks-1", (1, 34)),
        ("1.30+", (1, 30)),
        ("v1.\u00b2", None),
        ("v1.\u0663", None),
        ("v1." + "9" * 5000, None),
        ("v1", None),
        ("", None),
    ],
)
def test_a_version_that_a_node_makes_up_is_none(text: str, version: tuple[int, int] | None) -> None:
    assert version_of(text) == version


def test_a_window_counts_the_seconds_that_have_data() -> None:
    query = TrafficQuery(1000, 5000)
    gaps = (MissingSpan(0, 1600, "x"), MissingSpan(2000, 2100, "y"), MissingSpan(4950, 9000, "z"))
    found = Answer(query, 60, (), Measure(), 0, "memory", 1500, 4900, gaps)
    assert window_of(found) == Window(1000, 5000, 4900 - 1500 - 100 - 100, 60)
    twice = (*gaps, MissingSpan(2050, 2300, "y"), MissingSpan(2000, 2100, "z"))
    # [1500, 1600), [2000, 2300) and nothing before 4900 else: each second is missing once.
    assert window_of(replace(found, gaps=twice)).seconds == 4900 - 1500 - 100 - 300
    nothing = Answer(query, 60, (), Measure(), 0, "memory", None)
    assert window_of(nothing).seconds == 0


def test_a_world_has_the_flows_and_says_what_it_lacks() -> None:
    store = Store()
    sources = sources_of(store)
    query = TrafficQuery(T0, T0 + 600, by=DIMENSIONS, limit=5, points=10)
    answer = asyncio.run(store.ask(query))
    store.routing.missing["endpointslices"] = "not listed yet"
    view = store.routing.view()
    price_of = zone_prices(None, (), date(2026, 1, 1))
    found = world_of(answer, Topology(view, list(sources.index.nodes())), price_of)
    assert len(found.flows) == 5
    assert found.unseen_bytes == 13 * (50 << 20)
    assert found.notes == (
        "the 5 largest of 18 groups of flows are looked at",
        "not known: endpointslices (not listed yet)",
    )
    one = found.flows[0]
    assert (str(one.client), str(one.server), one.port, sum(one.series)) == (
        "shop/web", "shop/cart", 8080, one.bytes,
    )  # fmt: skip
