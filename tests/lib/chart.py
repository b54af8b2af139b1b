"""The chart rendered by Helm's engine; a test module that imports this is skipped without it."""

import json
from typing import Any

import pytest
from manifests import DEPLOY, Object, objects

helm = pytest.importorskip("helm_python", reason="Helm's engine has no package for this machine")

Values = dict[str, Any]

CHART = DEPLOY / "chart"
NOTES = "kzn/templates/NOTES.txt"


def rendered(
    values: Values | None = None,
    *,
    release: str = "kzn",
    namespace: str = "kzn",
    kubernetes: str = "",
) -> list[Object]:
    with helm.Chart.load(CHART) as chart:
        if kubernetes:
            texts = _rendered_for(chart, values, release, namespace, kubernetes)
        else:
            texts = chart.render(values, name=release, namespace=namespace)
    texts.pop(NOTES, None)
    return [thing for _, text in sorted(texts.items()) for thing in objects(text)]


def _rendered_for(
    chart: Any, values: Values | None, release: str, namespace: str, kubernetes: str
) -> dict[str, str]:
    """As Chart.render, whose arguments lack the version that its library takes."""
    options = {"name": release, "namespace": namespace, "kube_version": kubernetes}
    call = helm._native.call_string
    texts: dict[str, str] = json.loads(
        call("helm_render", chart._raw(), json.dumps(values or {}), json.dumps(options))
    )
    return texts
