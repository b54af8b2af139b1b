"""kzn/topology/kube/api_objects.py and decode.py: facts out of real-looking JSON."""

import json
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from kzn.errors import ApiError
from kzn.model.ip import pack
from kzn.topology.facts import NodeFacts, OwnerRef, PodFacts
from kzn.topology.kube.api_objects import (
    Node,
    PlaceLabels,
    node_facts,
)
from kzn.topology.kube.decode import NODES, OWNERS, PODS, ApiStatus, Event, status
from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.owner_kinds.discovery import find
from kzn.topology.kube.routing.service import Service, service_facts

JULY = 1751328000.0  # 2025-07-01T00:00:00Z


def pod_object(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "web-1",
            "namespace": "shop",
            "uid": "u1",
            "resourceVersion": "41",
            "creationTimestamp": "2025-07-01T00:00:00Z",
            "labels": {"app": "web"},
            "annotations": {"note": "skipped"},
            "managedFields": [{"manager": "kubelet"}],
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Sidecar", "name": "no", "uid": "x"},
                {"kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": True},
            ],
        },
        "spec": {
            "nodeName": "n1",
            "serviceAccountName": "frontend",
            "containers": [{"name": "c", "image": "i"}],
        },
        "status": {"phase": "Running", "podIP": "10.0.0.1"} | status,
    }


def page(*items: dict[str, Any], **meta: str) -> bytes:
    body = {"kind": "PodList", "metadata": {"resourceVersion": "50"} | meta, "items": list(items)}
    return json.dumps(body).encode()


def read_pod(obj: dict[str, Any]) -> PodFacts:
    (facts,) = PODS.page(page(obj)).items
    return facts


def read_node(labels: dict[str, str] | None, **spec: str) -> NodeFacts:
    addresses = [
        {"type": "InternalIP", "address": "192.0.2.1"},
        {"type": "InternalIP", "address": "2001:db8::1"},
        {"type": "ExternalIP", "address": "ec2-1.example"},
        {"type": "Hostname", "address": "192.0.2.9"},
    ]
    meta: dict[str, Any] = {"name": "n1", "uid": "u1", "labels": labels}
    node = {"metadata": meta, "spec": spec, "status": {"addresses": addresses}}
    (facts,) = NODES.page(page(node)).items
    return facts


