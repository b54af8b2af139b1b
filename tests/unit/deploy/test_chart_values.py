"""Values of all levels: removed, unknown, of another type, or read otherwise by YAML."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml
from chart import CHART, Values, helm, rendered
from manifests import KUBERNETES, has_schema, one, pods, variables_of

from kzn.topology.static.file import parse_static

pytestmark = pytest.mark.slow

Path = tuple[str, ...]

with helm.Chart.load(CHART) as _chart:
    DEFAULTS, SCHEMA = _chart.values, _chart.schema

USES: dict[str, Values] = {
    "one server": {
        "tls": {"enabled": True},
        "state": {"enabled": True},
        "openshift": {"enabled": True},
        "prometheusOperator": {"enabled": True},
        "report": {"enabled": True, "webhook": {"secret": "a"}, "tlsCa": {"secret": "b"}},
        "http": {"auth": "kubernetes", "tlsSecret": "c"},
    },
    "per zone": {"perZone": {"enabled": True}},
}
FREE = ("static", "affinity", "endpoint", "lists")
"""Parts that are Kubernetes' or kzn's own, whose keys the chart passes on."""


def _paths(values: Values, above: Path = ()) -> Iterator[Path]:
    for name, value in values.items():
        path = (*above, name)
        yield path
        if isinstance(value, dict) and name not in FREE:
            yield from _paths(value, path)


def _at(path: Path, value: Any) -> Values:
    for name in reversed(path):
        value = {name: value}
    return dict(value)


def _merged(values: Values, more: Values) -> Values:
    both = {
        name: _merged(value, more[name]) if isinstance(more[name], dict) else more[name]
        for name, value in values.items()
        if name in more and isinstance(value, dict)
    }
    return values | more | both


def _wrong(schema: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Each key of the schema with a value of another type, and each closed part with one more."""
    if not (keys := schema.get("properties", {})):
        return
    if schema.get("additionalProperties") is False:
        yield (*path, "unknown"), 1
    for name, below in keys.items():
        kinds = below.get("type", "enum")
        other: Any = "text" if kinds in ("object", "array", "boolean", "integer") else [1]
        yield (*path, name), other
        yield from _wrong(below, (*path, name))


@cache  # most objects are the same in all cases, and a schema takes a tenth of a second
def _validate(thing: str) -> None:
    kubernetes_validate.validate(json.loads(thing), KUBERNETES[-1], strict=True)


def _refusal(values: Values) -> str:
    """What Helm says of values, empty if it renders valid objects of them."""
    try:
        things = rendered(values)
    except helm.HelmError as error:
        return str(error)
    for thing in filter(has_schema, things):
        _validate(json.dumps(thing))
    return ""


@pytest.mark.parametrize("use", USES)
def test_a_value_that_is_removed_is_missed_by_name_or_not_needed(use: str) -> None:
    """`history: null`, or a key without a value, removes the default."""
    for path in _paths(DEFAULTS):
        said = _refusal(_merged(USES[use], _at(path, None)))
        expected = (f"missing property '{path[-1]}'", "report needs webhook.secret or claim")
        assert not said or any(words in said for words in expected), path


def test_a_value_of_another_type_or_name_is_refused_by_name() -> None:
    tried = list(_wrong(SCHEMA))
    assert len(tried) > 100
    with helm.Chart.load(CHART) as chart:
        for path, value in tried:
            with pytest.raises(helm.HelmValuesError) as caught:
                chart.validate_schema(_merged(DEFAULTS, _at(path, value)))
            name = "properties 'unknown'" if path[-1] == "unknown" else f"'/{'/'.join(path)}"
            assert name in str(caught.value), path


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"agent": {"tolerations": [{"operater": "Exists"}]}}, "operater"),
        ({"agent": {"tolerations": [{"key": "a", "value": True}]}}, "/agent/tolerations/0/value"),
        ({"server": {"resources": {"limits": {"cpu": ["2"]}}}}, "/server/resources/limits/cpu"),
        ({"server": {"nodeSelector": {"pool": 1}}}, "/server/nodeSelector/pool"),
        ({"image": {"pullSecrets": ["pull"]}}, "/image/pullSecrets/0"),
        ({"image": {"pullSecrets": [{"name": "a", "namespace": "b"}]}}, "namespace"),
        ({"agent": {"podLabels": {"app.kubernetes.io/name": "x"}}}, "app.kubernetes.io/name"),
        (
            {"server": {"env": [{"name": "KZN_MAX_SERIES", "value": 1000000}]}},
            "/server/env/0/value",
        ),
        ({"networkPolicy": {"apiServerPorts": ["6443"]}}, "/networkPolicy/apiServerPorts/0"),
        ({"fullnameOverride": "x" * 63}, "fullnameOverride"),
    ],
)
def test_what_kubernetes_would_refuse_later_is_refused_by_name(values: Values, key: str) -> None:
    with pytest.raises(helm.HelmValuesError, match=key):
        rendered(values)


