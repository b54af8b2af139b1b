"""Two workloads in different zones that talk to each other: autoscaling has put them apart.

Signature: the pods of client and server have no zone in common, neither has volumes nor is bound to
zones or nodes, both are Deployments of a few pods, so that no Service could keep them together.
What opens connections in both directions is a cluster of copies or members, and stays apart.
Arithmetic: all bytes of the pair, once the client runs in the server's zone, and what else of the
client's bytes stays there, less what then crosses to its other partners.
"""

from collections.abc import Iterator
from dataclasses import replace

from kzn.advisor.declaration import Rule
from kzn.advisor.facts import Workload
from kzn.advisor.proposal import Draft
from kzn.advisor.rules.placement.run_in_zone import draft_near, flows_between
from kzn.advisor.world import World

FEW = 4
"""Most pods: more of them are to be spread, not moved."""


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    for one, other, between in flows_between(world):
        client, server = world.workload(one), world.workload(other)
        if not (_may_move(client) and _may_move(server)) or set(client.pods) & set(server.pods):
            continue
        if not all(flow.crosses for flow in between) or len(server.pods) != 1:
            continue
        if all(flow.initiator == "unknown" for flow in between):
            continue  # each of them looks like the other's client, as members of a cluster do
        (zone,) = server.pods
        draft = draft_near(world, one, other, zone)
        if draft is None:
            continue
        yield replace(
            draft,
            title=f"{one}: run in the zone of {other}",
            risks=(f"both depend on {zone} afterwards", *draft.risks),
            confidence="medium",
            why=(
                f"pods of {one}: {', '.join(sorted(client.pods))}",
                f"pods of {other}: {zone}",
                "nothing keeps either where it is: no volume, and no zone or node that it requires",
            ),
            unknown=(
                "where an autoscaler puts the next node",
                "whether other labels of nodes, or pods to run beside, keep it where it is",
            ),
        )


def _may_move(workload: Workload) -> bool:
    is_free = not workload.has_claims and not workload.is_bound and workload.is_known
    is_small = 0 < sum(workload.pods.values()) <= FEW
    return is_free and is_small and workload.party.workload_kind == "Deployment"


RULE = Rule("apart", "two small workloads that have no zone in common", propose)