def test_a_pod_has_each_of_its_addresses_once() -> None:
    facts = read_pod(pod_object(podIPs=[{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]))
    assert facts == PodFacts(
        uid="u1",
        namespace="shop",
        name="web-1",
        node="n1",
        addresses=(pack("10.0.0.1"), pack("fd00::1")),
        started=JULY,
        controller=OwnerRef("ReplicaSet", "web", "rs"),
        version=41,
        account="shop/frontend",
    )


def test_the_kubelets_start_time_takes_precedence_over_the_creation() -> None:
    assert read_pod(pod_object(startTime="2025-07-01T00:01:00Z")).started == JULY + 60


def test_a_pod_without_spec_or_status_is_decoded() -> None:
    bare: dict[str, Any] = {"metadata": {"name": "p", "uid": "u"}, "spec": {}, "status": {}}
    assert read_pod(bare) == PodFacts(uid="u", namespace="", name="p")
    null = pod_object(podIPs=None, podIP="", startTime=None, containerStatuses=None)
    null["metadata"] |= {"ownerReferences": None, "creationTimestamp": None}
    assert read_pod(null).addresses == ()


def test_a_finished_pod_ends_with_its_last_container() -> None:
    ended: list[dict[str, Any]] = [
        {"state": {"terminated": {"finishedAt": f"2025-07-01T00:0{m}:00Z"}}} for m in (3, 5, 1)
    ]
    facts = read_pod(pod_object(phase="Succeeded", containerStatuses=ended))
    assert (facts.is_finished, facts.finished) == (True, JULY + 300)
    ended.append({"state": {"running": {}}})
    assert read_pod(pod_object(phase="Failed", containerStatuses=ended)).finished == JULY + 300
    ended.append({"state": {"terminated": {"finishedAt": None}}})
    assert read_pod(pod_object(phase="Failed", containerStatuses=ended)).finished is None


def with_networks(status: object, name: str = "network-status") -> PodFacts:
    obj = pod_object()
    text = status if isinstance(status, str) else json.dumps(status)
    obj["metadata"]["annotations"] = {f"k8s.v1.cni.cncf.io/{name}": text}
    return read_pod(obj)


@pytest.mark.parametrize("name", ["network-status", "networks-status"])
def test_a_pod_has_the_addresses_of_its_further_networks(name: str) -> None:
    networks = [
        {"name": "cbr0", "interface": "eth0", "ips": ["10.0.0.1"], "default": True, "dns": {}},
        {"name": "d/lan", "interface": "net1", "ips": ["172.20.0.5", "fd00::5"], "mac": "x"},
        {"name": "d/none", "interface": "net2"},
    ]
    facts = with_networks(networks, name)
    assert facts.noted_addresses == (pack("172.20.0.5"), pack("fd00::5"))
    assert facts.addresses == (pack("10.0.0.1"),)


@pytest.mark.parametrize(
    "status",
    [
        "not json",
        {"ips": ["172.20.0.5"]},
        [{"ips": "172.20.0.5"}],
        [
            {
                "ips": [
                    "8.8.8.8",
                    "2600::1",
                    "127.0.0.1",
                    "169.254.0.1",
                    "fe80::1",
                    "::",
                    "x",
                    "224.0.0.1",
                ]
            }
        ],
        [{"ips": ["172.20.0.5"], "padding": "x" * 70_000}],
        '[{"ips": ["172.20.0.5"], "x": ' + "[" * 20_000 + "]" * 20_000 + "}]",
        '[{"ips": ["172.20.0.5"], "x": ' + '{"a":' * 9_000 + "1" + "}" * 9_000 + "}]",
        r'[{"ips": ["\ud800"]}]',
        '[{"ips": ["172.20.0.5"',
        '[{"ips": ["172.20.0.5"]}] x',
        "null",
    ],
)
def test_a_network_status_that_cannot_be_is_not_believed(status: object) -> None:
    facts = with_networks(status)
    assert facts == read_pod(pod_object())


def test_an_address_of_a_further_network_counts_once_and_may_be_shared_address_space() -> None:
    facts = with_networks([{"ips": ["100.64.0.9", "10.0.0.1", "FD00::A"]}, {"ips": ["fd00:0::a"]}])
    assert facts.noted_addresses == (pack("100.64.0.9"), pack("fd00::a"))


DEEP = b"[" * 20_000 + b"]" * 20_000


@pytest.mark.parametrize("body", [b'{"metadata": {}, "items": %s}', b'{"x": %s}', b"%s"])
def test_json_that_is_too_deep_is_an_error_of_the_answer(body: bytes) -> None:
    with pytest.raises(ApiError):
        PODS.page(body % DEEP)
    with pytest.raises(ApiError):
        PODS.line(b'{"type": "ADDED", "object": %s}' % DEEP)
    assert status(body % DEEP) == ApiStatus(0, "", "")
    with pytest.raises(KubeError):
        find(body % DEEP, "Rollout", "/apis/x/v1", "x")


def test_addresses_of_further_networks_are_bounded() -> None:
    many = [{"ips": [f"172.20.{n // 250}.{n % 250 + 1}" for n in range(1000)]}]
    assert len(with_networks(many).noted_addresses) == 32


def test_host_network_and_deletion_timestamp_are_decoded() -> None:
    obj = pod_object()
    obj["spec"]["hostNetwork"] = True
    obj["metadata"]["deletionTimestamp"] = "2025-07-01T00:00:00Z"
    facts = read_pod(obj)
    assert (facts.host_network, facts.is_deleting) == (True, True)


def test_a_node_has_only_its_internal_and_external_addresses() -> None:
    assert read_node(None).addresses == (pack("192.0.2.1"), pack("2001:db8::1"))


def test_a_node_has_its_pod_cidrs_and_its_zone_id() -> None:
    labels = {"topology.k8s.aws/zone-id": "use1-az4"}
    plain = node_facts(msgspec.json.decode(b'{"metadata":{"uid":"u","name":"n"}}', type=Node))
    assert (plain.pod_cidrs, plain.zone_id) == ((), "")
    sent = {
        "metadata": {"uid": "u", "name": "n", "labels": labels},
        "spec": {"podCIDR": "10.1.2.0/24", "podCIDRs": ["10.1.2.0/24", "2600:1::/80", "none"]},
    }
    facts = node_facts(msgspec.json.decode(msgspec.json.encode(sent), type=Node))
    assert facts.pod_cidrs == (ip_network("10.1.2.0/24"), ip_network("2600:1::/80"))
    assert facts.zone_id == "use1-az4"


def test_a_service_has_its_cluster_ips_and_a_headless_one_none() -> None:
    def read(spec: object) -> tuple[bytes, ...]:
        sent = {"metadata": {"uid": "u", "name": "web", "namespace": "d"}, "spec": spec}
        return service_facts(msgspec.json.decode(msgspec.json.encode(sent), type=Service)).addresses

    both = {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"]}
    assert read(both) == (pack("10.96.0.1"), pack("fd00::1"))
    assert read({"clusterIP": "None", "clusterIPs": ["None"]}) == ()
    assert read({"externalName": "example.org"}) == ()


def test_zone_and_region_labels_fall_back_to_the_legacy_ones() -> None:
    old = "failure-domain.beta.kubernetes.io"
    legacy = read_node({f"{old}/zone": "z", f"{old}/region": "r"})
    assert (legacy.zone, legacy.region) == ("z", "r")
    new = "topology.kubernetes.io"
    both = read_node({f"{old}/zone": "z", f"{new}/zone": "a", f"{new}/region": "b"})
    assert (both.zone, both.region) == ("a", "b")
    assert (read_node(None).zone, read_node({}).region) == ("", "")


def test_a_numeric_zone_is_ignored_on_azure_only() -> None:
    label = "topology.kubernetes.io/zone"
    azure = {"providerID": "azure:///subscriptions/x"}
    assert read_node({label: "0"}, **azure).zone == ""
    assert read_node({label: "eastus-1"}, **azure).zone == "eastus-1"
    assert read_node({label: "0"}, providerID="kind://docker/kind/n1").zone == "0"
    assert read_node({label: "3"}).zone == "3"


def test_a_numeric_zone_of_a_new_azure_node_without_provider_id_is_ignored() -> None:
    label = "topology.kubernetes.io/zone"
    assert read_node({label: "0"}).zone == ""
    assert read_node({label: "1", "kubernetes.azure.com/cluster": "x"}).zone == ""


def test_other_labels_can_have_the_zone_and_the_region() -> None:
    labels = {"topology.kubernetes.io/zone": "z", "rack": "0", "example.com/dc": "d"}
    sent = {"metadata": {"uid": "u", "name": "n", "labels": labels}}
    read = msgspec.json.decode(msgspec.json.encode(sent), type=Node)
    facts = node_facts(read, PlaceLabels(("rack",), ("example.com/dc",)))
    assert (facts.zone, facts.region) == ("0", "d")


def test_a_usual_label_that_is_named_has_no_fault_domains_either() -> None:
    label = "topology.kubernetes.io/zone"
    azure = {"providerID": "azure:///subscriptions/x"}
    sent = {"metadata": {"uid": "u", "name": "n", "labels": {label: "0"}}, "spec": azure}
    read = msgspec.json.decode(msgspec.json.encode(sent), type=Node)
    assert node_facts(read, PlaceLabels(zone=(label,))).zone == ""


def test_a_node_has_the_addresses_that_its_cni_plugin_noted() -> None:
    noted = {
        "projectcalico.org/IPv4Address": "192.0.2.1/24",
        "projectcalico.org/IPv4VXLANTunnelAddr": "10.244.1.0",
        "projectcalico.org/IPv4IPIPTunnelAddr": "10.244.1.1",
        "flannel.alpha.coreos.com/public-ip": "192.0.2.1",
        "network.cilium.io/ipv6-cilium-host": "fd00::9",
        "network.cilium.io/ipv4-cilium-host": "not an address",
        "other": "10.1.1.1",
    }
    addresses = [{"type": "InternalIP", "address": "192.0.2.1"}]
    sent = {
        "metadata": {"uid": "u", "name": "n", "annotations": noted},
        "spec": {"providerID": "aws:///eu-west-1a/i-0"},
        "status": {"addresses": addresses},
    }
    facts = node_facts(msgspec.json.decode(msgspec.json.encode(sent), type=Node))
    wanted = ("10.244.1.1", "10.244.1.0", "fd00::9")
    assert facts.noted_addresses == tuple(map(pack, wanted))
    assert (facts.provider, facts.provider_id) == ("aws", "aws:///eu-west-1a/i-0")


def test_the_provider_is_named_as_in_price_lists() -> None:
    assert read_node({}, providerID="gce://project/zone/name").provider == "gcp"


def test_a_service_has_the_addresses_of_its_load_balancers_and_its_external_ones() -> None:
    sent = {
        "metadata": {"uid": "u", "name": "s"},
        "spec": {"clusterIP": "10.96.0.1", "externalIPs": ["10.77.0.2", "10.77.0.1"]},
        "status": {
            "loadBalancer": {
                "ingress": [
                    {"ip": "10.77.0.1"},
                    {"hostname": "lb.example"},
                    {"ip": "8.8.4.4", "ipMode": "VIP"},
                    {"ip": "8.8.8.8", "ipMode": "Proxy"},
                ]
            }
        },
    }
    facts = service_facts(msgspec.json.decode(msgspec.json.encode(sent), type=Service))
    assert facts.addresses == (pack("10.96.0.1"),)
    known = ["10.77.0.1", "8.8.4.4", "8.8.8.8", "10.77.0.2"]
    assert facts.outer_addresses == tuple(map(pack, known))
    known.remove("8.8.8.8")
    assert facts.captured_addresses == tuple(map(pack, known))


@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": "None", "type": "LoadBalancer"},
        {"type": "ExternalName", "externalName": "db.example"},
        {"clusterIP": "10.96.0.1", "type": "ExternalName"},
    ],
)
def test_no_node_translates_what_a_service_without_a_cluster_ip_has(spec: dict[str, str]) -> None:
    sent = {
        "metadata": {"uid": "u", "name": "s"},
        "spec": {**spec, "externalIPs": ["10.77.0.2"]},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.77.0.1"}]}},
    }
    facts = service_facts(msgspec.json.decode(msgspec.json.encode(sent), type=Service))
    assert facts.outer_addresses == (pack("10.77.0.1"), pack("10.77.0.2"))
    assert facts.captured_addresses == ()


