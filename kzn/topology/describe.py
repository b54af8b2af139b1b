"""Converts facts of pods, nodes and networks to endpoints, the form used outside of topology."""

from kzn.model.endpoint import (
    INTERNET_CLASS,
    NO_ZONE_CLASS,
    NODE,
    POD,
    SERVICE,
    STATIC,
    ZONE_UNKNOWN,
    Endpoint,
)
from kzn.topology.facts import Network, NodeFacts, PodFacts, ServiceFacts, Workload


def pod_endpoint(
    pod: PodFacts, workload: Workload | None, node: NodeFacts | None, group: str = ""
) -> Endpoint:
    """A pod, in the zone of its node; without a zone while the node is not known.

    Without a workload it is on no node, so that no byte can be charged to it yet.
    """
    if workload is None:
        return Endpoint(POD, pod.namespace, pod.name, "", "", "", "", "", pod.uid)
    return Endpoint(
        kind=POD,
        namespace=pod.namespace,
        name=pod.name,
        workload_kind=workload.kind,
        workload=workload.name,
        node=pod.node,
        zone=node.zone if node is not None else "",
        region=node.region if node is not None else "",
        uid=pod.uid,
        provider=node.provider if node is not None else "",
        price_class=pod.price_class,
        group=group,
    )


def node_endpoint(node: NodeFacts) -> Endpoint:
    """A node, which is its own workload of kind "Node"."""
    return Endpoint(
        kind=NODE,
        namespace="",
        name=node.name,
        workload_kind="Node",
        workload=node.name,
        node=node.name,
        zone=node.zone,
        region=node.region,
        uid=node.uid,
        provider=node.provider,
        price_class=node.price_class,
    )


def network_endpoint(network: Network) -> Endpoint:
    """A network, as a workload of the kind that the file gives, on no node."""
    return Endpoint(
        kind=STATIC,
        namespace="",
        name=network.name,
        workload_kind=network.kind,
        workload=network.name,
        node="",
        zone=network.zone,
        region=network.region,
        uid=ZONE_UNKNOWN if network.is_zone_unknown else "",
        price_class=price_class_of(network),
    )


def price_class_of(network: Network) -> str:
    """How its bytes are billed: as it says, or NO_ZONE_CLASS without a zone; empty if ordinary."""
    if network.price_class == INTERNET_CLASS:
        return ""
    is_nowhere = not network.zone and not network.is_zone_unknown
    return network.price_class or (NO_ZONE_CLASS if is_nowhere else "")


def service_endpoint(service: ServiceFacts) -> Endpoint:
    """A Service, on no node and in no zone: its address does not say which pod gets a packet."""
    return Endpoint(
        kind=SERVICE,
        namespace=service.namespace,
        name=service.name,
        workload_kind="Service",
        workload=service.name,
        node="",
        zone="",
        region="",
        uid=service.uid,
    )
