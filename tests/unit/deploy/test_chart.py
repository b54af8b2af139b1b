"""The chart, rendered and linted by Helm's engine, equals the manifest and the overlays."""

import json
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import click
import kubernetes_validate
import pytest
from chart import CHART, NOTES, Values, helm, rendered
from manifests import (
    KUBERNETES,
    ROOT,
    Object,
    containers,
    has_schema,
    kustomized,
    name_of,
    one,
    pods,
    variables_of,
    without_names,
)

from kzn.cli.main import SUBCOMMANDS, load
from kzn.pricing import aws
from kzn.pricing.file import parse_list
from kzn.reports.budget_file import load_budgets
from kzn.topology.static.file import parse_static

pytestmark = pytest.mark.slow

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
SINKS = ["clickhouse://ch.example:8443/kzn?tls=yes", "s3://flows/kzn?region=eu-west-1"]
SWITCHES: dict[str, Values] = {
    "base": {},
    "overlays/tls": {"tls": {"enabled": True}},
    "overlays/state": {"state": {"enabled": True}},
    "overlays/per-zone": {"perZone": {"enabled": True, "trafficDistribution": "PreferClose"}},
    "overlays/prometheus-operator": {"prometheusOperator": {"enabled": True}},
    "overlays/static": {"static": {"networks": [NETWORK]}},
    "overlays/prices": {"prices": {"lists": {"prices.yaml": PRICES}}},
    "overlays/opencost": {"opencost": {"enabled": True}},
    "overlays/opencost-collector": {"opencost": {"collector": True}},
    "overlays/groups": {"groupLabels": ["team", "app.kubernetes.io/part-of"]},
    "overlays/openshift": {"openshift": {"enabled": True}},
    "overlays/owners": {"ownerRules": OWNER_RULES},
    "overlays/advice": {"advice": {"moreFacts": True}},
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
            "httpRanges": ["10.9.0.1/32"],
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
    "report to a webhook": {
        "report": {
            "enabled": True,
            "webhook": {"secret": "hook", "style": "teams"},
            "tlsCa": {"secret": "kzn-http"},
        },
        "http": {"auth": "kubernetes", "tlsSecret": "kzn-http"},
    },
    "report to a volume": {"report": {"enabled": True, "claim": "reports"}},
    "report over TLS of a known authority": {
        "report": {"enabled": True, "claim": "reports"},
        "http": {"tlsSecret": "kzn-http"},
    },
    "numbers as names": {
        "cluster": "123",
        "history": {"size": "536870912", "store": "clickhouse://1/2"},
        "networkPolicy": {"sinkPorts": [8123], "scrapeNamespaces": ["123"]},
        "server": {"priorityClassName": "123"},
        "agent": {"priorityClassName": "123"},
        "state": {"enabled": True, "size": "3000000000", "storageClassName": "123"},
    },
    "sinks": {
        "history": {"sinks": SINKS, "keep": "raw=24h", "external": "none"},
        "networkPolicy": {"sinkPorts": [443, 8443], "sinkRanges": ["10.7.0.0/16"]},
    },
    "sinks and state": {
        "history": {"sinks": ["dir:///more"], "size": "512Mi", "sinkSpool": "1Gi"},
        "state": {"enabled": True, "size": "2.5Gi"},
    },
    "budgets": {
        "budgets": [
            {"name": "shop", "amount": 500.5, "currency": "USD", "namespace": "shop"},
            {"name": "all", "amount": 3000, "currency": "USD"},
            {"name": "large", "amount": 1500000.25, "currency": "USD"},
            {"name": "small", "amount": 0.00001, "currency": "USD"},
        ]
    },
    "no prices": {"prices": {"installed": False}},
    "own prices": {"prices": {"installed": False, "lists": {"a.yaml": PRICES, "b.yaml": PRICES}}},
    "owners": {"ownerRules": [{"apiGroups": [""], "resources": ["replicationcontrollers"]}]},
    "all": {
        "tls": {"enabled": True},
        "state": {"enabled": True, "storageClassName": "fast"},
        "static": {"networks": [NETWORK | {"price": "managed-database"}]},
        "prices": {"lists": {"prices.yaml": PRICES}},
        "opencost": {"enabled": True, "collector": True},
        "groupLabels": ["team"],
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
    "address as HTTP range": ({"networkPolicy": {"httpRanges": ["10.0.0.1"]}}, "httpRanges/0"),
    "address as range": ({"networkPolicy": {"agentRanges": ["10.0.0.1"]}}, "agentRanges/0"),
    "text as number": ({"perZone": {"replicas": "3"}}, "/perZone/replicas"),
    "verbs of owners": (
        {"ownerRules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]},
        "verbs",
    ),
    "group label with a blank": ({"groupLabels": ["a b"]}, "groupLabels/0"),
    "collector of one zone": (
        {"opencost": {"collector": True}, "perZone": {"enabled": True}},
        "opencost.collector and perZone do not go together",
    ),
    "collector without a token": (
        {"opencost": {"collector": True}, "http": {"auth": "kubernetes"}},
        "by HTTP without a token",
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
    "budget beyond what the server reads": (
        {"budgets": [{"name": "a", "amount": 1e12, "currency": "USD"}]},
        "/budgets/0/amount",
    ),
    "budget without a currency": ({"budgets": [{"name": "a", "amount": 1}]}, "/budgets/0"),
    "budgets without a history": (
        {"budgets": [{"name": "a", "amount": 1, "currency": "USD"}], "history": {"enabled": False}},
        "budgets need history.enabled",
    ),
    "report to nowhere": ({"report": {"enabled": True}}, "webhook.secret or claim"),
    "report without a history": (
        {"report": {"enabled": True, "claim": "r"}, "history": {"enabled": False}},
        "report needs history.enabled",
    ),
    "report of one zone": (
        {"report": {"enabled": True, "claim": "r"}, "perZone": {"enabled": True}},
        "report and perZone do not go together",
    ),
    "report in a format of its own": ({"report": {"format": "pdf"}}, "/report/format"),
    "sink behind the policy": ({"history": {"sinks": SINKS}}, "the sink clickhouse: needs"),
    "store behind the policy": (
        {"history": {"store": "clickhouse://ch.example/kzn"}},
        "history.store needs networkPolicy.sinkPorts",
    ),
    "sinks that fill the volume": (
        {"history": {"sinks": ["dir:///a", "dir:///b"], "volumeLimit": "2Gi"}},
        "history.volumeLimit is 2Gi: .* for each sink: 2560Mi",
    ),
    "volume of the state that is too small": (
        {"state": {"enabled": True, "size": "1Gi"}},
        "state.size is 1Gi: it must be twice history.size",
    ),
    "size in a unit that kzn has not": ({"history": {"size": "1G"}}, "/history/size"),
    "state per zone": (
        {"state": {"enabled": True}, "perZone": {"enabled": True}},
        "state and perZone do not go together",
    ),
}
NAMED_LISTS = {"env", "volumes", "volumeMounts"}
"""Lists in which the order is not significant, but for variables that refer to others."""

on_all_sets = pytest.mark.parametrize("name", SETS)


def by_name(things: list[Object]) -> dict[tuple[str, str, str], Any]:
    """Objects by name, without the Namespace, which helm creates by --create-namespace."""
    return {name_of(thing): comparable(thing) for thing in things if thing["kind"] != "Namespace"}


def comparable(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: comparable(child, name) for name, child in value.items()}
    if isinstance(value, list):
        children = [comparable(child) for child in value]
        if key == "env":
            children = without_names(children)
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
        assert workload in ("r-kzn-server", "r-kzn-agent", "r-kzn-network-costs", "r-kzn-report")
        assert ("ServiceAccount", "net", pod["serviceAccountName"]) in names
        there = {volume["name"] for volume in pod.get("volumes", [])}
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", "net", volume["configMap"]["name"]) in names
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert claim == "reports" or ("PersistentVolumeClaim", "net", claim) in names
            if "secret" in volume:
                secrets = {
                    t["spec"].get("secretName") for t in things if t["kind"] == "Certificate"
                }
                assert volume["secret"]["secretName"] in secrets | {"kzn-http", "hook"}
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


def _policy(values: Values) -> list[Any]:
    rules: list[Any] = one(rendered(values), "NetworkPolicy", "kzn-server")["spec"]["egress"]
    return [(sorted(port["port"] for port in rule["ports"]), rule.get("to")) for rule in rules]


def test_the_policy_lets_the_server_reach_its_sinks() -> None:
    ranges = [{"ipBlock": {"cidr": "10.7.0.0/16"}}]
    assert ([443, 8443], ranges) in _policy(SETS["sinks"])
    assert ([8123], None) in _policy(SETS["numbers as names"])
    assert len(_policy(SETS["sinks"])) == len(_policy({})) + 1


def _history_limit(values: Values) -> Any:
    volumes = dict(pods(rendered(values)))["kzn-server"]["volumes"]
    (data,) = [volume for volume in volumes if volume["name"] == "data"]
    return data["emptyDir"]["sizeLimit"]


def test_the_volume_holds_what_waits_for_sinks() -> None:
    variables = variables_of(rendered(SETS["sinks"]), "kzn-server", "kzn")
    assert variables["KZN_SINK"].split() == SINKS
    assert variables["KZN_SINK_SPOOL"] == "256Mi"
    assert _history_limit(SETS["sinks"]) == "2560Mi"
    assert _history_limit({"history": {"size": "512Mi"}}) == "1Gi"
    assert _history_limit({"history": {"volumeLimit": "10G"}}) == "10G"


def test_values_that_look_like_numbers_are_texts() -> None:
    variables = variables_of(rendered(SETS["numbers as names"]), "kzn-server", "kzn")
    assert variables["KZN_CLUSTER"] == "123"
    assert variables["KZN_HISTORY_SIZE"] == "536870912"


def test_further_owners_are_a_role_of_their_own_that_may_list_and_watch() -> None:
    role = one(rendered(SETS["owners"]), "ClusterRole", "kzn-server-owners")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["replicationcontrollers"], "verbs": ["list", "watch"]}
    ]


def test_the_report_of_the_chart_asks_its_server_by_options_of_the_command() -> None:
    things = rendered(SETS["report to a webhook"], release="r", namespace="net")
    template = one(things, "CronJob", "r-kzn-report")["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    name, *args = container["args"]
    command = load(name, SUBCOMMANDS[name])
    with command.make_context(name, [*args]) as context:  # which click empties
        found = context.params
    service = one(things, "Service", "r-kzn-server")["metadata"]
    assert "--url=https://{name}.{namespace}.svc:8080".format(**service) in args
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(found["post_to"].parent) == mounts["webhook"]
    assert str(found["tls_ca"]) == f"{mounts['http-ca']}/ca.crt"
    assert (found["post_as"], found["previous"], found["by"]) == ("teams", True, "namespace")
    assert template["spec"]["automountServiceAccountToken"]
    role = one(things, "ClusterRole", "kzn-report.r.net")
    assert role["rules"] == [{"nonResourceURLs": ["/api/v1/traffic"], "verbs": ["get"]}]
    volumes = {volume["name"] for volume in template["spec"]["volumes"]}
    assert volumes == mounts.keys()


def test_a_report_needs_no_more_of_the_tls_secret_than_it_has() -> None:
    job = one(rendered(SETS["report over TLS of a known authority"]), "CronJob", "kzn-report")
    spec = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert "--url=https://kzn-server.kzn.svc:8080" in spec["containers"][0]["args"]
    assert not any(arg.startswith("--tls-ca") for arg in spec["containers"][0]["args"])
    assert [volume["name"] for volume in spec["volumes"]] == ["reports"]


def test_a_report_to_a_volume_is_a_file_for_each_period() -> None:
    job = one(rendered(SETS["report to a volume"]), "CronJob", "kzn-report")
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert "--output=/reports/kzn-{period}.html" in container["args"]


def test_budgets_of_the_chart_are_a_file_that_the_server_reads(tmp_path: Path) -> None:
    things = rendered(SETS["budgets"])
    path = tmp_path / "budgets.yaml"
    path.write_text(one(things, "ConfigMap", "kzn-budgets")["data"]["budgets.yaml"])
    amounts = [budget.amount for budget in load_budgets(path)]
    assert amounts == [500.5, 3000.0, 1500000.25, 0.00001]
    variables = variables_of(things, "kzn-server", "kzn")
    (server,) = dict(pods(things))["kzn-server"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in server["volumeMounts"]}
    assert PurePath(variables["KZN_BUDGETS"]).parent == PurePath(mounts["budgets"])


def test_every_variable_of_the_chart_is_an_option_of_its_command() -> None:
    for values in SETS.values():
        for _, pod in pods(rendered(values)):
            for container in containers(pod):
                command, *_ = container["args"]
                options = {
                    option.envvar
                    for option in load(command, SUBCOMMANDS[command]).params
                    if isinstance(option, click.Option)
                }
                used = {entry["name"] for entry in container.get("env", [])} - {"POD_NAMESPACE"}
                assert used <= options


def test_two_releases_share_no_object_and_no_pod() -> None:
    everything = SETS["owners"] | {
        "advice": {"moreFacts": True},
        "openshift": {"enabled": True},
        "tls": {"enabled": True},
    }
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
    ("agent", "server", "classes"),
    [
        ("system-node-critical", "", ["system-node-critical"]),
        ("system-cluster-critical", "", ["system-cluster-critical"]),
        ("important", "", []),
        ("", "", []),
        ("", "system-cluster-critical", ["system-cluster-critical"]),
        (
            "system-node-critical",
            "system-cluster-critical",
            ["system-cluster-critical", "system-node-critical"],
        ),
        ("system-cluster-critical", "system-cluster-critical", ["system-cluster-critical"]),
        ("system-node-critical", "important", ["system-node-critical"]),
    ],
)
def test_each_priority_class_of_the_system_comes_with_a_quota(
    agent: str, server: str, classes: list[str]
) -> None:
    values = {"agent": {"priorityClassName": agent}, "server": {"priorityClassName": server}}
    things = rendered(values)
    found = {name: pod.get("priorityClassName", "") for name, pod in pods(things)}
    assert found == {"kzn-agent": agent, "kzn-server": server}
    quotas = [thing for thing in things if thing["kind"] == "ResourceQuota"]
    assert len({name_of(quota) for quota in quotas}) == len(quotas)
    scopes = [scope for one in quotas for scope in one["spec"]["scopeSelector"]["matchExpressions"]]
    assert [(scope["operator"], scope["scopeName"]) for scope in scopes] == [
        ("In", "PriorityClass")
    ] * len(classes)
    assert sorted(value for scope in scopes for value in scope["values"]) == classes


def test_on_openshift_each_pod_with_a_user_of_its_own_is_admitted() -> None:
    values = {
        "openshift": {"enabled": True},
        "opencost": {"collector": True},
        "report": {"enabled": True, "claim": "reports"},
    }
    things = rendered(values)
    admitted = {
        (thing["roleRef"]["name"], subject["name"])
        for thing in things
        if thing["kind"] == "RoleBinding"
        for subject in thing["subjects"]
    }
    found = {name: pod for name, pod in pods(things) if name != "kzn-agent"}
    assert len(found) == 3
    for pod in found.values():
        assert pod["securityContext"]["runAsUser"] == 65532
        role = "system:openshift:scc:nonroot-v2"
        assert (role, pod["serviceAccountName"]) in admitted


def test_on_openshift_the_further_volumes_of_agents_are_admitted() -> None:
    more: list[Values] = [
        {"name": "a", "emptyDir": {}},
        {"name": "b", "configMap": {"name": "b"}},
        {"name": "c", "secret": {"secretName": "c"}},
    ]
    values = {"openshift": {"enabled": True}, "agent": {"extraVolumes": more}}
    things = rendered(values)
    allowed = one(things, "SecurityContextConstraints", "kzn-agent")["volumes"]
    assert allowed == ["configMap", "emptyDir", "hostPath", "projected", "secret"]
    of_pod = dict(pods(things))["kzn-agent"]["volumes"]
    assert {kind for volume in of_pod for kind in volume.keys() - {"name"}} == set(allowed)


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
    parts = {name for name, value in defaults.items() if isinstance(value, dict)}
    for part in parts - {"static"}:
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


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "at most 1Gi of files, in an emptyDir of 2Gi that ends with the pod"),
        ({"history": {"size": "3Gi"}}, "at most 3Gi of files, in an emptyDir of 6Gi"),
        ({"state": {"enabled": True}}, "at most 1Gi of files, in a volume of 3Gi (state.size)"),
        ({"history": {"enabled": False}}, ""),
    ],
)
def test_the_notes_say_how_large_the_history_and_its_volume_are(values: Values, said: str) -> None:
    with helm.Chart.load(CHART) as chart:
        text = chart.render(values, name="kzn", namespace="kzn")[NOTES]
    assert said in text
    assert ("History:" in text) == bool(said)
    assert "kubectl -n kzn port-forward service/kzn-server 8080" in text
