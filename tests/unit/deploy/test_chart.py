"""The chart, rendered and linted by Helm's engine, equals the manifest and the overlays."""

import json
from functools import cache
from pathlib import PurePath
from typing import Any

import click
import kubernetes_validate
import pytest
from manifests import (
    DEPLOY,
    KUBERNETES,
    ROOT,
    Object,
    containers,
    has_schema,
    kustomized,
    name_of,
    objects,
    one,
    pods,
    variables_of,
)

from kzn.cli.main import SUBCOMMANDS, load
from kzn.pricing import aws
from kzn.pricing.file import parse_list
from kzn.topology.static.file import parse_static

helm = pytest.importorskip("helm_python", reason="Helm's engine has no package for this machine")
pytestmark = pytest.mark.slow

Values = dict[str, Any]

CHART = DEPLOY / "chart"
NETWORK = {
    "name": "orders-db",
    "kind": "Database",
    "cidr": "10.9.0.0/24",
    "zone": "eu-west-1b",
    "region": "eu-west-1",
}
PRICES = {
    "extends": "aws",
    "valid_from": "2026-01-01",
    "source": "contract 4711",
    "date": "2025-12-20",
    "discount": "10%",
}
DIGEST = "sha256:" + "0123456789abcdef" * 4
OWNER_RULES = [
    {"apiGroups": [""], "resources": ["replicationcontrollers"]},
    {"apiGroups": ["apps.openshift.io"], "resources": ["deploymentconfigs"]},
    {"apiGroups": ["argoproj.io"], "resources": ["rollouts"]},
    {
        "apiGroups": ["actions.github.com"],
        "resources": ["ephemeralrunners", "ephemeralrunnersets", "autoscalingrunnersets"],
    },
]
SWITCHES: dict[str, Values] = {
    "base": {},
    "overlays/tls": {"tls": {"enabled": True}},
    "overlays/state": {"state": {"enabled": True}},
    "overlays/per-zone": {"perZone": {"enabled": True, "trafficDistribution": "PreferClose"}},
    "overlays/prometheus-operator": {"prometheusOperator": {"enabled": True}},
    "overlays/static": {"static": {"networks": [NETWORK]}},
    "overlays/prices": {"prices": {"lists": {"prices.yaml": PRICES}}},
    "overlays/opencost": {"opencost": {"enabled": True}},
    "overlays/openshift": {"openshift": {"enabled": True}},
    "overlays/owners": {"ownerRules": OWNER_RULES},
}
SETS: dict[str, Values] = SWITCHES | {
    "tag": {"image": {"tag": "9"}},
    "number as tag": {"image": {"tag": 20261126}},
    "digest": {"image": {"repository": "r.example/kzn", "digest": DIGEST}},
    "tag and digest": {"image": {"tag": "9", "digest": DIGEST, "pullPolicy": "Always"}},
    "pull secret": {"image": {"pullSecrets": [{"name": "pull"}]}},
    "no policy": {"networkPolicy": {"enabled": False}},
    "no egress policy": {"networkPolicy": {"apiServerPorts": []}},
    "ranges": {
        "networkPolicy": {
            "agentRanges": ["10.0.0.0/16", "fd00::/8"],
            "apiServerRanges": ["::/0"],
            "scrapeNamespaces": ["a", "b"],
        }
    },
    "no priority class": {"agent": {"priorityClassName": ""}},
    "own priority class": {"agent": {"priorityClassName": "important"}},
    "variables": {"agent": {"env": [{"name": "KZN_MAX_FLOWS", "value": "131072"}]}},
    "where": {
        "server": {
            "nodeSelector": {"pool": "system"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "priorityClassName": "important",
        },
        "agent": {"nodeSelector": {}, "tolerations": [], "affinity": {}},
    },
    "pods": {
        "server": {"podLabels": {"a": "b"}, "podAnnotations": {"c": "1"}},
        "agent": {"podLabels": {"a": "b"}, "podAnnotations": {"c": "1"}},
    },
    "volumes": {
        role: {
            "extraVolumes": [{"name": "more", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        }
        for role in ("server", "agent")
    },
    "http": {
        "http": {"auth": "kubernetes", "tlsSecret": "kzn-http"},
        "prometheusOperator": {
            "enabled": True,
            "endpoint": {"authorization": {"credentials": {"name": "t", "key": "t"}}},
        },
    },
    "no prices": {"prices": {"installed": False}},
    "own prices": {"prices": {"installed": False, "lists": {"a.yaml": PRICES, "b.yaml": PRICES}}},
    "owners": {"ownerRules": [{"apiGroups": [""], "resources": ["replicationcontrollers"]}]},
    "all": {
        "tls": {"enabled": True},
        "state": {"enabled": True, "storageClassName": "fast"},
        "static": {"networks": [NETWORK | {"price": "managed-database"}]},
        "prices": {"lists": {"prices.yaml": PRICES}},
        "opencost": {"enabled": True},
        "prometheusOperator": {"enabled": True, "labels": {"release": "p"}},
        "openshift": {"enabled": True},
    },
}
WRONG: dict[str, tuple[Values, str]] = {
    "unknown part": ({"serverr": {"env": []}}, "serverr"),
    "unknown switch": ({"tls": {"enable": True}}, "enable"),
    "unknown resource": ({"agent": {"resources": {"request": {}}}}, "request"),
    "fraction as tag": ({"image": {"tag": 1.5}}, "/image/tag"),
    "number as variable": (
        {"server": {"env": [{"name": "KZN_STATIC", "value": 1}]}},
        "/server/env/0/value",
    ),
    "short digest": ({"image": {"digest": "sha256:12"}}, "/image/digest"),
    "address as range": ({"networkPolicy": {"agentRanges": ["10.0.0.1"]}}, "agentRanges/0"),
    "text as number": ({"perZone": {"replicas": "3"}}, "/perZone/replicas"),
    "verbs of owners": (
        {"ownerRules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]},
        "verbs",
    ),
    "field of the endpoint that the chart sets": (
        {"prometheusOperator": {"endpoint": {"honorLabels": False}}},
        "/prometheusOperator/endpoint",
    ),
    "network without a range": (
        {"static": {"networks": [{"name": "a", "kind": "b"}]}},
        "/static/networks/0",
    ),
    "price list that is text": ({"prices": {"lists": {"a.yaml": "extends: aws"}}}, "a.yaml"),
    "price list in a folder": ({"prices": {"lists": {"a/b.yaml": {}}}}, "a/b.yaml"),
    "state per zone": (
        {"state": {"enabled": True}, "perZone": {"enabled": True}},
        "state and perZone do not go together",
    ),
}
NAMED_LISTS = {"env", "volumes", "volumeMounts"}
"""Lists in which the order is not significant, but for variables that refer to others."""

on_all_sets = pytest.mark.parametrize("name", SETS)


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


def by_name(things: list[Object]) -> dict[tuple[str, str, str], Any]:
    """Objects by name, without the Namespace, which helm creates by --create-namespace."""
    return {name_of(thing): comparable(thing) for thing in things if thing["kind"] != "Namespace"}


def comparable(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: comparable(child, name) for name, child in value.items()}
    if isinstance(value, list):
        children = [comparable(child) for child in value]
        return sorted(children, key=_name) if key in NAMED_LISTS else children
    if key == "static.yaml":
        return parse_static(key, value)
    if key == "prices.yaml":
        return parse_list(key, value, [aws.PRICES])
    return value


def _name(child: Any) -> str:
    return str(child["name"] if isinstance(child, dict) else child)


@pytest.mark.parametrize("folder", SWITCHES)
def test_the_chart_renders_the_same_objects_as_kustomize(folder: str) -> None:
    assert by_name(rendered(SWITCHES[folder])) == by_name(kustomized(folder))


def test_there_are_enough_sets_of_values() -> None:
    assert len(SETS) >= 17


@on_all_sets
def test_the_chart_passes_strict_lint(name: str) -> None:
    report = helm.lint(CHART, SETS[name], strict=True, namespace="kzn")
    assert report["errors"] == []
    assert {m["error"] for m in report["messages"]} <= {"icon is recommended"}


@pytest.mark.parametrize("version", KUBERNETES)
@on_all_sets
def test_every_object_of_the_chart_is_valid_by_the_kubernetes_schema(
    name: str, version: str
) -> None:
    things = rendered(SETS[name], release="r", namespace="net", kubernetes=f"v{version}.0")
    names = [name_of(thing) for thing in things]
    assert len(names) == len(set(names))
    for thing in filter(has_schema, things):
        _validate(json.dumps(thing), version)


@cache  # most objects are the same in all sets, and a schema takes a tenth of a second
def _validate(thing: str, version: str) -> None:
    kubernetes_validate.validate(json.loads(thing), version, strict=True)


@on_all_sets
def test_what_the_chart_refers_to_exists(name: str) -> None:
    things = rendered(SETS[name], release="r", namespace="net")
    names = {name_of(thing) for thing in things}
    for workload, pod in pods(things):
        assert workload in ("r-kzn-server", "r-kzn-agent")
        assert ("ServiceAccount", "net", pod["serviceAccountName"]) in names
        there = {volume["name"] for volume in pod.get("volumes", [])}
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", "net", volume["configMap"]["name"]) in names
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert ("PersistentVolumeClaim", "net", claim) in names
            if "secret" in volume:
                secrets = {
                    t["spec"].get("secretName") for t in things if t["kind"] == "Certificate"
                }
                assert volume["secret"]["secretName"] in secrets | {"kzn-http"}
        for container in containers(pod):
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= there
    for binding in (thing for thing in things if thing["kind"].endswith("Binding")):
        role = binding["roleRef"]
        where = "" if role["kind"] == "ClusterRole" else "net"
        assert (role["kind"], where, role["name"]) in names or role["name"].startswith("system:")
        for subject in binding["subjects"]:
            assert ("ServiceAccount", subject["namespace"], subject["name"]) in names


def test_agents_reach_the_server_of_their_release() -> None:
    for release, stem in (("kzn", "kzn"), ("r", "r-kzn"), ("my-kzn", "my-kzn")):
        things = rendered({"tls": {"enabled": True}}, release=release, namespace="net")
        agent = variables_of(things, f"{stem}-agent", "net")
        server = variables_of(things, f"{stem}-server", "net")
        service = one(things, "Service", f"{stem}-server")["metadata"]
        assert agent["KZN_SERVER"] == f"{service['name']}.{service['namespace']}.svc:7070"
        assert server["KZN_AGENT_SERVICE_ACCOUNT"] == f"net/{stem}-agent"
        certificate = one(things, "Certificate", f"{stem}-server")["spec"]
        assert agent["KZN_TLS_SERVER_NAME"] in certificate["dnsNames"]


def test_with_tls_for_http_every_request_of_the_cluster_is_https() -> None:
    things = rendered(SETS["http"])
    (server,) = dict(pods(things))["kzn-server"]["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert server[probe]["httpGet"]["scheme"] == "HTTPS"
    variables = variables_of(things, "kzn-server", "kzn")
    assert variables["KZN_HTTP_AUTH"] == "kubernetes"
    mounts = {mount["name"]: mount["mountPath"] for mount in server["volumeMounts"]}
    assert PurePath(variables["KZN_HTTP_TLS_CERT"]).parent == PurePath(mounts["http-tls"])
    assert PurePath(variables["KZN_HTTP_TLS_KEY"]).parent == PurePath(mounts["http-tls"])
    (endpoint,) = one(things, "ServiceMonitor", "kzn-server")["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["authorization"]["credentials"] == {"name": "t", "key": "t"}
    assert endpoint["honorLabels"] is True
    (agent,) = dict(pods(things))["kzn-agent"]["containers"]
    assert "scheme" not in agent["livenessProbe"]["httpGet"]


def test_further_owners_are_a_role_of_their_own_that_may_list_and_watch() -> None:
    role = one(rendered(SETS["owners"]), "ClusterRole", "kzn-server-owners")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["replicationcontrollers"], "verbs": ["list", "watch"]}
    ]


def test_every_variable_of_the_chart_is_an_option_of_its_command() -> None:
    for values in SETS.values():
        for _, pod in pods(rendered(values)):
            for container in containers(pod):
                (command,) = container["args"]
                options = {
                    option.envvar
                    for option in load(command, SUBCOMMANDS[command]).params
                    if isinstance(option, click.Option)
                }
                used = {entry["name"] for entry in container["env"]} - {"POD_NAMESPACE"}
                assert used <= options


def test_two_releases_share_no_object_and_no_pod() -> None:
    everything = SETS["owners"] | {"openshift": {"enabled": True}, "tls": {"enabled": True}}
    releases = [("kzn", "kzn"), ("kzn", "net"), ("b", "net"), ("net", "net"), ("kzn", "b")]
    seen: set[tuple[str, str, str]] = set()
    selectors = set()
    for release, namespace in releases:
        things = rendered(everything, release=release, namespace=namespace)
        names = {name_of(thing) for thing in things}
        assert not names & seen
        seen |= names
        for thing in things:
            if thing["apiVersion"] == "apps/v1":
                selectors.add((namespace, str(thing["spec"]["selector"])))
    assert len(selectors) == 2 * len(releases)


def test_every_object_is_in_the_namespace_of_the_release() -> None:
    cluster_wide = {"ClusterRole", "ClusterRoleBinding", "SecurityContextConstraints"}
    for thing in rendered(SETS["all"], namespace="net"):
        is_wide = thing["kind"] in cluster_wide
        assert thing["metadata"].get("namespace") == (None if is_wide else "net"), thing["kind"]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({"repository": "r/kzn"}, "r/kzn:0.1.0"),
        ({"repository": "r/kzn", "tag": 20261126}, "r/kzn:20261126"),
        ({"repository": "r/kzn", "tag": "20261126"}, "r/kzn:20261126"),
        ({"repository": "r/kzn", "tag": 0}, "r/kzn:0"),
        ({"repository": "r/kzn", "tag": "1e3"}, "r/kzn:1e3"),
        ({"repository": "r/kzn", "digest": DIGEST}, f"r/kzn@{DIGEST}"),
        ({"repository": "r/kzn", "tag": "9", "digest": DIGEST}, f"r/kzn:9@{DIGEST}"),
    ],
)
def test_the_image_is_that_of_the_values(image: Values, expected: str) -> None:
    images = {c["image"] for _, pod in pods(rendered({"image": image})) for c in containers(pod)}
    assert images == {expected.replace("0.1.0", rendered_version())}


def rendered_version() -> str:
    with helm.Chart.load(CHART) as chart:
        return str(chart.metadata["appVersion"])


@pytest.mark.parametrize(
    ("kubernetes", "expected"),
    [
        ("v1.31.0", "PreferClose"),
        ("v1.34.9-eks-1", "PreferClose"),
        ("v1.35.0-gke.1", "PreferSameZone"),
    ],
)
def test_traffic_distribution_is_named_as_in_that_version(kubernetes: str, expected: str) -> None:
    things = rendered({"perZone": {"enabled": True}}, kubernetes=kubernetes)
    assert one(things, "Service", "kzn-server")["spec"]["trafficDistribution"] == expected


@pytest.mark.parametrize(
    ("priority", "scopes"),
    [
        ("system-node-critical", ["system-node-critical"]),
        ("system-cluster-critical", ["system-cluster-critical"]),
        ("important", None),
        ("", None),
    ],
)
def test_a_priority_class_of_the_system_comes_with_a_quota(
    priority: str, scopes: list[str] | None
) -> None:
    things = rendered({"agent": {"priorityClassName": priority}})
    assert dict(pods(things))["kzn-agent"].get("priorityClassName", "") == priority
    quotas = [
        thing["spec"]["scopeSelector"] for thing in things if thing["kind"] == "ResourceQuota"
    ]
    if scopes is None:
        assert quotas == []
    else:
        (scope,) = quotas[0]["matchExpressions"]
        assert scope == {"operator": "In", "scopeName": "PriorityClass", "values": scopes}


def test_values_are_rendered_into_the_objects() -> None:
    text = str([rendered(SETS[name]) for name in SETS])
    for wanted in (
        "'imagePullSecrets': [{'name': 'pull'}]",
        "'imagePullPolicy': 'Always'",
        "{'ipBlock': {'cidr': '10.0.0.0/16'}}, {'ipBlock': {'cidr': 'fd00::/8'}}",
        "'name': 'KZN_MAX_FLOWS', 'value': '131072'",
        "'nodeSelector': {'pool': 'system'}",
        "'annotations': {'c': '1'}",
        "{'emptyDir': {}, 'name': 'more'}",
        "{'mountPath': '/more', 'name': 'more'}",
        "'storageClassName': 'fast'",
    ):
        assert wanted in text, wanted


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_refused(name: str) -> None:
    values, reason = WRONG[name]
    with pytest.raises(helm.HelmError, match=reason):
        rendered(values)


@pytest.mark.parametrize(
    ("prices", "option"),
    [
        ({}, None),
        ({"installed": False}, "off"),
        (
            {"lists": {"b.yaml": PRICES, "a.yaml": PRICES}},
            "auto,/etc/kzn/prices/a.yaml,/etc/kzn/prices/b.yaml",
        ),
        ({"installed": False, "lists": {"a.yaml": PRICES}}, "/etc/kzn/prices/a.yaml"),
    ],
)
def test_prices_are_the_installed_lists_and_files(prices: Values, option: str | None) -> None:
    things = by_name(rendered({"prices": prices}))
    [server] = [thing for name, thing in things.items() if name[0] == "Deployment"]
    [container] = server["spec"]["template"]["spec"]["containers"]
    found = {one["name"]: one.get("value") for one in container["env"]}
    assert found.get("KZN_PRICES") == option


def test_the_schema_knows_every_default_and_no_more() -> None:
    """Otherwise `helm upgrade --reuse-values` fails, or an option has no documentation."""
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(chart.values)
        defaults, schema = chart.values, chart.schema
    known = set(schema["properties"]) - {"global"}
    assert known == set(defaults)
    for part in known - {"static", "ownerRules"}:
        assert set(schema["properties"][part]["properties"]) == set(defaults[part]), part


def test_the_chart_has_the_files_that_helm_packages() -> None:
    assert {path.name for path in CHART.iterdir()} == {
        "Chart.yaml",
        "rules.yaml",
        "templates",
        "values.schema.json",
        "values.yaml",
    }
    assert (ROOT / "deploy" / "prometheus" / "rules.yaml").read_text() == (
        CHART / "rules.yaml"
    ).read_text()
