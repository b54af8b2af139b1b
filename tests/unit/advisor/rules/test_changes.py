"""Every change that a rule proposes is one that an API server would take, as far as that shows.

kubectl applies each command to an object like those in a cluster, without a server (`--local`), and
the result is checked against the schemas of Kubernetes: no unknown field, types, enumerations,
what is required. What only an admission plugin or a webhook refuses does not show here.
"""

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from advice_examples import CART, CARTS, EVEN, EXAMPLES, TWO, WEB
from advice_world import CLUSTER, of_rule, party, service, talk, workload, world
from manifests import KUBERNETES as VERSIONS
from manifests import tool

from kzn.advisor.proposal import Change, Proposal
from kzn.advisor.world import World

LOGS = party("ops/log", "DaemonSet")
DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
"""What validation of the API server accepts from 1.34 on; 1.31 to 1.33 have the first alone."""
KINDS = {
    "service": "Service",
    "node": "Node",
    "deployment": "Deployment",
    "statefulset": "StatefulSet",
}


def old_api() -> World:
    """Of before PreferSameZone and PreferSameNode."""
    found = EXAMPLES["same-node"]()
    return replace(found, cluster=replace(CLUSTER, api_version=(1, 33)))


def stateful() -> World:
    db = party("shop/cart", "StatefulSet")
    return world(
        talk(WEB, db, EVEN),
        [service("shop/cart", db, {"a": 5, "b": 1})],
        [workload(db, {"a": 5, "b": 1}, selector=(("app", "it's"),), spread="DoNotSchedule")],
    )


def both_set() -> World:
    cart = service("shop/cart", CART, TWO, topology_mode="Auto", distribution="PreferClose")
    return world(talk(WEB, CART, EVEN), [cart], [CARTS])


def unlabelled() -> World:
    cart = service("shop/cart", CART, {"a": 2, "b": 1, "": 1, "c": 2})
    lost = replace(cart.endpoints[3], node="node.example.com", is_labelled=False)
    cart = replace(cart, endpoints=(*cart.endpoints[:3], lost, *cart.endpoints[4:]))
    return world(talk(WEB, CART, EVEN), [cart], [CARTS])


def old_zone() -> World:
    cluster = replace(CLUSTER, api_version=(1, 31), kubelet=(1, 31))
    return world(talk(WEB, CART, EVEN), [service("shop/cart", CART, TWO)], [CARTS], cluster)


WORLDS: dict[str, tuple[str, Callable[[], World]]] = {
    **{rule: (rule, made) for rule, made in EXAMPLES.items()},
    "same-node before 1.34": ("same-node", old_api),
    "same-zone before 1.34": ("same-zone", old_zone),
    "same-zone after labels": ("same-zone", unlabelled),
    "spread-first of a StatefulSet": ("spread-first", stateful),
    "hints-annotation with the field": ("hints-annotation", both_set),
}


def proposals(name: str) -> list[Proposal]:
    rule, made = WORLDS[name]
    found = of_rule(made(), rule)
    assert found
    return found


def labels() -> dict[str, str]:
    return {"app": "x", "part": "y"}


def pod_spec() -> dict[str, Any]:
    """A pod template with constraints and an affinity of its own."""
    return {
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "preference": {
                            "matchExpressions": [
                                {"key": "disk", "operator": "In", "values": ["ssd"]}
                            ]
                        },
                    }
                ]
            }
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 2,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels()},
            }
        ],
        "containers": [{"name": "app", "image": "app:1"}],
    }


def in_cluster(kind: str, namespace: str, name: str) -> dict[str, Any]:
    """An object like that of a user, with fields that a change must leave alone."""
    meta: dict[str, Any] = {"name": name, "labels": labels()}
    if kind != "Node":
        meta["namespace"] = namespace
    if kind == "Node":
        return {"apiVersion": "v1", "kind": kind, "metadata": meta, "spec": {"taints": []}}
    if kind == "Service":
        keys = ("topology-mode", "topology-aware-hints", "other")
        meta["annotations"] = {f"service.kubernetes.io/{key}": "Auto" for key in keys}
        spec: dict[str, Any] = {
            "type": "NodePort",
            "externalTrafficPolicy": "Cluster",
            "selector": labels(),
            "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP", "nodePort": 30080}],
        }
        return {"apiVersion": "v1", "kind": kind, "metadata": meta, "spec": spec}
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": labels()},
        "template": {"metadata": {"labels": labels()}, "spec": pod_spec()},
    }
    if kind == "StatefulSet":
        spec["serviceName"] = name
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": meta, "spec": spec}


def words_of(change: Change) -> Iterator[list[str]]:
    """The commands as words of a shell: each is one command."""
    for command in change.commands:
        words = shlex.split(command)
        assert words[0] in ("kubectl", "helm")
        assert not {";", "|", "&", "&&", ">"} & set(words)
        yield words


