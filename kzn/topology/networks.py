"""The landscape: what an address is that no pod and no node has.

In: networks of the static file, Services, and the ranges that nodes give to their pods. Out: the
endpoint of a Service or a network, or whether an address is outside. Never: history; these change
rarely and are not handed from one to another.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from kzn.columns.arrays import I32, U8
from kzn.model.endpoint import UNKNOWN, Endpoint
from kzn.topology.describe import network_endpoint, service_endpoint
from kzn.topology.facts import CidrNetwork, Network, ServiceFacts
from kzn.topology.tables.address_table import UNOWNED, AddressTable
from kzn.topology.tables.endpoint_table import EndpointTable
from kzn.topology.tables.prefix_table import PrefixTable


class Networks:
    """Services first, then the longest prefix of networks and pod ranges, then the world.

    An address in a node's pod range is UNKNOWN and never outside, also when it is one that is
    routed globally (IPv6): its pod is just not known yet. ``retire`` takes ids that are no longer
    in use.
    """

    def __init__(self, table: EndpointTable, retire: Callable[[int], None]) -> None:
        self._table = table
        self._retire = retire
        self._networks: list[tuple[Network, int]] = []
        self._services: dict[str, tuple[ServiceFacts, int]] = {}
        self._service_of = AddressTable()
        self._ranges: Counter[CidrNetwork] = Counter()
        self._prefixes: PrefixTable | None = None

    @property
    def networks(self) -> int:
        """How many networks are known."""
        return len(self._networks)

    @property
    def services(self) -> int:
        """How many Services are known."""
        return len(self._services)

    def lookup(self, rows: U8) -> I32:
        """The ids of addresses (n, 16), or EXTERNAL or UNKNOWN."""
        if self._prefixes is None:
            ranges = [(cidr, UNKNOWN) for cidr in self._ranges]
            networks = [(cidr, number) for net, number in self._networks for cidr in net.cidrs]
            self._prefixes = PrefixTable([*ranges, *networks])
        found = self._service_of.find(rows)
        left = np.flatnonzero(found == UNOWNED)
        found[left] = self._prefixes.lookup(rows[left])
        return found

    def put_networks(self, networks: Sequence[Network]) -> None:
        """These networks, and no others, are known from now on."""
        for _, number in self._networks:
            self._retire(number)
        self._networks = [(net, self._add(network_endpoint(net))) for net in networks]
        self._prefixes = None

    def put_service(self, service: ServiceFacts) -> None:
        """A Service was added or changed."""
        known = self._services.get(service.uid)
        if known is not None:
            if known[0].addresses == service.addresses:
                return
            self.drop_service(service.uid)
        number = self._add(service_endpoint(service))
        self._services[service.uid] = service, number
        for address in service.addresses:
            self._service_of.put(address, number)

    def drop_service(self, uid: str) -> None:
        """A Service was deleted; an address that another has taken stays the other's."""
        service, number = self._services.pop(uid, (None, 0))
        if service is None:
            return
        self._retire(number)
        for address in service.addresses:
            if self._service_of.get(address) == number:
                self._service_of.remove(address)

    def put_ranges(self, old: Sequence[CidrNetwork], new: Sequence[CidrNetwork]) -> None:
        """A node gives addresses of ``new`` to its pods, no longer of ``old``."""
        if old == new:
            return
        self._ranges.update(new)
        self._ranges.subtract(old)
        self._ranges = +self._ranges
        self._prefixes = None

    def _add(self, endpoint: Endpoint) -> int:
        return self._table.add(endpoint, 0.0)
