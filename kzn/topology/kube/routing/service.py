"""Services with only the fields that kzn reads, and their facts."""

from sys import intern

import msgspec

from kzn.topology.facts import ServiceFacts
from kzn.topology.kube.api_objects import Json, Meta, packed_addresses, version_number
from kzn.topology.routing_facts import ServicePort as FactsPort
from kzn.topology.routing_facts import ServiceRouting

MAX_PORTS = 100
"""Most ports of a Service that are read."""


class ServicePort(Json):
    """An entry of a Service's ports."""

    name: str = ""
    port: int = 0
    protocol: str = "TCP"
    node_port: int = 0


class ServiceAnnotations(Json):
    """The annotations that switch topology hints; the second is the old one."""

    mode: str = msgspec.field(default="", name="service.kubernetes.io/topology-mode")
    hints: str = msgspec.field(default="", name="service.kubernetes.io/topology-aware-hints")


class ServiceMeta(Meta):
    """ObjectMeta of a Service."""

    annotations: ServiceAnnotations | None = None


class ServiceSpec(Json):
    """ServiceSpec."""

    type: str = "ClusterIP"
    traffic_distribution: str = ""
    internal_traffic_policy: str = ""
    external_traffic_policy: str = ""
    ports: tuple[ServicePort, ...] | None = None
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    external_ips: tuple[str, ...] | None = msgspec.field(default=None, name="externalIPs")


class LoadBalancerIngress(Json):
    """An entry of status.loadBalancer.ingress; without an address it has a host name."""

    ip: str = ""
    ip_mode: str | None = msgspec.field(default=None, name="ipMode")


class LoadBalancer(Json):
    """LoadBalancerStatus."""

    ingress: tuple[LoadBalancerIngress, ...] | None = None


class ServiceStatus(Json):
    """ServiceStatus."""

    load_balancer: LoadBalancer = msgspec.field(default_factory=LoadBalancer)


class Service(Json):
    """v1 Service."""

    metadata: ServiceMeta
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)
    status: ServiceStatus = msgspec.field(default_factory=ServiceStatus)


def service_facts(service: Service) -> ServiceFacts:
    """Facts of a Service; a headless one (clusterIP "None") has no address.

    What other addresses it and one of type ExternalName have, no node translates.
    """
    meta, spec = service.metadata, service.spec
    ingress = service.status.load_balancer.ingress or ()
    external = spec.external_ips or ()
    captured = [*(entry.ip for entry in ingress if entry.ip_mode != "Proxy"), *external]
    is_translated = spec.cluster_ip not in ("", "None") and spec.type != "ExternalName"
    return ServiceFacts(
        uid=meta.uid,
        namespace=intern(meta.namespace),
        name=meta.name,
        addresses=packed_addresses(dict.fromkeys([spec.cluster_ip, *(spec.cluster_ips or ())])),
        version=version_number(meta.resource_version),
        outer_addresses=packed_addresses(
            dict.fromkeys([*(entry.ip for entry in ingress), *external])
        ),
        captured_addresses=packed_addresses(dict.fromkeys(captured)) if is_translated else (),
        routing=_routing(service),
    )


def _routing(service: Service) -> ServiceRouting:
    spec, annotations = service.spec, service.metadata.annotations
    ports = (spec.ports or ())[:MAX_PORTS]
    return ServiceRouting(
        type=intern(spec.type),
        is_headless=spec.cluster_ip == "None",
        distribution=intern(spec.traffic_distribution),
        internal_policy=intern(spec.internal_traffic_policy),
        external_policy=intern(spec.external_traffic_policy),
        topology_mode=intern((annotations.mode or annotations.hints)[:64]) if annotations else "",
        ports=tuple(FactsPort(one.name, one.port, one.protocol, one.node_port) for one in ports),
    )
