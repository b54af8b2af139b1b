"""Endpoints for zones that have clients and none."""

import json
import shlex
from dataclasses import replace

import pytest
from advice_world import CLUSTER, GIB, ZONES, of_rule, party, service, talk, workload, world

from kzn.advisor.facts import Endpoint
from kzn.advisor.rules.placement.spread_first import spread_over

WEB, CART = party("shop/web"), party("shop/cart")
EVEN = {(client, server): GIB for client in ZONES for server in ("a", "b")}
CARTS = workload(CART, {"a": 2, "b": 2})
SERVICE = service("shop/cart", CART, {"a": 2, "b": 2})


def test_with_endpoints_everywhere_all_that_crosses_stays() -> None:
    (one,) = of_rule(world(talk(WEB, CART, EVEN), [SERVICE], [CARTS]), "spread-first")
    assert one.saved_bytes == 4 * GIB
    assert [zone.endpoints_after for zone in one.draft.zones] == [2, 2, 2]
    assert {zone.load_after for zone in one.draft.zones} == {1.0}
    patch = shlex.split(one.draft.change.commands[0])
    assert patch[:6] == ["kubectl", "-n", "shop", "patch", "deployment", "cart"]
    spec = json.loads(patch[-1])["spec"]
    assert spec["replicas"] == 6
    (constraint,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert constraint["labelSelector"] == {"matchLabels": {"app": "cart"}}
    assert "trafficDistribution" in one.draft.change.commands[1]
    assert "2 more pods" in one.draft.change.summary


def test_replicas_are_counted_by_the_controller_and_never_lowered() -> None:
    # 12 pods, of which 4 are ready, all in a.
    four = service("shop/cart", CART, {"a": 4})
    sizes = {(client, "a"): GIB for client in ZONES}
    found = world(talk(WEB, CART, sizes), [four], [replace(CARTS, replicas=12)])
    (one,) = of_rule(found, "spread-first")
    assert "replicas" not in one.draft.change.commands[0]
    assert "more pods" not in one.draft.change.summary
    assert sum(zone.endpoints_after for zone in one.draft.zones) == 12
    found = world(talk(WEB, CART, sizes), [four], [replace(CARTS, replicas=5)])
    (one,) = of_rule(found, "spread-first")
    assert '"replicas":6' in one.draft.change.commands[0]
    assert "1 more pods" in one.draft.change.summary


def test_a_constraint_that_demands_zones_goes_on_demanding_them() -> None:
    for spread in ("DoNotSchedule", "ScheduleAnyway"):
        workloads = [replace(CARTS, spread=spread)]
        (one,) = of_rule(world(talk(WEB, CART, EVEN), [SERVICE], workloads), "spread-first")
        assert f'"whenUnsatisfiable":"{spread}"' in one.draft.change.commands[0]
        assert any(spread in risk for risk in one.draft.risks)


def test_without_match_labels_there_is_no_command_as_empty_ones_select_all_pods() -> None:
    found = world(talk(WEB, CART, EVEN), [SERVICE], [replace(CARTS, selector=())])
    (one,) = of_rule(found, "spread-first")
    assert one.draft.change.commands == ()
    assert "labelSelector: SELECTOR" in one.draft.change.yaml
    assert "spec.replicas: 6" in one.draft.change.yaml


def test_nodes_without_a_zone_get_their_label_first() -> None:
    bad = Endpoint(CART, "n x", "b", False, False)
    cart = replace(SERVICE, endpoints=(*SERVICE.endpoints, bad))
    (one,) = of_rule(world(talk(WEB, CART, EVEN), [cart], [CARTS]), "spread-first")
    assert one.draft.change.commands[0].startswith("kubectl label node 'n x'")
    assert one.draft.verdict == "warning"


def test_enough_pods_are_only_spread() -> None:
    six = service("shop/cart", CART, {"a": 5, "b": 1}, distribution="PreferClose")
    found = world(talk(WEB, CART, EVEN), [six], [workload(CART, {"a": 5, "b": 1})])
    (one,) = of_rule(found, "spread-first")
    assert "replicas" not in one.draft.change.commands[0]
    assert len(one.draft.change.commands) == 1
    assert one.draft.effort == 2


def test_an_uneven_load_is_a_warning() -> None:
    sizes = EVEN | {("c", "a"): 20 * GIB}
    (one,) = of_rule(world(talk(WEB, CART, sizes), [SERVICE], [CARTS]), "spread-first")
    assert one.draft.verdict == "warning"


def test_pods_over_zones_differ_by_one_at_most() -> None:
    assert spread_over(7, ["a", "b", "c"]) == {"a": 3, "b": 2, "c": 2}
    assert spread_over(6, ["a", "b", "c"]) == {"a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize(
    "facts",
    [
        {"has_claims": True},
        {"zones": ("a",)},
        {"not_zones": ("c",)},
        {"is_pinned": True},
        {"is_known": False},
        {"replicas": None},
        {"replicas": 0},
    ],
)
def test_pods_that_cannot_move_are_left(facts: dict[str, object]) -> None:
    found = world(talk(WEB, CART, EVEN), [SERVICE], [replace(CARTS, **facts)])  # type: ignore[arg-type]
    assert of_rule(found, "spread-first") == []


def test_a_zone_without_nodes_and_a_version_without_the_field_are_left() -> None:
    flows = talk(WEB, CART, EVEN)
    for cluster in (
        replace(CLUSTER, zones={"a": 1, "b": 1}),
        replace(CLUSTER, api_version=(1, 29)),
    ):
        assert of_rule(world(flows, [SERVICE], [CARTS], cluster), "spread-first") == []
    daemons = workload(party("shop/cart", "DaemonSet"), {"a": 1})
    other = service("shop/cart", daemons.party, {"a": 2, "b": 2})
    found = world(talk(WEB, daemons.party, EVEN), [other], [daemons])
    assert of_rule(found, "spread-first") == []


def test_zones_that_are_required_and_have_clients_are_used() -> None:
    for facts in ({"zones": ZONES}, {"not_zones": ("d",)}):
        workloads = [replace(CARTS, **facts)]
        (one,) = of_rule(world(talk(WEB, CART, EVEN), [SERVICE], workloads), "spread-first")
        assert one.saved_bytes == 4 * GIB


def test_old_nodes_are_a_warning_and_all_of_them_are_none() -> None:
    for newest, verdicts in (((1, 31), ["warning"]), ((1, 28), [])):
        cluster = replace(CLUSTER, kubelet=(1, 28), newest_kubelet=newest)
        found = world(talk(WEB, CART, EVEN), [SERVICE], [CARTS], cluster)
        assert [one.draft.verdict for one in of_rule(found, "spread-first")] == verdicts
