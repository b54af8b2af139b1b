"""Questions to the cluster's DNS that cross zones: little money, one field.

Signature: a Service with UDP port 53 or 5353 at its pods, with or without other ports.
Arithmetic: that of same-zone; NodeLocal DNSCache would save the same and delay, too.
"""

from collections.abc import Iterator
from dataclasses import replace

from kzn.advisor.declaration import Rule
from kzn.advisor.proposal import Draft
from kzn.advisor.rules.services.zone_draft import has_no_preference, is_dns, zone_draft
from kzn.advisor.world import World


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    for traffic in world.traffic:
        service = traffic.service
        if not has_no_preference(service) or not is_dns(service):
            continue
        draft = zone_draft(world, traffic)
        if draft is not None:
            yield replace(
                draft,
                title=f"{service}: answer DNS in the client's zone",
                risks=(
                    *draft.risks,
                    "some distributions reset the fields of this Service at upgrades",
                ),
                why=(
                    *draft.why,
                    "NodeLocal DNSCache would answer on the node, and save delay, too",
                ),
            )


RULE = Rule("dns", "questions to the cluster's DNS that cross zones", propose)