def apply(words: list[str], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The object of a command before, and as kubectl makes it without a server."""
    _, *rest = words
    namespace = ""
    if rest[0] == "-n":
        namespace, rest = rest[1], rest[2:]
    verb, kind, name, *options = rest
    before = in_cluster(KINDS[kind], namespace, name)
    file = folder / "object.json"
    file.write_text(json.dumps(before))
    command = [tool("kubectl"), verb, "--local", "-f", str(file), "-o", "json", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60,
        env={"HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return before, json.loads(done.stdout)


@pytest.mark.parametrize("name", WORLDS)
def test_each_command_makes_an_object_that_is_valid_and_otherwise_as_it_was(
    name: str, tmp_path: Path
) -> None:
    for proposal in proposals(name):
        for words in words_of(proposal.draft.change):
            if words[0] == "helm" or "rollout" in words:
                continue
            before, after = apply(words, tmp_path)
            assert after != before
            for version in VERSIONS:
                kubernetes_validate.validate(after, version, strict=True)
            spec = after["spec"]
            assert spec.get("trafficDistribution", "PreferClose") in DISTRIBUTIONS
            for policy in ("internalTrafficPolicy", "externalTrafficPolicy"):
                assert spec.get(policy, "Local") in ("Cluster", "Local")
            assert without(after, before) == without(before, after)


def without(one: Any, other: Any, path: str = "") -> Any:
    """``one`` without what a change may touch."""
    may = (
        "/spec/trafficDistribution",
        "/spec/internalTrafficPolicy",
        "/spec/externalTrafficPolicy",
        "/spec/replicas",
        "/metadata/annotations/service.kubernetes.io/topology-mode",
        "/metadata/annotations/service.kubernetes.io/topology-aware-hints",
        "/metadata/labels/topology.kubernetes.io/zone",
    )
    if isinstance(one, dict):
        return {
            key: without(value, other, f"{path}/{key}")
            for key, value in one.items()
            if f"{path}/{key}" not in may
        }
    if path.endswith("/topologySpreadConstraints"):
        return [item for item in one if item["topologyKey"] != "topology.kubernetes.io/zone"]
    return one


@pytest.mark.parametrize("name", ["spread-first", "spread-first of a StatefulSet"])
def test_spreading_adds_a_constraint_by_zone_beside_those_that_are_there(
    name: str, tmp_path: Path
) -> None:
    (proposal,) = proposals(name)
    words = next(words_of(proposal.draft.change))
    _, after = apply(words, tmp_path)
    added, kept = sorted(
        after["spec"]["template"]["spec"]["topologySpreadConstraints"],
        key=lambda one: -len(one["topologyKey"]),
    )
    assert added["topologyKey"] == "topology.kubernetes.io/zone"
    assert added["whenUnsatisfiable"] == (
        "DoNotSchedule" if "Stateful" in name else "ScheduleAnyway"
    )
    assert kept["topologyKey"] == "kubernetes.io/hostname"
    assert after["spec"]["replicas"] == (2 if "Stateful" in name else 6)


@pytest.mark.parametrize("name", WORLDS)
def test_yaml_of_pods_is_valid_where_it_says_that_it_belongs(name: str) -> None:
    for proposal in proposals(name):
        text = proposal.draft.change.yaml
        if not text.startswith(("# pod template", "# spec.template.spec")):
            continue
        found = yaml.safe_load(text)
        deployment = in_cluster("Deployment", "shop", "web")
        deployment["spec"]["template"]["spec"] |= found
        for version in VERSIONS:
            kubernetes_validate.validate(deployment, version, strict=True)


def test_the_yaml_for_a_workload_without_match_labels_is_valid_with_its_selector() -> None:
    found = EXAMPLES["spread-first"]()
    bare = replace(found, workloads={CART: replace(CARTS, selector=(), pods={"a": 2, "b": 2})})
    (one,) = of_rule(bare, "spread-first")
    text = one.draft.change.yaml.replace("SELECTOR\n", "{matchLabels: {app: x}}\n")
    deployment = in_cluster("Deployment", "shop", "cart")
    deployment["spec"]["template"]["spec"] |= yaml.safe_load(text)
    for version in VERSIONS:
        kubernetes_validate.validate(deployment, version, strict=True)


def test_the_check_refuses_an_unknown_field(tmp_path: Path) -> None:
    patch = json.dumps({"spec": {"trafficDistributoin": "PreferClose"}})
    words = ["kubectl", "-n", "x", "patch", "service", "s", "--type", "merge", "-p", patch]
    _, after = apply(words, tmp_path)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(after, VERSIONS[-1], strict=True)


def test_every_rule_with_a_command_is_among_the_worlds() -> None:
    verbs = {
        " ".join(words[3:5] if words[1] == "-n" else words[1:3])
        for name in WORLDS
        for proposal in proposals(name)
        for words in words_of(proposal.draft.change)
    }
    assert verbs == {
        "patch service",
        "patch deployment",
        "patch statefulset",
        "annotate service",
        "label node",
        "rollout restart",
        "upgrade cilium",
    }
