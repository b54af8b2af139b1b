"""One endpoint without a zone hint switches the preference off for the whole Service.

Signature: trafficDistribution asks for the zone, and a ready endpoint on a node without a zone
label has no hint.
Arithmetic: that of same-zone, once each endpoint has its zone.
"""

from collections.abc import Iterator

from kzn.advisor.declaration import Rule
from kzn.advisor.proposal import Change, Draft
from kzn.advisor.rules.services.zone_draft import LABEL, with_change, zone_draft
from kzn.advisor.service_change import MOST_NODES, label_steps
from kzn.advisor.world import World


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    for traffic in world.traffic:
        service = traffic.service
        if not service.prefers_zone or service.topology_mode or service.is_headless:
            continue
        lacking = [one for one in service.endpoints if not one.has_hint]
        if not lacking or service.internal_policy == "Local":
            continue
        nodes = sorted({one.node for one in lacking if one.node and not one.is_labelled})
        draft = zone_draft(world, traffic, as_labelled=True)
        if draft is None or not nodes:
            continue
        yield with_change(
            draft,
            f"{service}: {len(lacking)} of {len(service.endpoints)} endpoints have no zone",
            Change(LABEL, label_steps(service)),
            "kube-proxy keeps to zones only if every ready endpoint has a hint",
            f"without one: {', '.join(nodes[:MOST_NODES])}",
        )


RULE = Rule(
    "unlabelled-node", "an endpoint without a zone, which switches zones off for all", propose
)
