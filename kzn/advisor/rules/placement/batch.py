"""A Job or CronJob that crosses zones: run it in the zone of what it works with.

Signature: one end of crossing bytes is a Job or CronJob.
Arithmetic: in the zone where most bytes of its partners are, those stay, and the rest crosses; the
saving is what crosses now less that rest.
"""

from collections.abc import Iterator

from kzn.advisor.declaration import Rule
from kzn.advisor.proposal import Draft
from kzn.advisor.rules.placement.prefer_zone import prefer_zone
from kzn.advisor.rules.placement.run_in_zone import net_moves, placed_flows, zone_of_other
from kzn.advisor.world import World

KINDS = ("Job", "CronJob")


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    for job in sorted(party for party in world.flows_of if party.workload_kind in KINDS):
        flows = placed_flows(world, job)
        by_zone: dict[str, int] = {}
        for flow in flows:
            zone = zone_of_other(flow, job)
            by_zone[zone] = by_zone.get(zone, 0) + flow.bytes
        best = max(sorted(by_zone), key=lambda zone: by_zone[zone], default="")
        moves = net_moves(flows, job, best)
        if not moves or world.copies.is_placed(job):
            continue
        yield Draft(
            subject=job.key,
            title=f"{job}: run in {best}",
            change=prefer_zone(job, best),
            flows=tuple(flow.number for flow in flows),
            moves=moves,
            workloads=(job,),
            moved=job,
            effort=2,
            risks=(f"when {best} is full or gone, the job runs elsewhere and crosses",),
            confidence="medium",
            why=(f"{by_zone[best] / sum(by_zone.values()):.0%} of its bytes are with {best}",),
            unknown=("whether the next run works with the same data",),
        )


RULE = Rule("batch", "a Job that works with another zone", propose)