def test_an_undecodable_object_does_not_affect_the_rest_of_its_page() -> None:
    bad = pod_object()
    bad["metadata"]["uid"] = "broken"
    bad["status"]["podIPs"] = "not a list"
    answer = PODS.page(page(pod_object(), bad, {"metadata": 7}, **{"continue": "next"}))
    assert [pod.uid for pod in answer.items] == ["u1"]
    assert (answer.version, answer.next, answer.unreadable) == ("50", "next", ["broken", ""])


def test_a_list_of_null_is_empty() -> None:
    assert PODS.page(b'{"metadata": {"resourceVersion": "9"}, "items": null}').items == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"kind": "Status"}', b"\xff", b"<html>"])
def test_a_body_that_is_not_a_list_is_an_api_error(body: bytes) -> None:
    with pytest.raises(ApiError, match="not a list"):
        PODS.page(body)


def test_watch_lines_become_events() -> None:
    line = json.dumps({"type": "ADDED", "object": pod_object()}).encode()
    event = PODS.line(line)
    assert isinstance(event, Event)
    assert (event.type, event.uid, event.version) == ("ADDED", "u1", "41")
    assert event.item == read_pod(pod_object())
    mark = b'{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"77"}}}'
    assert PODS.line(mark) == Event("BOOKMARK", "", "77", None)


