"""The zones that a nodeSelector and required node affinity allow."""

from typing import Any

import msgspec
import pytest

from kzn.topology.kube.routing.node_terms import NodeAffinity, allowed_zones
from kzn.topology.kube.routing.objects import Controller, controller_facts

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def rule(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


def term(*expressions: dict[str, Any]) -> dict[str, Any]:
    return {"matchExpressions": list(expressions)}


IN_AB, NOT_C = rule(ZONE, "In", "a", "b"), rule(ZONE, "NotIn", "c")
SSD = rule("disk", "In", "ssd")


@pytest.mark.parametrize(
    ("selector", "terms", "zones", "is_but", "is_pinned"),
    [
        ({}, None, "", True, False),
        ({ZONE: "b", "disk": "ssd"}, None, "b", False, False),
        ({"failure-domain.beta.kubernetes.io/zone": "b"}, None, "b", False, False),
        ({HOST: "n1"}, None, "", True, True),
        ({}, [term(IN_AB)], "ab", False, False),
        ({}, [term(IN_AB, SSD)], "ab", False, False),
        ({}, [term(NOT_C)], "c", True, False),
        ({}, [term(IN_AB, rule(ZONE, "NotIn", "a"))], "b", False, False),
        ({}, [term(rule(ZONE, "In", "a")), term(rule(ZONE, "In", "c"))], "ac", False, False),
        ({}, [term(IN_AB), term(SSD)], "", True, False),
        ({}, [term(NOT_C), term(rule(ZONE, "In", "c"))], "", True, False),
        ({}, [term(rule(ZONE, "In", "a")), term(NOT_C)], "c", True, False),
        ({}, [term(NOT_C), term(rule(ZONE, "NotIn", "c", "d"))], "c", True, False),
        ({ZONE: "a"}, [term(IN_AB)], "a", False, False),
        ({ZONE: "c"}, [term(IN_AB)], "", False, False),
        ({ZONE: "a"}, [term(NOT_C)], "a", False, False),
        ({}, [term(rule(HOST, "In", "n1", "n2"))], "", True, True),
        ({}, [term(rule(HOST, "NotIn", "n1"))], "", True, False),
        ({}, [{"matchFields": [rule("metadata.name", "In", "n1")]}], "", True, True),
        ({}, [term(rule(ZONE, "Exists"))], "", True, False),
        ({}, [term(rule(ZONE, "DoesNotExist"))], "", False, False),
        ({}, [{}, term(IN_AB)], "ab", False, False),
        ({}, [], "", False, False),
    ],
)
def test_all_expressions_of_one_of_the_terms_must_hold(
    selector: dict[str, str],
    terms: list[dict[str, Any]] | None,
    zones: str,
    is_but: bool,
    is_pinned: bool,
) -> None:
    affinity = None
    if terms is not None:
        made = {REQUIRED: {"nodeSelectorTerms": terms}}
        affinity = msgspec.convert(made, NodeAffinity)
    found = allowed_zones(selector, affinity)
    assert ("".join(sorted(found.zones)), found.is_but, found.is_pinned) == (
        zones,
        is_but,
        is_pinned,
    )


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ({"nodeSelector": {ZONE: "b"}}, (("b",), (), False)),
        ({"nodeSelector": {HOST: "n1"}}, ((), (), True)),
        ([term(IN_AB)], (("a", "b"), (), False)),
        ([term(NOT_C)], ((), ("c",), False)),
        ([term(rule(ZONE, "DoesNotExist"))], ((), (), True)),
        ({"affinity": {"podAntiAffinity": {}}}, ((), (), False)),
        ({"affinity": None}, ((), (), False)),
        ({"nodeName": "n1"}, ((), (), True)),
        ([term(rule(ZONE, "In", f"z{at}")) for at in range(33)], ((), (), True)),
        ([term(*[NOT_C] * 17)], ((), (), True)),
        ([term(rule(ZONE, "NotIn", *map(str, range(101))))], ((), (), True)),
    ],
)
def test_a_controller_has_them(pod: Any, expected: tuple[object, ...]) -> None:
    if isinstance(pod, list):
        pod = {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": pod}}}}
    found = {
        "metadata": {"uid": "u", "name": "cart", "namespace": "shop"},
        "spec": {"template": {"spec": pod}},
    }
    facts = controller_facts("Deployment", msgspec.convert(found, Controller))
    assert (facts.zones, facts.not_zones, facts.is_pinned) == expected
