"""Kafka consumers that fetch from brokers of other zones: client.rack.

Signature: TCP to port 9092 to 9094 of pods that their StatefulSet (or Strimzi) runs behind a
headless Service, more bytes from the brokers than to them, and brokers in the client's zone.
Arithmetic: the crossing bytes from brokers to clients in zones with brokers; what producers send
goes to partition leaders all the same.
"""

from collections.abc import Iterator

from kzn.advisor.declaration import Rule
from kzn.advisor.proposal import Change, Draft, Move
from kzn.advisor.world import World

PORTS = (9092, 9093, 9094)
KINDS = ("StatefulSet", "StrimziPodSet")
_BROKERS = """\
# brokers, server.properties (Strimzi: spec.kafka.rack.topologyKey)
broker.rack=ZONE OF THE BROKER
replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector
# consumers
client.rack=ZONE OF THE CONSUMER
"""


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    for pair in world.pairs:
        if pair.port not in PORTS or pair.protocol != "tcp":
            continue
        services = world.services_of.get(pair.server, ())
        is_headless = any(
            one.is_headless and (pair.port, "tcp") in one.target_ports for one in services
        )
        if pair.server.workload_kind not in KINDS or not is_headless:
            continue
        brokers = world.workload(pair.server).pods
        moves = tuple(
            Move(flow.number, flow.bytes)
            for flow in pair.flows
            if flow.crosses and not flow.is_request and brokers.get(flow.client_zone)
        )
        if not moves or pair.responses <= pair.requests:
            continue
        yield Draft(
            subject=pair.subject,
            title=f"{pair.client}: fetch from brokers of the own zone",
            change=Change(
                "broker.rack and RackAwareReplicaSelector on brokers, client.rack on"
                " consumers (Kafka 2.4)",
                (),
                _BROKERS,
            ),
            flows=tuple(flow.number for flow in pair.flows),
            moves=moves,
            workloads=(pair.client, pair.server),
            effort=4,
            risks=(
                "followers are behind leaders: records arrive some milliseconds later",
                "a partition without an in-sync replica in the zone is fetched from its leader,"
                " so replication must put one in each zone",
                "brokers of a zone with many consumers have more load",
            ),
            confidence="medium",
            why=(
                f"port {pair.port} of a {pair.server.workload_kind} with a headless Service",
                f"{pair.responses / max(1, pair.requests):.1f} bytes come back for each one sent",
            ),
            unknown=(
                "whether it is Kafka: only port, controller and Service say so",
                "replication factor, and which replicas are in which zone",
            ),
        )


RULE = Rule("kafka-consumers", "consumers that fetch from brokers of other zones", propose)