def test_an_event_of_an_undecodable_object_has_its_uid_and_version() -> None:
    line = b'{"type":"DELETED","object":{"metadata":{"uid":"u","resourceVersion":"3"}}}'
    assert PODS.line(line) == Event("DELETED", "u", "3", None)


def test_an_error_event_is_an_api_status() -> None:
    line = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}'
    assert PODS.line(line) == ApiStatus(410, "Expired", "")


@pytest.mark.parametrize("line", [b"{", b'{"type":"ADDED"}', b'{"type":1,"object":{}}', b"\xff"])
def test_a_line_that_is_not_an_event_is_an_api_error(line: bytes) -> None:
    with pytest.raises(ApiError, match="not a watch event"):
        PODS.line(line)


def test_controllers_are_decoded_from_partial_metadata() -> None:
    item = {"kind": "PartialObjectMetadata", "metadata": pod_object()["metadata"]}
    (owner,) = OWNERS.page(page(item)).items
    assert (owner.uid, owner.controller) == ("u1", OwnerRef("ReplicaSet", "web", "rs"))


@pytest.mark.parametrize(
    ("kind", "api_version", "expected"),
    [
        ("Job", "batch/v1", "Job"),
        ("Job", "", "Job"),
        ("Job", "batch.volcano.sh/v1alpha1", "Job.v1alpha1.batch.volcano.sh"),
        ("ReplicaSet", "extensions/v1beta1", "ReplicaSet"),
        ("StatefulSet", "apps.kruise.io/v1beta1", "StatefulSet.v1beta1.apps.kruise.io"),
        ("Node", "v1", "Node"),
        ("Node", "infra.example.com/v1", "Node.v1.infra.example.com"),
        ("ReplicationController", "v1", "ReplicationController.v1."),
    ],
)
def test_a_kind_of_another_group_is_told_apart(kind: str, api_version: str, expected: str) -> None:
    sent = pod_object()
    owner = {"kind": kind, "name": "o", "uid": "u", "controller": True}
    sent["metadata"]["ownerReferences"] = [owner | {"apiVersion": api_version}]
    assert read_pod(sent).controller == (expected, "o", "u")
