"""The manifests are up to date, valid by Kubernetes' schemas, and have least privileges."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml
from manifests import (
    DEPLOY,
    HELPERS,
    KUBERNETES,
    OVERLAYS,
    PLAIN,
    ROOT,
    Object,
    containers,
    has_schema,
    kustomized,
    name_of,
    objects,
    one,
    output_of,
    pods,
    tool,
    variables_of,
)

from kzn.cli.main import SUBCOMMANDS, load
from kzn.pricing import aws
from kzn.pricing.file import parse_list
from kzn.server.config import AUDIENCE
from kzn.server.prices import parse_sources
from kzn.topology.kube.api_objects import is_agentless
from kzn.topology.static.file import parse_static

pytestmark = pytest.mark.slow

DETACH = DEPLOY / "detach.yaml"
PRIVILEGED = {("kind", "mount-bpffs")}
"""Overlay and container that may be privileged: kind nodes have no bpf file system mounted."""
UNCONFINED = {("openshift", "kzn-agent")}
"""Overlay and workload without a seccomp profile: CRI-O's refuses bpf(2) with CAP_BPF alone."""
POWERLESS = {"server", "done", "exporter"}
"""Containers without capabilities."""


@cache
def manifest(name: str) -> list[Object]:
    if name in ("kzn", "detach"):
        return objects((DEPLOY / f"{name}.yaml").read_text())
    return kustomized(f"overlays/{name}")


ALL = ["kzn", "detach", *OVERLAYS]
on_all = pytest.mark.parametrize("name", ALL)


def containers_of(name: str) -> Iterator[tuple[str, Object, Object]]:
    for workload, pod in pods(manifest(name)):
        for container in containers(pod):
            yield workload, pod, container


