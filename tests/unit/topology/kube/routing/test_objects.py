"""EndpointSlices, controllers and volumes out of real-looking JSON."""

from typing import Any

import msgspec
import pytest

from kzn.model.ip import pack
from kzn.topology.kube.routing.objects import (
    MAX_IMAGE,
    Controller,
    EndpointSlice,
    Volume,
    controller_facts,
    slice_facts,
    volume_facts,
)
from kzn.topology.kube.routing.service import Service, service_facts
from kzn.topology.routing_facts import (
    NODE_HINT,
    OTHER_HINT,
    READY,
    SERVING,
    TERMINATING,
    ZONE_HINT,
    ControllerFacts,
    ServicePort,
    ServiceRouting,
    SlicePort,
)

META = {"name": "x", "uid": "u", "namespace": "shop"}


def read(sent: Any, kind: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(sent), type=kind)


def endpoint(**fields: Any) -> Any:
    return {"addresses": ["10.0.0.1"], "nodeName": "n1", "zone": "a"} | fields


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({}, READY | SERVING),
        ({"conditions": {"ready": True}}, READY | SERVING),
        ({"conditions": {"ready": False}}, 0),
        (
            {"conditions": {"ready": False, "serving": True, "terminating": True}},
            SERVING | TERMINATING,
        ),
        ({"hints": {"forZones": [{"name": "a"}]}}, READY | SERVING | ZONE_HINT),
        ({"hints": {"forZones": [{"name": "b"}]}}, READY | SERVING | ZONE_HINT | OTHER_HINT),
        (
            {"hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "n1"}]}},
            READY | SERVING | ZONE_HINT | NODE_HINT,
        ),
        ({"hints": {"forZones": []}}, READY | SERVING),
    ],
)
def test_an_endpoint_has_the_meaning_of_its_conditions_and_hints(
    fields: dict[str, Any], flags: int
) -> None:
    sent = {"metadata": META, "addressType": "IPv4", "endpoints": [endpoint(**fields)]}
    (member,) = slice_facts(read(sent, EndpointSlice)).members()
    assert (member.address, member.node, member.zone, member.flags) == (
        pack("10.0.0.1"), "n1", "a", flags,
    )  # fmt: skip
    assert member.is_ready == (flags & (READY | TERMINATING) == READY)


def test_a_slice_is_of_a_service_and_has_ports_and_no_host_names() -> None:
    sent = {
        "metadata": META | {"labels": {"kubernetes.io/service-name": "cart", "other": "x"}},
        "endpoints": [
            {"addresses": ["db.example.com"]},
            {"addresses": ["fd00::1"], "nodeName": None, "zone": None, "conditions": None},
        ],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"port": None}],
    }
    found = slice_facts(read(sent, EndpointSlice))
    assert (found.namespace, found.service, len(found)) == ("shop", "cart", 1)
    assert found.ports == (SlicePort("http", 8080, "TCP"), SlicePort("", 0, "TCP"))
    assert next(iter(found.members()))[:3] == (pack("fd00::1"), "", "")
    empty = slice_facts(read({"metadata": META, "endpoints": None}, EndpointSlice))
    assert (empty.service, len(empty)) == ("", 0)


def test_a_controller_has_replicas_spread_zone_claims_selector_and_images() -> None:
    sent = {
        "metadata": META | {"creationTimestamp": "2023-11-14T22:13:20Z"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "db", "a": "b"}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
            "template": {
                "spec": {
                    "containers": [
                        {"name": "db", "image": "db:1", "command": ["x"]},
                        {"name": "log", "image": "y" * 999},
                    ],
                    "initContainers": [{"name": "init", "image": "init:1"}],
                    "nodeSelector": {"topology.kubernetes.io/zone": "b", "disk": "ssd"},
                    "volumes": [
                        {"name": "c", "configMap": {"name": "x"}},
                        {"name": "v", "persistentVolumeClaim": {"claimName": "shared"}},
                    ],
                    "topologySpreadConstraints": [
                        {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1},
                        {
                            "topologyKey": "topology.kubernetes.io/zone",
                            "whenUnsatisfiable": "ScheduleAnyway",
                        },
                    ],
                }
            },
        },
    }
    assert controller_facts("StatefulSet", read(sent, Controller)) == ControllerFacts(
        "u",
        "StatefulSet",
        "shop",
        "x",
        3,
        "ScheduleAnyway",
        ("b",),
        ("shared", "data-x-"),
        (("a", "b"), ("app", "db")),
        ("db", "db:1", "log", "y" * MAX_IMAGE),
        1_700_000_000.0,
    )


def test_a_daemonset_has_no_replicas_and_others_have_one_by_default() -> None:
    bare = read({"metadata": META}, Controller)
    assert controller_facts("DaemonSet", bare).replicas is None
    assert controller_facts("Deployment", bare).replicas == 1


def test_a_volume_has_its_claim_and_the_zones_of_its_node_affinity() -> None:
    term = {
        "matchExpressions": [
            {"key": "topology.ebs.csi.aws.com/zone", "operator": "In", "values": ["b", "a"]},
            {"key": "topology.kubernetes.io/region", "operator": "In", "values": ["r"]},
            {"key": "topology.kubernetes.io/zone", "operator": "NotIn", "values": ["x"]},
        ]
    }
    sent: Any = {
        "metadata": META | {"labels": {"topology.kubernetes.io/zone": "z"}},
        "spec": {
            "claimRef": {"namespace": "shop", "name": "data-db-0"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
    }
    found = volume_facts(read(sent, Volume))
    assert (found.namespace, found.claim, found.zones) == ("shop", "data-db-0", ("a", "b"))
    del sent["spec"]["nodeAffinity"]
    assert volume_facts(read(sent, Volume)).zones == ("z",)
    sent["metadata"]["labels"]["topology.kubernetes.io/zone"] = "a__b"  # regional disks of GCE
    assert volume_facts(read(sent, Volume)).zones == ("a", "b")
    assert volume_facts(read({"metadata": META}, Volume)).claim == ""


def test_a_service_has_the_fields_that_choose_endpoints() -> None:
    sent = {
        "metadata": META
        | {"annotations": {"service.kubernetes.io/topology-mode": "Auto", "other": "x" * 9}},
        "spec": {
            "type": "NodePort",
            "clusterIP": "10.9.0.1",
            "trafficDistribution": "PreferClose",
            "internalTrafficPolicy": "Cluster",
            "externalTrafficPolicy": "Local",
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "nodePort": 30080}],
        },
    }
    assert service_facts(read(sent, Service)).routing == ServiceRouting(
        "NodePort",
        False,
        "PreferClose",
        "Cluster",
        "Local",
        "Auto",
        (ServicePort("http", 80, "TCP", 30080),),
    )
    old = {
        "metadata": META | {"annotations": {"service.kubernetes.io/topology-aware-hints": "auto"}},
        "spec": {"clusterIP": "None"},
    }
    assert service_facts(read(old, Service)).routing == ServiceRouting(
        is_headless=True, topology_mode="auto"
    )
