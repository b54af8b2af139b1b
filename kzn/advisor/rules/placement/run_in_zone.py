"""What a workload saves in all by running in one zone, which several rules propose. Pure."""

from collections.abc import Iterator

from kzn.advisor.facts import Flow, Party
from kzn.advisor.proposal import Draft, Move
from kzn.advisor.rules.placement.prefer_zone import prefer_zone
from kzn.advisor.world import World


def flows_between(world: World) -> Iterator[tuple[Party, Party, tuple[Flow, ...]]]:
    """Client, server and their flows at all ports, most crossing bytes at a port first."""
    found: dict[tuple[Party, Party], list[Flow]] = {}
    for pair in world.pairs:
        found.setdefault((pair.client, pair.server), []).extend(pair.flows)
    for (client, server), flows in found.items():
        yield client, server, tuple(flows)


def placed_flows(world: World, party: Party) -> tuple[Flow, ...]:
    """The flows of a workload with others in known zones."""
    return tuple(flow for flow in world.flows_of.get(party, ()) if flow.src_zone and flow.dst_zone)


def zone_of_other(flow: Flow, party: Party) -> str:
    """The zone of the end that is not ``party``."""
    return flow.dst_zone if flow.src == party else flow.src_zone


def net_moves(flows: tuple[Flow, ...], party: Party, zone: str) -> tuple[Move, ...]:
    """What stays less what newly crosses if all of ``party`` runs in ``zone``; empty if nothing.

    The difference is shared among the flows that cross now.
    """
    crossing = sum(flow.bytes for flow in flows if flow.crosses)
    rest = sum(flow.bytes for flow in flows if zone_of_other(flow, party) != zone)
    if crossing <= rest:
        return ()
    share = (crossing - rest) / crossing
    return tuple(Move(flow.number, flow.bytes * share) for flow in flows if flow.crosses)


def draft_near(world: World, client: Party, server: Party, zone: str) -> Draft | None:
    """The draft of "all of the client runs in the server's zone", which the rule gives its title,
    reasons and further risks; None if that saves nothing, or if the client has to be elsewhere.
    """
    if not _may_run_in(world, client, zone) or world.copies.are_mutual(client, server):
        return None
    flows = placed_flows(world, client)
    moves = net_moves(flows, client, zone)
    if not moves:
        return None
    return Draft(
        subject=f"{client.key}~{server.key}",
        title="",
        change=prefer_zone(client, zone),
        flows=tuple(flow.number for flow in flows),
        moves=moves,
        workloads=(client, server),
        moved=client,
        verdict="warning",
        effort=3,
        risks=("what else talks to the client may cross in its place: the saving is without that",),
    )


def _may_run_in(world: World, client: Party, zone: str) -> bool:
    """Whether all its pods may run there and do not yet: bytes of before a move stay measured."""
    known = world.workload(client)
    is_there = bool(known.pods) and set(known.pods) == {zone}
    is_spread = known.spread == "DoNotSchedule"  # its own constraint would keep them apart
    return known.may_run_in(zone) and not (is_there or is_spread or world.copies.is_placed(client))
