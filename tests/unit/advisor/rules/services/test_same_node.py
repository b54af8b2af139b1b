"""Clients of a DaemonSet's Service: their own node."""

from dataclasses import replace

import pytest
from advice_world import CLUSTER, GIB, ZONES, of_rule, party, service, talk, workload, world

from kzn.advisor.facts import Party

WEB, LOG = party("shop/web"), party("infra/log", "DaemonSet")
SIZES = {(client, server): GIB for client in ZONES for server in ZONES}
ONE = dict.fromkeys(ZONES, 1)
LOGS = service("infra/log", LOG, ONE)
CLIENTS = workload(WEB, ONE, nodes=["a0", "b0"])


@pytest.mark.parametrize(
    ("version", "field"),
    [
        ((1, 34), '"trafficDistribution":"PreferSameNode"'),
        ((1, 33), '"internalTrafficPolicy":"Local"'),
        (None, '"internalTrafficPolicy":"Local"'),
    ],
)
def test_all_that_crosses_stays_on_the_node(version: tuple[int, int] | None, field: str) -> None:
    cluster = replace(CLUSTER, api_version=version)
    found = world(talk(WEB, LOG, SIZES), [LOGS], [CLIENTS], cluster=cluster)
    (one,) = of_rule(found, "same-node")
    assert one.saved_bytes == 6 * GIB
    assert field in one.draft.change.commands[0]
    assert any("dropped" in risk for risk in one.draft.risks) == ("Local" in field)
    assert of_rule(found, "same-zone") == []


JOB, HOST = party("shop/night", "CronJob"), party("n9", "Node")


@pytest.mark.parametrize("client", [JOB, HOST])
def test_a_client_whose_nodes_are_not_known_leaves_it_to_same_zone(client: Party) -> None:
    # The CronJob has no pod now: it runs in c, where the DaemonSet is not on every node.
    flows = talk(WEB, LOG, SIZES) + talk(client, LOG, {("c", "a"): GIB})
    for version in ((1, 33), (1, 34)):
        cluster = replace(CLUSTER, api_version=version)
        found = world(flows, [LOGS], [CLIENTS], cluster=cluster)
        assert of_rule(found, "same-node") == []
        assert len(of_rule(found, "same-zone")) == 1


def test_local_is_proposed_only_with_an_endpoint_on_every_node_of_the_cluster() -> None:
    cluster = replace(CLUSTER, api_version=(1, 33), zones=ONE)
    flows = talk(WEB, LOG, SIZES)
    (one,) = of_rule(world(flows, [LOGS], [CLIENTS], cluster=cluster), "same-node")
    assert one.draft.verdict == "proposed"
    for other in (
        replace(cluster, zones=ONE | {"c": 2}),
        replace(cluster, unlabelled=("n4",)),
        replace(cluster, zones={}),
    ):
        (one,) = of_rule(world(flows, [LOGS], [CLIENTS], cluster=other), "same-node")
        assert one.draft.verdict == "warning"
        assert any("not every node" in risk for risk in one.draft.risks)


@pytest.mark.parametrize(
    ("proxy", "cilium", "field"),
    [
        ("cilium", {}, "internalTrafficPolicy"),
        ("cilium", None, "internalTrafficPolicy"),
        ("ovn-kubernetes", None, "internalTrafficPolicy"),
        ("", None, "internalTrafficPolicy"),
        ("cilium", {"enable-service-topology": "true"}, "trafficDistribution"),
    ],
)
def test_the_preference_is_for_data_planes_that_follow_it(
    proxy: str, cilium: dict[str, str] | None, field: str
) -> None:
    cluster = replace(CLUSTER, proxy=proxy, cilium=cilium)
    (one,) = of_rule(world(talk(WEB, LOG, SIZES), [LOGS], [CLIENTS], cluster), "same-node")
    assert field in one.draft.change.commands[0]
    is_soft = field == "trafficDistribution"
    assert one.draft.verdict == ("proposed" if is_soft else "warning")
    assert any("version of Cilium" in text for text in one.draft.unknown) == is_soft


def test_a_node_with_a_client_and_no_endpoint_leaves_it_to_same_zone() -> None:
    clients = workload(WEB, ONE, nodes=["a0", "a9"])
    found = world(talk(WEB, LOG, SIZES), [LOGS], [clients])
    assert of_rule(found, "same-node") == []
    assert len(of_rule(found, "same-zone")) == 1


def test_a_deployment_is_not_on_every_node() -> None:
    cart = party("shop/cart")
    found = world(talk(WEB, cart, SIZES), [service("shop/cart", cart, ONE)], [CLIENTS])
    assert of_rule(found, "same-node") == []
