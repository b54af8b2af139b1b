"""The chart, rendered by helm, equals the manifest and the overlays."""

from typing import Any

import pytest
from manifests import DEPLOY, Object, kustomized, name_of, objects, output_of, tool

pytestmark = pytest.mark.slow

CHART = DEPLOY / "chart"
SWITCHES = {
    "base": [],
    "overlays/tls": ["tls.enabled=true"],
    "overlays/state": ["state.enabled=true"],
    "overlays/per-zone": ["perZone.enabled=true"],
    "overlays/prometheus-operator": ["prometheusOperator.enabled=true"],
}
NAMED_LISTS = {"env", "volumes", "volumeMounts"}
"""Lists in which the order is not significant."""


def rendered(*settings: str, namespace: str = "kzn") -> list[Object]:
    flags = [word for setting in settings for word in ("--set", setting)]
    return objects(
        output_of(tool("helm"), "template", "kzn", CHART, "--namespace", namespace, *flags)
    )


def by_name(things: list[Object]) -> dict[tuple[str, str, str], Any]:
    """Objects by name, without the Namespace, which helm creates by --create-namespace."""
    return {name_of(thing): sorted_lists(thing) for thing in things if thing["kind"] != "Namespace"}


def sorted_lists(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: sorted_lists(child, name) for name, child in value.items()}
    if isinstance(value, list):
        children = [sorted_lists(child) for child in value]
        return sorted(children, key=lambda c: c["name"]) if key in NAMED_LISTS else children
    return value


@pytest.mark.parametrize("folder", SWITCHES)
def test_the_chart_renders_the_same_objects_as_kustomize(folder: str) -> None:
    assert by_name(rendered(*SWITCHES[folder])) == by_name(kustomized(folder))


def test_the_chart_passes_helm_lint() -> None:
    output_of(tool("helm"), "lint", "--strict", CHART)


def test_a_namespace_is_used_in_every_object_of_the_chart() -> None:
    things = rendered("tls.enabled=true", "prometheusOperator.enabled=true", namespace="net")
    assert {t["metadata"].get("namespace", "net") for t in things} == {"net"}
    text = str([thing for thing in things if thing["kind"] != "PrometheusRule"])
    assert "kzn-server.net.svc" in text
    assert "kzn-server.kzn.svc" not in text
    assert "'net/kzn-agent'" in text


def test_incompatible_values_are_refused() -> None:
    with pytest.raises(AssertionError, match="state and perZone do not go together"):
        rendered("state.enabled=true", "perZone.enabled=true")


def test_values_are_rendered_into_the_objects() -> None:
    settings = (
        "image.repository=r.example/kzn",
        "image.tag=9",
        "image.pullSecrets[0].name=pull",
        "networkPolicy.agentRanges[0]=10.0.0.0/16",
        "agent.env[0].name=KZN_MAX_FLOWS",
        "agent.env[0].value=131072",
        "server.nodeSelector.pool=system",
    )
    text = str(rendered(*settings))
    for wanted in (
        "'image': 'r.example/kzn:9'",
        "'imagePullSecrets': [{'name': 'pull'}]",
        "{'ipBlock': {'cidr': '10.0.0.0/16'}}",
        "'name': 'KZN_MAX_FLOWS'",
        "'nodeSelector': {'pool': 'system'}",
    ):
        assert wanted in text, wanted
