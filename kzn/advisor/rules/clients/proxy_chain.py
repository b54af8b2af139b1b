"""A proxy between clients and servers: the bytes cross twice, so judge both hops together.

Signature: a workload (an ingress, a gateway, a mesh's gateway) that takes bytes as a server and
sends about as many on as a client, both hops crossing, each through Services that same-zone would
give a preference.
Arithmetic: of each hop what crosses through these Services from zones in which they have endpoints:
what does not go through one of them is not changed, and not counted. It begins with the hop whose
both ends have pods in every zone.
"""

from collections.abc import Iterator, Sequence

from kzn.advisor.declaration import Rule
from kzn.advisor.facts import Party
from kzn.advisor.proposal import Change, Draft, Move
from kzn.advisor.rules.services.same_zone import draft_of
from kzn.advisor.rules.services.zone_draft import LABEL
from kzn.advisor.service_change import obeys_zones, zone_value
from kzn.advisor.world import Pair, World

_HOPS = ("clients to the proxy", "the proxy to its servers")
SAME = 0.7
"""Least ratio of the smaller to the larger of what comes in and what goes on."""


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    value = zone_value(world.cluster)
    if not value or obeys_zones(world.cluster)[0] == "no":
        return
    incoming: dict[Party, list[Pair]] = {}
    outgoing: dict[Party, list[Pair]] = {}
    for pair in world.pairs:
        incoming.setdefault(pair.server, []).append(pair)
        outgoing.setdefault(pair.client, []).append(pair)
    drafts = _drafts(world)
    for proxy in sorted(incoming.keys() & outgoing.keys()):
        hops = incoming[proxy], outgoing[proxy]
        sizes = [sum(flow.bytes for pair in hop for flow in pair.flows) for hop in hops]
        if proxy.kind != "Pod" or min(sizes) < SAME * max(sizes):
            continue
        parts = [_parts(drafts, hop) for hop in hops]
        moves = [tuple(move for _, some in part for move in some) for part in parts]
        if not all(moves):
            continue
        first = 0 if _is_everywhere(world, hops[0]) else 1
        ordered = (*parts[first], *parts[1 - first])
        changed = {draft.subject: draft for draft, _ in ordered}
        of_services = {number for draft in changed.values() for number in draft.flows}
        flows = [flow.number for hop in hops for pair in hop for flow in pair.flows]
        is_label_first = any(one.change.summary.startswith(LABEL) for one in changed.values())
        yield Draft(
            subject=proxy.key,
            title=f"{proxy}: bytes cross before it and behind it",
            change=Change(
                f"{LABEL + '; then ' if is_label_first else ''}keep both hops in their zone,"
                f" {_HOPS[first]} first: spec.trafficDistribution: {value} of {', '.join(changed)}",
                tuple(
                    dict.fromkeys(
                        command for one in changed.values() for command in one.change.commands
                    )
                ),
            ),
            flows=tuple(number for number in flows if number in of_services),
            moves=(*moves[0], *moves[1]),
            workloads=(proxy, *dict.fromkeys(pair.server for pair in hops[1])),
            verdict="warning",
            effort=2,
            risks=(
                "many proxies choose endpoints themselves and pass the Service by: the second hop"
                " then needs a setting of the proxy",
                "once the first hop keeps to zones, the servers of a zone get what its clients"
                " send: look at the load of each hop's own proposal again",
            ),
            confidence="low",
            why=(
                f"it takes {sizes[0]} bytes and sends {sizes[1]} on",
                "both hops cross zones",
            ),
            unknown=("whether these are the same bytes", "what chooses the proxy's endpoints"),
        )


def _drafts(world: World) -> Sequence[Draft]:
    """What same-zone proposes, without what it refuses."""
    found = (draft_of(world, one) for one in world.traffic)
    return [draft for draft in found if draft is not None and draft.verdict != "refused"]


def _parts(drafts: Sequence[Draft], hop: Sequence[Pair]) -> list[tuple[Draft, list[Move]]]:
    """The drafts that keep bytes of a hop in their zone, and those bytes."""
    flows = {flow.number for pair in hop for flow in pair.flows}
    parts = ((draft, [move for move in draft.moves if move.flow in flows]) for draft in drafts)
    return [(draft, moves) for draft, moves in parts if moves]


def _is_everywhere(world: World, hop: Sequence[Pair]) -> bool:
    zones = {flow.client_zone for pair in hop for flow in pair.flows}
    return all(zones <= set(world.workload(pair.server).pods) for pair in hop)


RULE = Rule("proxy-chain", "a proxy whose bytes cross before it and behind it", propose)
