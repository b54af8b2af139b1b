"""The manifests are up to date, valid by Kubernetes' schemas, and have least privileges."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache

import click
import kubernetes_validate
import pytest
from manifests import (
    DEPLOY,
    OVERLAYS,
    PLAIN,
    ROOT,
    Object,
    containers,
    kustomized,
    name_of,
    objects,
    one,
    output_of,
    pods,
    tool,
)

from kzn.cli.main import SUBCOMMANDS, load
from kzn.server.config import AUDIENCE

pytestmark = pytest.mark.slow

DETACH = DEPLOY / "detach.yaml"
KUBERNETES = ["1.31", "1.34", "1.37"]
"""The oldest version that all overlays support, one between, and the newest known."""
FOREIGN = {"cert-manager.io/v1", "monitoring.coreos.com/v1"}
"""API versions of operators, which have no schema in Kubernetes."""
PRIVILEGED = {("kind", "mount-bpffs")}
"""Overlay and container that may be privileged: kind nodes have no bpf file system mounted."""


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
    for thing in manifest(name):
        if thing["apiVersion"] not in FOREIGN:
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
    for _, pod, container in containers_of(name):
        if (name, container["name"]) in PRIVILEGED:
            continue
        context = container["securityContext"]
        assert not context.get("privileged")
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"]["drop"] == ["ALL"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostPID", "hostIPC", "shareProcessNamespace"} & pod.keys()


@on_all
def test_the_agent_has_three_capabilities_and_the_server_none(name: str) -> None:
    for workload, _, container in containers_of(name):
        if (name, container["name"]) in PRIVILEGED:
            continue
        added = container["securityContext"]["capabilities"].get("add", [])
        assert added == ([] if workload == "kzn-server" else ["BPF", "NET_ADMIN", "PERFMON"])


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
    look = ["get", "list", "watch"]
    assert rights == {
        ("", "nodes"): look,
        ("", "pods"): look,
        ("", "services"): look,
        ("apps", "replicasets"): look,
        ("batch", "jobs"): look,
        ("authentication.k8s.io", "tokenreviews"): ["create"],
    }
    bindings = [thing for thing in things if thing["kind"].endswith("Binding")]
    subjects = [subject["name"] for binding in bindings for subject in binding["subjects"]]
    assert subjects == ["kzn-server"]


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
    (server,) = dict(pods(things))["kzn-server"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in server["env"]}
    taken = environment["KZN_AGENT_SERVICE_ACCOUNT"]
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
        used = {entry["name"] for entry in container.get("env", [])}
        assert used <= options


@on_all
def test_every_mounted_volume_is_defined(name: str) -> None:
    for _, pod, container in containers_of(name):
        there = {volume["name"] for volume in pod.get("volumes", [])}
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= there


def test_the_bpf_file_system_is_mounted_where_apparmor_allows_writing() -> None:
    # containerd's and docker's profiles: deny /sys/fs/[^c]*/** wklx
    for name in ("kzn", "detach"):
        for workload, pod, container in containers_of(name):
            if workload == "kzn-server":
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
    address = next(
        entry["value"] for entry in agent["containers"][0]["env"] if entry["name"] == "KZN_SERVER"
    )
    assert address.partition(":")[0] in certificate["dnsNames"]


def test_the_per_zone_overlay_has_a_server_in_each_zone_and_prefers_the_closest() -> None:
    things = manifest("per-zone")
    assert one(things, "Service", "kzn-server")["spec"]["trafficDistribution"] == "PreferClose"
    (spread,) = dict(pods(things))["kzn-server"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"
    assert spread["whenUnsatisfiable"] == "DoNotSchedule"
    assert one(things, "Deployment", "kzn-server")["spec"]["replicas"] > 1
