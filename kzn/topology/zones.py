"""The zones that nodes and networks are compared by: names, zone ids, a default.

In: nodes and networks with the zones of their sources. Out: the same with the zone that counts.
Never: two spellings of one zone; a name without a known id has no zone.

With ``use_ids`` a zone is named by its id. Nodes that carry both labels give the id of each name of
a region; it is then used for nodes without an id and for networks, which have names only.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from kzn.topology.facts import Network, NodeFacts

MAX_NAMES = 10_000
"""Most zone names that are kept; a cluster has a handful."""
_ID = re.compile(r"[a-z]+[0-9]+(-[a-z0-9]+)*-(az|wlz)[0-9]+")
"""AWS's ids of zones ("use1-az1", "usw2-lax1-az1"); its names end in a letter or in "-1"."""


class Zones:
    """Places nodes and networks in zones.

    ``failed`` has the region and name of each zone that has no id, or several, and is in use.
    """

    def __init__(self, *, use_ids: bool = False, default_zone: str = "") -> None:
        self.failed: set[tuple[str, str]] = set()
        self._use_ids = use_ids
        self._default = default_zone
        self._ids: dict[tuple[str, str], set[str]] = {}
        self._without_id: dict[str, NodeFacts] = {}
        self._networks: tuple[Network, ...] = ()

    def put_node(self, node: NodeFacts) -> NodeFacts:
        """The node in the zone that counts."""
        if self._use_ids and (node.zone or self._default) and not node.zone_id:
            self._without_id[node.uid] = node
        else:
            self._without_id.pop(node.uid, None)
        zone = (self._use_ids and node.zone_id) or self._id_of(node.region, node.zone)
        if not node.zone and not zone:
            zone = self._id_of_default(node.region)
        return node if zone == node.zone else replace(node, zone=zone)

    def drop_node(self, uid: str) -> None:
        """A node was deleted. What it said of its zone's id stays true."""
        self._without_id.pop(uid, None)

    def put_networks(self, networks: Sequence[Network]) -> list[Network]:
        """Replace all networks; returns them in the zones that count."""
        self._networks = tuple(networks)
        return [self._placed(network) for network in networks]

    def learn(self, node: NodeFacts) -> bool:
        """Note the id of a node's zone; True if nodes or networks are to be placed again."""
        if not (self._use_ids and node.zone and node.zone_id):
            return False
        if node.zone_id in self._ids.get((node.region, node.zone), ()):
            return False
        if len(self._ids) >= MAX_NAMES and (node.region, node.zone) not in self._ids:
            return False
        self._ids.setdefault((node.region, node.zone), set()).add(node.zone_id)
        return bool(self._without_id or self._networks)

    def again(self) -> tuple[list[NodeFacts], list[Network]]:
        """The nodes without an id, in the zones that count now, and all networks."""
        self.failed.clear()
        nodes = [self.put_node(node) for node in list(self._without_id.values())]
        return nodes, self.put_networks(self._networks)

    def _placed(self, network: Network) -> Network:
        zone = self._id_of(network.region, network.zone)
        if zone == network.zone:
            return network
        return replace(network, zone=zone, is_zone_unknown=not zone)

    def _id_of(self, region: str, name: str) -> str:
        """The id of a zone by its name, "" if none or several; a name that is an id, or without
        ids any, itself.
        """
        found = self._ids_of(region, name) or ({name} if _ID.fullmatch(name) else set())
        if len(found) == 1:
            return found.pop()
        if name:
            self.failed.add((region, name))
        return ""

    def _id_of_default(self, region: str) -> str:
        """The default zone; by its id if it is the name of a zone that has one."""
        has_id = self._ids_of(region, self._default)
        return self._id_of(region, self._default) if has_id else self._default

    def _ids_of(self, region: str, name: str) -> set[str]:
        """The ids that nodes gave a name; a name that is one of them, or without ids any, itself.

        A name that is in several regions has those of all of them if ``region`` is empty.
        """
        if not name:
            return set()
        if not self._use_ids or any(name in ids for ids in self._ids.values()):
            return {name}
        regions = [key for key in self._ids if key[1] == name and region in ("", key[0])]
        return {one for key in regions for one in self._ids[key]}
