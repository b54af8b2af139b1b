"""A Service without a preference, whose clients' zones have endpoints: PreferSameZone.

Signature: connections to a ClusterIP Service that has neither trafficDistribution nor a topology
annotation, nor internalTrafficPolicy Local, cross zones though the client's zone has endpoints.
Arithmetic: all bytes of clients in zones with a ready endpoint stay there, in both directions.
"""

from collections.abc import Iterator

from kzn.advisor.declaration import Rule
from kzn.advisor.proposal import Draft
from kzn.advisor.rules.services.same_node import is_on_every_node
from kzn.advisor.rules.services.zone_draft import has_no_preference, is_dns, zone_draft
from kzn.advisor.world import ServiceTraffic, World


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    for traffic in world.traffic:
        draft = draft_of(world, traffic)
        if draft is not None:
            yield draft


def draft_of(world: World, traffic: ServiceTraffic) -> Draft | None:
    """The draft for a Service; None where it is silent."""
    service = traffic.service
    if not has_no_preference(service) or is_dns(service):
        return None
    if is_on_every_node(world, traffic):
        return None  # same-node saves more, and costs no more
    return zone_draft(world, traffic)


RULE = Rule(
    "same-zone", "a Service without a preference, whose clients' zones have endpoints", propose
)
