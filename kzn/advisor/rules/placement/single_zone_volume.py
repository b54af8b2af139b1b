"""A server whose volumes are of one zone, with clients in others: move the clients, not the volume.

Signature: all pods of the server are in one zone, its volumes are of that zone (PersistentVolumes,
or claims of a StatefulSet where volumes may not be read), and clients in other zones cross to it.
Arithmetic: all crossing bytes, for a client whose pods run in that zone, less what then crosses to
its other partners.
"""

from collections.abc import Iterator
from dataclasses import replace

from kzn.advisor.declaration import Rule
from kzn.advisor.facts import Party
from kzn.advisor.proposal import Draft
from kzn.advisor.rules.placement.run_in_zone import draft_near, flows_between
from kzn.advisor.world import World


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    for one, other, between in flows_between(world):
        server, client = world.workload(other), world.workload(one)
        zone = only_zone(world, other)
        if not zone or not server.has_claims or (server.volume_zones not in ((), (zone,))):
            continue
        if client.has_claims or client.party.workload_kind != "Deployment":
            continue
        draft = draft_near(world, one, other, zone)
        if draft is None or not any(flow.crosses for flow in between):
            continue
        is_read = bool(server.volume_zones)
        yield replace(
            draft,
            title=f"{one}: run near {other}, whose volumes are of {zone}",
            risks=(
                f"with {zone} the clients are gone, too; they could not work without"
                f" {other} anyway, if that is all they do",
                *draft.risks,
            ),
            confidence="medium" if is_read else "low",
            why=(
                f"all {sum(server.pods.values())} pods of {other} are in {zone}",
                f"their volumes are of {zone}" if is_read else "they have PersistentVolumeClaims",
            ),
            unknown=(
                *(
                    ()
                    if is_read
                    else ("the zone of the volumes: the right to list them is missing",)
                ),
                "whether a read replica in the clients' zones would do",
            ),
        )


def only_zone(world: World, party: Party) -> str:
    """The zone in which all pods of a workload are; empty if there are several or none."""
    zones = [zone for zone, number in world.workload(party).pods.items() if number]
    return zones[0] if len(zones) == 1 else ""


RULE = Rule("single-zone-volume", "a server whose volumes are of one zone", propose)
