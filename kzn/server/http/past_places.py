"""Providers of zones and price classes of entries, for the prices of past traffic.

In: nodes, networks and pods as they are now, and what the history says of nodes that are gone.
Out: the place of an end as the history has it. Never: a provider or a price class that is a guess.

The zone and the region of an end are those of its time, which each row of the history has. The
provider is that of the zone's nodes, and the price class that which the static file says now.
"""

from collections.abc import Iterable, Iterator, Set
from typing import NamedTuple

from kzn.model.endpoint import NODE, POD, STATIC
from kzn.pricing.places import AMBIGUOUS
from kzn.pricing.table import Place
from kzn.topology.describe import price_class_of
from kzn.topology.index import AddressIndex

_ADDED_UP = "other"

Zone = tuple[str, str]
"""Region and zone."""


class PastEnd(NamedTuple):
    """An end as a row of the history has it; what was not asked for is empty."""

    region: str
    zone: str
    kind: str = ""
    namespace: str = ""
    workload: str = ""


class Entry(NamedTuple):
    """The price class of an end of a static file, empty for an ordinary one."""

    end: PastEnd
    price_class: str


class PastPlaces:
    """The place of each end of the past. ``zones`` are those of nodes, ``entries`` all networks.

    Of nodes and pods, ``entries`` are those of workloads of which one has a price class.
    """

    def __init__(self, zones: Iterable[Place], entries: Iterable[Entry] = ()) -> None:
        self._providers: dict[Zone, set[str]] = {}
        self._of_names: dict[str, set[str]] = {}
        for place in zones:
            self._learn((place.region, place.zone), place.provider)
        self._of_entries: set[Zone] = set()
        self._entries: dict[tuple[str, ...], dict[Zone, set[str]]] = {}
        self._kinds: set[str] = set()
        for end, price_class in entries:
            zone = end.region, end.zone
            classes = self._entries.setdefault(end[2:], {})
            classes.setdefault(zone, set()).add(price_class)
            self._of_entries.add(zone)
            if price_class:
                self._kinds.add(end.kind)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions of an end that its place depends on."""
        by_name = ("kind", "workload") if self._kinds else ()
        return ("region", "zone", *by_name, *(("namespace",) if POD in self._kinds else ()))

    def lacks(self, end: PastEnd, cls: str) -> bool:
        """Whether nodes that are gone may tell the provider of an end of a flow.

        Of a zone that only entries are in they can if it has traffic that entries have not.
        """
        zone = end.region, end.zone
        if not end.zone or zone in self._providers:
            return False
        return zone not in self._of_entries or cls in {"external", "same_zone"}

    def learn(self, zone: Zone, provider: str) -> None:
        """A node of ``provider`` was in ``zone``, which no node is in now."""
        self._learn(zone, provider)

    def of(self, end: PastEnd) -> Place:
        """The place of an end; AMBIGUOUS if it was added up, or one of several may be it."""
        price_class = self._price_class(end)
        provider = self._provider(end.region, end.zone)
        if price_class is None or provider is None:
            return AMBIGUOUS
        return Place(provider, end.region, end.zone, price_class)

    def _learn(self, zone: Zone, provider: str) -> None:
        providers = self._providers.setdefault(zone, set())
        # Names of zones and regions are a provider's own; one that moved between regions keeps it.
        for name in {f"zone {zone[1]}", f"region {zone[0]}"} - {"region "}:
            self._of_names.setdefault(name, set()).update({provider} - {""})
        providers.update({provider} - {""})

    def _provider(self, region: str, zone: str) -> str | None:
        """Empty if it is not known, None if there are several."""
        if not zone:
            return ""
        found: Set[str] | None = self._providers.get((region, zone))
        if found is None:
            if (region, zone) in self._of_entries:
                return ""
            names = f"zone {zone}", f"region {region}"
            found = next((one for name in names if (one := self._of_names.get(name))), set())
        return next(iter(found), "") if len(found) < 2 else None

    def _price_class(self, end: PastEnd) -> str | None:
        """Empty for an ordinary end, None if there are several."""
        if end.kind not in self._kinds:
            return ""
        if end.workload == _ADDED_UP and not end.namespace:
            return None
        by_zone = self._entries.get(end[2:])
        if by_zone is None:
            return ""
        found = by_zone.get((end.region, end.zone)) or set().union(*by_zone.values())
        return next(iter(found)) if len(found) == 1 else None


def past_places(index: AddressIndex) -> PastPlaces:
    """The places that the index knows."""
    nodes = list(index.nodes())
    zones = (Place(node.provider, node.region, node.zone) for node in nodes if node.zone)
    return PastPlaces(zones, _entries(index))


def _entries(index: AddressIndex) -> Iterator[Entry]:
    for network in index.networks.networks():
        if not network.is_zone_unknown:
            end = PastEnd(network.region, network.zone, STATIC, "", network.name)
            yield Entry(end, price_class_of(network))
    zones = {}
    for node in index.nodes():
        zones[node.name] = node.region, node.zone
        if node.price_class:
            yield Entry(PastEnd(node.region, node.zone, NODE, "", node.name), node.price_class)
    pods = [one for one in index.static_pods() if one[1] is not None]
    priced = {(pod.namespace, workload) for pod, workload in pods if pod.price_class}
    for pod, workload in pods:
        if workload is not None and (pod.namespace, workload) in priced and pod.node in zones:
            end = PastEnd(*zones[pod.node], POD, pod.namespace, workload.name)
            yield Entry(end, pod.price_class)
