"""Replication between pods of one workload, or of several that keep the same data: leave it.

Signature: both ends of crossing bytes are the same StatefulSet (or another kind with volumes), or
several workloads of which one is such: behind one Service, or opening connections to each other.
Arithmetic: nothing is saved: copies in other zones are what they are for.
"""

from collections.abc import Iterator

from kzn.advisor.declaration import Rule
from kzn.advisor.facts import Flow, Party
from kzn.advisor.proposal import Change, Draft
from kzn.advisor.world import World

_MOST_NAMED = 10


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    for parties, flows in _groups(world):
        is_stateful = any(
            party.workload_kind == "StatefulSet" or world.workload(party).has_claims
            for party in parties
        )
        if not is_stateful or not any(flow.crosses for flow in flows):
            continue
        first, *rest = parties
        yield Draft(
            subject=first.key,
            title=f"{first}{f' and {len(rest)} more' if rest else ''}: leave the replication as is",
            change=Change(
                "nothing to change in where it goes; compression, fewer copies, leaders near their"
                " clients or fewer writes would make it less"
            ),
            flows=tuple(flow.number for flow in flows),
            workloads=tuple(parties[:_MOST_NAMED]),
            verdict="leave",
            effort=4,
            risks=("without copies in other zones, a zone that fails takes the data with it",),
            confidence="medium" if rest else "high",
            why=(
                "they are behind one Service, or open connections to each other, and have data of"
                " their own"
                if rest
                else "both ends are pods of the same workload, which has data of its own",
            ),
        )


def _groups(world: World) -> Iterator[tuple[list[Party], list[Flow]]]:
    """Workloads that are copies of each other, directly or by others, in order, and their flows."""
    group_of: dict[Party, set[Party]] = {}
    copying = [
        flow
        for flow in world.flows
        if flow.src.kind == flow.dst.kind == "Pod" and world.copies.is_copy(flow)
    ]
    for flow in copying:
        one, other = (group_of.setdefault(end, {end}) for end in (flow.src, flow.dst))
        if one is not other:
            one |= other
            group_of.update(dict.fromkeys(other, one))
    flows: dict[Party, list[Flow]] = {}
    for flow in copying:
        flows.setdefault(min(group_of[flow.src]), []).append(flow)
    for first in sorted(flows):
        yield sorted(group_of[first]), flows[first]


RULE = Rule("replication", "copies of the same data that talk to each other: leave them", propose)