def test_a_variable_of_the_values_replaces_that_of_the_chart() -> None:
    """A list with one name twice is refused by server-side apply, which Helm 4 uses."""
    more = {
        "server": {
            "env": [
                {"name": "KZN_STATIC", "value": "/more/static.yaml"},
                {"name": "KZN_AUTH", "value": "none"},
                {"name": "KZN_MAX_SERIES", "value": "pod=1000000"},
            ]
        },
        "agent": {"env": [{"name": "KZN_SERVER", "value": "kzn.$(POD_NAMESPACE).example:7070"}]},
        "static": {"networks": [{"name": "a", "kind": "b", "cidr": "10.0.0.0/8"}]},
    }
    things = rendered(more)
    for _, pod in pods(things):
        names = [entry["name"] for entry in pod["containers"][0]["env"]]
        assert len(names) == len(set(names))
    server = variables_of(things, "kzn-server", "kzn")
    assert server["KZN_STATIC"] == "/more/static.yaml"
    assert (server["KZN_AUTH"], server["KZN_MAX_SERIES"]) == ("none", "pod=1000000")
    assert variables_of(things, "kzn-agent", "kzn")["KZN_SERVER"] == "kzn.kzn.example:7070"


@pytest.mark.parametrize("role", ["server", "agent"])
def test_a_variable_is_given_once(role: str) -> None:
    twice = [{"name": "KZN_LOG_LEVEL", "value": level} for level in ("debug", "info")]
    with pytest.raises(helm.HelmError, match=f"{role}.env has KZN_LOG_LEVEL twice"):
        rendered({role: {"env": twice}})


NAMES = [
    "null",
    "yes",
    "0x1f",
    "1e3",
    "007",
    "a: b",
    "# a",
    "'a\"",
    "- a",
    "{a}",
    "ä\tb",
    "~",
    "%a",
]


def test_networks_keep_names_that_yaml_reads_otherwise() -> None:
    networks = [
        {"name": name, "kind": name, "cidr": f"10.{number}.0.0/16", "zone": name}
        for number, name in enumerate(NAMES)
    ]
    things = rendered({"static": {"networks": networks}})
    text = one(things, "ConfigMap", "kzn-static")["data"]["static.yaml"]
    assert yaml.safe_load(text) == {"networks": networks}
    assert [network.name for network in parse_static("static.yaml", text).networks] == NAMES


def test_large_numbers_are_not_written_as_fractions() -> None:
    values = {
        "image": {"tag": 2026112612},
        "agent": {
            "resources": {"limits": {"cpu": 1, "memory": 1536000000}},
            "tolerations": [
                {
                    "key": "a",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 6000000,
                }
            ],
        },
        "perZone": {"enabled": True, "replicas": 6},
    }
    things = rendered(values)
    agent = dict(pods(things))["kzn-agent"]
    assert agent["containers"][0]["image"].endswith(":2026112612")
    assert agent["tolerations"][0]["tolerationSeconds"] == 6_000_000
    assert float(agent["containers"][0]["resources"]["limits"]["memory"]) == 1_536_000_000
    for thing in filter(has_schema, things):
        kubernetes_validate.validate(thing, KUBERNETES[-1], strict=True)