def test_the_generated_files_are_up_to_date() -> None:
    tool("kubectl")
    done = subprocess.run(
        [ROOT / "scripts" / "manifests", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_plain_manifest_equals_the_base() -> None:
    assert manifest("kzn") == kustomized("base")


@pytest.mark.parametrize("version", KUBERNETES)
@on_all
def test_every_object_is_valid_by_the_kubernetes_schema(name: str, version: str) -> None:
    for thing in filter(has_schema, manifest(name)):
        kubernetes_validate.validate(thing, version, strict=True)


def test_an_unknown_field_fails_validation() -> None:
    wrong = one(objects(PLAIN.read_text()), "DaemonSet", "kzn-agent")
    wrong["spec"]["template"]["spec"]["hostnetwork"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[-1], strict=True)


@on_all
def test_manifests_can_be_applied_twice(name: str) -> None:
    things = manifest(name)
    names = [name_of(thing) for thing in things]
    assert len(names) == len(set(names))
    assert not [thing for thing in things if "generateName" in thing["metadata"]]
    assert not {thing["kind"] for thing in things} & {"Job", "Pod"}  # these change by running
    if name in OVERLAYS:
        again = output_of(tool("kubectl"), "kustomize", DEPLOY / "overlays" / name)
        assert objects(again) == things


@on_all
def test_no_container_is_privileged_and_all_root_file_systems_are_read_only(name: str) -> None:
    for workload, pod, container in containers_of(name):
        if (name, container["name"]) in PRIVILEGED:
            continue
        context = container["securityContext"]
        assert not context.get("privileged")
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"]["drop"] == ["ALL"]
        profile = "Unconfined" if (name, workload) in UNCONFINED else "RuntimeDefault"
        assert pod["securityContext"]["seccompProfile"] == {"type": profile}
        assert not {"hostPID", "hostIPC", "shareProcessNamespace"} & pod.keys()


@on_all
def test_the_agent_has_three_capabilities_and_the_server_none(name: str) -> None:
    for _, _, container in containers_of(name):
        if (name, container["name"]) in PRIVILEGED:
            continue
        added = container["securityContext"]["capabilities"].get("add", [])
        assert added == ([] if container["name"] in POWERLESS else ["BPF", "NET_ADMIN", "PERFMON"])


@on_all
def test_every_container_has_requests_and_limits(name: str) -> None:
    for _, _, container in containers_of(name):
        resources = container["resources"]
        assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory"}


@on_all
def test_every_image_has_a_tag_that_is_not_latest(name: str) -> None:
    images = {container["image"] for _, _, container in containers_of(name)}
    assert all(re.fullmatch(r"[\w./-]+:(?!latest$)[\w.-]+", image) for image in images), images
    assert len(images) <= 1


@pytest.mark.parametrize("name", ["kzn", *OVERLAYS])
def test_the_server_meets_the_restricted_pod_security_standard(name: str) -> None:
    pod = dict(pods(manifest(name)))["kzn-server"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    allowed = {"persistentVolumeClaim", "secret", "configMap", "projected", "emptyDir"}
    for volume in pod.get("volumes", []):
        assert (volume.keys() - {"name"}) <= allowed


def test_cluster_roles_grant_only_the_needed_rights() -> None:
    things = manifest("kzn")
    rights = {
        (group, resource): rule["verbs"]
        for rule in one(things, "ClusterRole", "kzn-server")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    look = ["list", "watch"]  # a right that nothing uses is not asked for
    assert rights == {
        ("", "nodes"): look,
        ("", "pods"): look,
        ("", "services"): look,
        ("", "namespaces"): ["get"],
        ("apps", "replicasets"): look,
        **{("apps", kind): look for kind in ("daemonsets", "deployments", "statefulsets")},
        ("batch", "jobs"): look,
        ("discovery.k8s.io", "endpointslices"): look,
        ("authentication.k8s.io", "tokenreviews"): ["create"],
        ("authorization.k8s.io", "subjectaccessreviews"): ["create"],
    }
    (of_namespaces,) = (
        rule
        for rule in one(things, "ClusterRole", "kzn-server")["rules"]
        if "namespaces" in rule["resources"]
    )
    assert of_namespaces["resourceNames"] == ["kube-system"]
    bindings = [thing for thing in things if thing["kind"].endswith("Binding")]
    subjects = [subject["name"] for binding in bindings for subject in binding["subjects"]]
    assert subjects == ["kzn-server"]


def test_more_facts_of_advice_are_a_role_of_their_own_that_reads_one_configmap() -> None:
    role = one(manifest("advice"), "ClusterRole", "kzn-server-advice")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["list", "watch"]},
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["cilium-config"],
            "verbs": ["get"],
        },
    ]


def test_the_agents_token_has_the_audience_of_the_server() -> None:
    things = manifest("kzn")
    agent = dict(pods(things))["kzn-agent"]
    assert agent["automountServiceAccountToken"] is False
    (token,) = [
        source["serviceAccountToken"]
        for volume in agent["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
    ]
    assert token["audience"] == AUDIENCE
    account = one(things, "ServiceAccount", agent["serviceAccountName"])["metadata"]
    taken = variables_of(things, "kzn-server", "kzn")["KZN_AGENT_SERVICE_ACCOUNT"]
    assert taken == f"{account['namespace']}/{account['name']}"


@on_all
def test_every_variable_is_an_option_of_its_command(name: str) -> None:
    for _, _, container in containers_of(name):
        if "args" not in container:
            continue
        command = container["args"][0]
        options = {
            option.envvar
            for option in load(command, SUBCOMMANDS[command]).params
            if isinstance(option, click.Option)
        }
        used = {entry["name"] for entry in container.get("env", [])} - HELPERS
        assert used <= options


@on_all
def test_every_mounted_volume_is_defined(name: str) -> None:
    for _, pod, container in containers_of(name):
        there = {volume["name"] for volume in pod.get("volumes", [])}
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= there


def test_the_bpf_file_system_is_mounted_where_apparmor_allows_writing() -> None:
    # containerd's and docker's profiles: deny /sys/fs/[^c]*/** wklx
    for name in ("kzn", "detach"):
        for _, pod, container in containers_of(name):
            if container["name"] in POWERLESS:
                continue
            assert {"path": "/sys/fs/bpf", "type": "Directory"} in [
                volume.get("hostPath") for volume in pod["volumes"]
            ]
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            environment = {entry["name"]: entry.get("value") for entry in container["env"]}
            assert mounts["bpf"] == "/bpf"
            assert environment["KZN_PIN_DIR"] == "/bpf/kzn"


@pytest.mark.parametrize("name", ["kzn", *OVERLAYS])
def test_probes_request_existing_paths_at_declared_ports(name: str) -> None:
    for workload, _, container in containers_of(name):
        if "args" not in container:
            continue
        ports = {port["name"] for port in container["ports"]}
        pages = {
            kind: container[kind]["httpGet"]
            for kind in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert {page["port"] for page in pages.values()} <= ports
        assert pages["livenessProbe"]["path"] == "/healthz"
        ready = "/readyz" if workload == "kzn-server" else "/healthz"
        assert pages["readinessProbe"]["path"] == ready


def test_a_state_volume_is_not_shared_by_two_servers() -> None:
    deployment = one(manifest("state"), "Deployment", "kzn-server")["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}


def test_agents_do_not_mount_the_servers_private_key() -> None:
    things = manifest("tls")
    agent = dict(pods(things))["kzn-agent"]
    secrets = [volume["secret"] for volume in agent["volumes"] if "secret" in volume]
    assert [secret["secretName"] for secret in secrets] == ["kzn-agent-tls"]
    assert secrets[0]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    certificate = one(things, "Certificate", "kzn-server")["spec"]
    assert (
        variables_of(things, "kzn-agent", "kzn")["KZN_TLS_SERVER_NAME"] in certificate["dnsNames"]
    )


def test_the_per_zone_overlay_has_a_server_in_each_zone_and_prefers_the_closest() -> None:
    things = manifest("per-zone")
    assert one(things, "Service", "kzn-server")["spec"]["trafficDistribution"] == "PreferClose"
    (spread,) = dict(pods(things))["kzn-server"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"
    assert spread["whenUnsatisfiable"] == "DoNotSchedule"
    assert one(things, "Deployment", "kzn-server")["spec"]["replicas"] > 1


def test_a_newer_cluster_gets_the_name_that_is_not_deprecated(tmp_path: Path) -> None:
    things = built(tmp_path, components=["per-zone", "same-zone"])
    assert one(things, "Service", "kzn-server")["spec"]["trafficDistribution"] == "PreferSameZone"


def built(
    folder: Path, *, namespace: str = "", components: Sequence[str] = (), **more: str
) -> list[Object]:
    """The objects of a user's own kustomization of the base."""
    here = os.path.relpath(DEPLOY, folder)
    document = {
        "resources": [f"{here}/base"],
        "components": [f"{here}/components/{name}" for name in components],
        "images": [{"name": "kzn", "newName": "registry.example.com/kzn", "newTag": "0.1.0"}],
    } | ({"namespace": namespace} if namespace else {})
    document |= more
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return objects(output_of(tool("kubectl"), "kustomize", folder))


@pytest.mark.parametrize(
    "components",
    [
        (),
        ("tls",),
        ("state", "static", "tls", "openshift", "owners", "advice", "prometheus-operator"),
        ("per-zone",),
    ],
)
def test_a_kustomization_moves_kzn_into_another_namespace(
    components: tuple[str, ...], tmp_path: Path
) -> None:
    things = built(tmp_path, namespace="observability", components=components)
    wide = {"ClusterRole", "ClusterRoleBinding", "Namespace", "SecurityContextConstraints"}
    for thing in things:
        assert thing["kind"] in wide or thing["metadata"]["namespace"] == "observability"
    assert one(things, "Namespace", "observability")
    agent = variables_of(things, "kzn-agent", "observability")
    server = variables_of(things, "kzn-server", "observability")
    service = one(things, "Service", "kzn-server")["metadata"]
    assert agent["KZN_SERVER"] == f"{service['name']}.{service['namespace']}.svc:7070"
    account = dict(pods(things))["kzn-agent"]["serviceAccountName"]
    assert server["KZN_AGENT_SERVICE_ACCOUNT"] == f"observability/{account}"
    for thing in things:
        for subject in thing.get("subjects", []):
            assert subject["namespace"] == "observability"
    if "tls" in components:
        certificate = one(things, "Certificate", "kzn-server")["spec"]
        assert agent["KZN_TLS_SERVER_NAME"] in certificate["dnsNames"]
    text = str([thing for thing in things if thing["kind"] != "PrometheusRule"])
    assert not re.findall(r"kzn\.svc|kzn/kzn-|'namespace': 'kzn'", text)


@pytest.mark.parametrize(("prefix", "suffix"), [("team-", ""), ("", "-2"), ("a-", "-z")])
def test_names_of_objects_follow_a_prefix_and_a_suffix(
    prefix: str, suffix: str, tmp_path: Path
) -> None:
    components = ["state", "tls", "openshift", "opencost-collector", "prometheus-operator"]
    things = built(
        tmp_path, namespace="007", components=components, namePrefix=prefix, nameSuffix=suffix
    )

    def named(name: str) -> str:
        return f"{prefix}{name}{suffix}"

    names = {name_of(thing) for thing in things}
    for kind, _, name in names - {("Namespace", "", "007")}:
        assert name.startswith(prefix), kind
        assert name.endswith(suffix), kind
    agent = variables_of(things, named("kzn-agent"), "007")
    server = variables_of(things, named("kzn-server"), "007")
    exporter = variables_of(things, named("kzn-network-costs"), "007")
    assert ("Service", "007", named("kzn-server")) in names
    assert agent["KZN_SERVER"] == f"{named('kzn-server')}.007.svc:7070"
    assert exporter["KZN_URL"] == f"http://{named('kzn-server')}:8080"
    account = dict(pods(things))[named("kzn-agent")]["serviceAccountName"]
    assert server["KZN_AGENT_SERVICE_ACCOUNT"] == f"007/{account}"
    certificates = [thing for thing in things if thing["kind"] == "Certificate"]
    assert any(agent["KZN_TLS_SERVER_NAME"] in c["spec"].get("dnsNames", []) for c in certificates)
    for certificate in certificates:
        assert ("Issuer", "007", certificate["spec"]["issuerRef"]["name"]) in names
    role = one(things, "Role", named("kzn-agent-scc"))["rules"][0]
    assert role["resourceNames"] == [named("kzn-agent")]
    assert one(things, "SecurityContextConstraints", named("kzn-agent"))


def test_two_installations_share_no_object() -> None:
    first, second = (
        {name_of(thing) for thing in manifest(name)} for name in ("kzn", "other-namespace")
    )
    assert not first & second


def test_the_namespace_has_a_quota_for_the_agents_priority_class() -> None:
    things = manifest("kzn")
    priority = dict(pods(things))["kzn-agent"]["priorityClassName"]
    quota = one(things, "ResourceQuota", "kzn-agent")["spec"]
    assert quota["scopeSelector"]["matchExpressions"] == [
        {"operator": "In", "scopeName": "PriorityClass", "values": [priority]}
    ]
    assert quota["hard"] == {"pods": "1M"}  # more than a cluster has nodes


def test_the_constraints_of_openshift_admit_the_pods_and_nothing_more() -> None:
    things = manifest("openshift")
    allowed = one(things, "SecurityContextConstraints", "kzn-agent")
    for pod in (dict(pods(things))["kzn-agent"], dict(pods(manifest("detach")))["kzn-detach"]):
        assert pod["hostNetwork"] == allowed["allowHostNetwork"] == allowed["allowHostPorts"]
        kinds = {kind for volume in pod["volumes"] for kind in volume.keys() - {"name"}}
        assert kinds <= set(allowed["volumes"])
        assert (
            pod["securityContext"]["seLinuxOptions"] == allowed["seLinuxContext"]["seLinuxOptions"]
        )
        profile = pod["securityContext"]["seccompProfile"]["type"]
        assert {"RuntimeDefault": "runtime/default", "Unconfined": "unconfined"}[profile] in (
            allowed["seccompProfiles"]
        )
        for container in containers(pod):
            context = pod["securityContext"] | container["securityContext"]
            users = allowed["runAsUser"]
            assert users["uidRangeMin"] <= context["runAsUser"] <= users["uidRangeMax"]
            assert set(context["capabilities"].get("add", [])) <= set(
                allowed["allowedCapabilities"]
            )
            assert context["capabilities"]["drop"] == allowed["requiredDropCapabilities"]
            assert context["readOnlyRootFilesystem"] is allowed["readOnlyRootFilesystem"] is True
    assert {key: value for key, value in allowed.items() if value is True}.keys() == {
        "allowHostNetwork",
        "allowHostPorts",
        "allowHostDirVolumePlugin",
        "readOnlyRootFilesystem",
    }
    uses = {
        (thing["subjects"][0]["name"], thing["roleRef"]["name"])
        for thing in things
        if thing["kind"] == "RoleBinding"
    }
    assert uses == {
        ("kzn-agent", "kzn-agent-scc"),
        ("kzn-server", "system:openshift:scc:nonroot-v2"),
    }


DNS = {(53, "UDP"), (53, "TCP")}
DNS_OF_OPENSHIFT = {(5353, "UDP"), (5353, "TCP")}


@pytest.mark.parametrize(("name", "dns"), [("kzn", DNS), ("openshift", DNS | DNS_OF_OPENSHIFT)])
def test_the_server_may_connect_to_the_api_server_and_resolve_names_only(
    name: str, dns: set[tuple[int, str]]
) -> None:
    policy = one(manifest(name), "NetworkPolicy", "kzn-server")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    ports = {
        (port["port"], port["protocol"]) for rule in policy["egress"] for port in rule["ports"]
    }
    assert ports == {
        (443, "TCP"),
        (6443, "TCP"),
        (16443, "TCP"),
        *dns,
    }


def test_what_waits_after_detach_can_do_nothing() -> None:
    (pod,) = [pod for _, pod in pods(manifest("detach"))]
    (done,) = pod["containers"]
    assert done["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert done["securityContext"]["runAsNonRoot"] is True
    assert "volumeMounts" not in done


def test_the_static_file_is_mounted_as_a_directory_so_that_it_is_updated() -> None:
    things = manifest("static")
    (server,) = dict(pods(things))["kzn-server"]["containers"]
    path = PurePath(variables_of(things, "kzn-server", "kzn")["KZN_STATIC"])
    (mount,) = [m for m in server["volumeMounts"] if m["mountPath"] == str(path.parent)]
    assert "subPath" not in mount
    content = one(things, "ConfigMap", "kzn-static")["data"][path.name]
    assert [network.name for network in parse_static("static.yaml", content).networks] == [
        "orders-db"
    ]


def test_the_price_list_is_mounted_as_a_directory_so_that_it_is_updated() -> None:
    things = manifest("prices")
    (server,) = dict(pods(things))["kzn-server"]["containers"]
    sources = parse_sources(variables_of(things, "kzn-server", "kzn")["KZN_PRICES"])
    [path] = sources.files
    assert sources.shipped
    (mount,) = [m for m in server["volumeMounts"] if m["mountPath"] == str(path.parent)]
    assert "subPath" not in mount
    content = one(things, "ConfigMap", "kzn-prices")["data"][path.name]
    assert parse_list("prices.yaml", content, [aws.PRICES]).discount == 0.1


def test_manifests_takes_an_image_by_digest() -> None:
    image = "r.example/kzn@sha256:" + "0" * 64
    things = objects(output_of(ROOT / "scripts" / "manifests", image))
    assert {c["image"] for _, pod in pods(things) for c in containers(pod)} == {image}


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"kubernetes.io/os": "linux"},
        {"kubernetes.io/os": "windows"},
        {"kubernetes.io/os": "linux", "type": "virtual-kubelet"},
        {"kubernetes.io/os": "linux", "type": "worker"},
        {"kubernetes.io/os": "linux", "eks.amazonaws.com/compute-type": "fargate"},
        {"kubernetes.io/os": "linux", "eks.amazonaws.com/compute-type": "ec2"},
    ],
)
def test_the_server_knows_which_nodes_the_agents_affinity_leaves_out(
    labels: dict[str, str],
) -> None:
    agent = dict(pods(manifest("kzn")))["kzn-agent"]
    affinity = agent["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = affinity["nodeSelectorTerms"]
    assert {expression["operator"] for expression in term["matchExpressions"]} == {"NotIn"}
    chosen = not any(
        labels.get(expression["key"]) in expression["values"]
        for expression in term["matchExpressions"]
    )
    # The kubelet sets that label on every node; without it nothing is known against an agent.
    labels = {"kubernetes.io/os": "linux"} | labels
    chosen = chosen and agent["nodeSelector"].items() <= labels.items()
    assert is_agentless(labels) is not chosen


def monitor(things: list[Object]) -> Object:
    return dict(one(things, "ServiceMonitor", "kzn-server")["spec"])


def relabelled(rules: list[dict[str, Any]], labels: dict[str, str]) -> dict[str, str]:
    """What Prometheus makes of the labels of a target, for the kinds of rules that are used."""
    labels = dict(labels)
    for rule in rules:
        value = rule.get("separator", ";").join(
            labels.get(name, "") for name in rule.get("sourceLabels", [])
        )
        match = re.fullmatch(rule.get("regex", "(.*)"), value)
        action = rule.get("action", "replace")
        if action == "labeldrop":
            labels = {k: v for k, v in labels.items() if not re.fullmatch(rule["regex"], k)}
        elif action == "drop" and match:
            return {}
        elif action == "replace" and match:
            to = rule.get("replacement", "$1").replace("$1", r"\1")
            labels[rule["targetLabel"]] = match.expand(to)
    return labels


def target(number: int, zone: str) -> dict[str, str]:
    """The labels of a pod of the server, as the operator gives them."""
    return {
        "__meta_kubernetes_namespace": "kzn",
        "__meta_kubernetes_service_name": "kzn-server",
        "__meta_kubernetes_node_label_topology_kubernetes_io_zone": zone,
        "namespace": "kzn",
        "service": "kzn-server",
        "pod": f"kzn-server-{number}",
        "container": "server",
        "endpoint": "http",
        "instance": f"10.0.0.{number}:8080",
    }


def shown(labels: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if not name.startswith("__")}


def test_a_servers_successor_has_the_labels_of_the_former_one(tmp_path: Path) -> None:
    spec = monitor(built(tmp_path, components=["prometheus-operator"]))
    rules = spec["endpoints"][0]["relabelings"]
    first, second = (shown(relabelled(rules, target(n, zone))) for n, zone in ((1, "a"), (2, "b")))
    assert first == second
    assert first == {"namespace": "kzn", "service": "kzn-server", "instance": "kzn/kzn-server"}
    deployment = one(manifest("kzn"), "Deployment", "kzn-server")["spec"]
    assert deployment["strategy"] == {"type": "Recreate"}  # never two of them at once


def test_servers_of_two_zones_have_labels_of_their_own(tmp_path: Path) -> None:
    spec = monitor(built(tmp_path, components=["prometheus-operator", "per-zone"]))
    assert spec["attachMetadata"] == {"node": True}
    rules = spec["endpoints"][0]["relabelings"]
    found = [shown(relabelled(rules, target(n, zone))) for n, zone in enumerate("aab")]
    assert found[0] == found[1]
    assert [labels["instance"] for labels in found] == ["kzn/a", "kzn/a", "kzn/b"]
    alone = monitor(built(tmp_path, components=["prometheus-operator"]))["endpoints"][0]
    assert {**spec["endpoints"][0], "relabelings": 0} == {**alone, "relabelings": 0}


def test_times_of_creation_are_not_stored_as_series(tmp_path: Path) -> None:
    endpoint = monitor(built(tmp_path, components=["prometheus-operator"]))["endpoints"][0]
    (rule,) = endpoint["metricRelabelings"]
    for name, stays in (
        ("kzn_zone_traffic_bytes_created", False),
        ("pod_cross_zone_network_traffic_bytes_created", False),
        ("kzn_zone_traffic_bytes_total", True),
    ):
        assert bool(relabelled([rule], {"__name__": name})) == stays


def test_the_scrape_configuration_names_targets_as_the_operator_does(tmp_path: Path) -> None:
    path = DEPLOY / "prometheus" / "scrape.yaml"
    config = yaml.safe_load(path.read_text())
    jobs = config["scrape_configs"]
    bare = [{k: v for k, v in job.items() if k != "kubernetes_sd_configs"} for job in jobs]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": bare}))
    output_of(tool("promtool"), "check", "config", "--syntax-only", tmp_path / "prometheus.yml")
    server = config["scrape_configs"][0]
    last = server["relabel_configs"][-1]
    assert (last["target_label"], last["replacement"]) == ("instance", "$1/kzn-server")
    (drop,) = server["metric_relabel_configs"]
    endpoint = monitor(built(tmp_path, components=["prometheus-operator"]))["endpoints"][0]
    assert drop["regex"] == endpoint["metricRelabelings"][0]["regex"]
