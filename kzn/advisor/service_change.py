"""Patches of Services and workloads as commands, and whether the data plane obeys them. Pure."""

import json
from shlex import quote
from typing import Any, Literal

from kzn.advisor.facts import Cluster, Party, Service

Obeys = Literal["yes", "no", "unknown"]
FIRST_VERSION = (1, 31)
"""trafficDistribution is on by default from here on (beta); 1.30 has it behind a gate."""
NEW_NAMES = (1, 34)
"""PreferSameZone and PreferSameNode are on by default from here on (beta)."""
MOST_NODES = 10
"""Nodes that a proposal names."""
PLURALS = {"Deployment": "deployment", "StatefulSet": "statefulset", "DaemonSet": "daemonset"}
CILIUM_STEPS = (
    "helm upgrade cilium cilium/cilium -n kube-system --version YOUR_VERSION --reuse-values"
    " --set loadBalancer.serviceTopology=true",
    "kubectl -n kube-system rollout restart daemonset/cilium",
)
"""Without --version helm takes the newest chart; agents read their configuration at the start."""
CILIUM_HINT = "put the installed version (helm -n kube-system list) in place of YOUR_VERSION"


def zone_value(cluster: Cluster) -> str:
    """The value of trafficDistribution for "the client's zone"; empty if the API has none."""
    version = cluster.api_version
    if version is None:
        return "PreferClose"  # every version that has the field knows it
    if version < FIRST_VERSION:
        return ""
    return "PreferSameZone" if version >= NEW_NAMES else "PreferClose"


def knows_node_value(cluster: Cluster) -> bool:
    """Whether PreferSameNode is known, and on by default."""
    return cluster.api_version is not None and cluster.api_version >= NEW_NAMES


def obeys_zones(cluster: Cluster) -> tuple[Obeys, str]:
    """Whether what chooses endpoints follows zone hints, and how that is known."""
    if cluster.proxy == "kube-proxy":
        return _kube_proxy_obeys(cluster)
    if cluster.proxy == "ovn-kubernetes":
        return "no", "OVN-Kubernetes chooses endpoints, and does not follow zone hints"
    if cluster.proxy == "cilium":
        if cluster.cilium is None:
            return "unknown", "Cilium chooses endpoints; its configuration could not be read"
        if cluster.cilium.get("enable-service-topology") == "true":
            return "yes", "Cilium chooses endpoints, with loadBalancer.serviceTopology"
        return "no", "Cilium chooses endpoints, and loadBalancer.serviceTopology is off"
    return "unknown", "what chooses endpoints is not known (no DaemonSet of kube-proxy was found)"


def _kube_proxy_obeys(cluster: Cluster) -> tuple[Obeys, str]:
    if cluster.newest_kubelet is not None and cluster.newest_kubelet < FIRST_VERSION:
        return "no", f"{old_nodes(cluster)}: kube-proxy there does not follow the field"
    return "yes", "kube-proxy chooses endpoints, and follows zone hints"


def old_nodes(cluster: Cluster) -> str:
    """Which nodes are older than the field, in words; empty if none is, or others choose endpoints.

    kube-proxy is taken to be of its node's version.
    """
    oldest, newest = cluster.kubelet, cluster.newest_kubelet
    if cluster.proxy not in ("kube-proxy", "") or oldest is None or oldest >= FIRST_VERSION:
        return ""
    which = "all nodes are" if newest is not None and newest < FIRST_VERSION else "a node is"
    return f"{which} older than 1.31 (the oldest is of {oldest[0]}.{oldest[1]})"


def set_distribution(service: Service, value: str) -> str:
    """The command that sets spec.trafficDistribution."""
    return patch_service(service, {"trafficDistribution": value})


def label_steps(service: Service) -> tuple[str, ...]:
    """The commands that label nodes whose endpoints have no zone, for the first ten of them."""
    nodes = sorted({one.node for one in service.endpoints if one.node and not one.is_labelled})
    return tuple(
        f"kubectl label node {quote(node)} topology.kubernetes.io/zone=ZONE"
        for node in nodes[:MOST_NODES]
    )


def patch_service(service: Service, spec: dict[str, Any]) -> str:
    """The command that changes fields of a Service's spec."""
    return _patch(service.namespace, "service", service.name, {"spec": spec})


def patch_pods(party: Party, spec: dict[str, Any], replicas: int | None = None) -> str:
    """The command that changes the pod template of a workload, and maybe its number of pods."""
    fields: dict[str, Any] = {"template": {"spec": spec}}
    if replicas is not None:
        fields["replicas"] = replicas
    kind = PLURALS[party.workload_kind]
    return _patch(party.namespace, kind, party.workload, {"spec": fields}, strategic=True)


def _patch(
    namespace: str, kind: str, name: str, body: dict[str, Any], *, strategic: bool = False
) -> str:
    # Strategic: lists that have a merge key (topologySpreadConstraints: topologyKey) are merged by
    # it. Lists without one, such as those of an affinity, would be replaced: leave them to YAML.
    how = "strategic" if strategic else "merge"
    text = json.dumps(body, separators=(",", ":"))
    return f"kubectl -n {quote(namespace)} patch {kind} {quote(name)} --type {how} -p {quote(text)}"
