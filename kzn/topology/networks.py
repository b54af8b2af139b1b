"""Networks and Services: endpoints of addresses that belong to no pod and no node.

In: networks of the static file, Services, and the nodes' pod CIDRs. Out: the endpoint of a Service
or network, or whether an address is outside the cluster. Never: history; these rarely change and
their addresses are not passed on.
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
    """Services first, then the longest prefix of networks and pod CIDRs, then IANA's registries.

    An address in a node's pod CIDR is UNKNOWN and never EXTERNAL, even if it is globally routable
    (IPv6): its pod is not known yet. ``retire`` is called with unused ids.
    """

    def __init__(self, table: EndpointTable, retire: Callable[[int], None]) -> None:
        self._table = table
        self._retire = retire
        self._networks: list[tuple[Network, int]] = []
        self._services: dict[str, tuple[ServiceFacts, int]] = {}
        self._service_of = AddressTable()
        self._pod_cidrs: Counter[CidrNetwork] = Counter()
        self._prefixes: PrefixTable | None = None

    @property
    def network_count(self) -> int:
        """Number of networks of the static file."""
        return len(self._networks)

    @property
    def service_count(self) -> int:
        """Number of Services."""
        return len(self._services)

    def lookup(self, rows: U8) -> I32:
        """The ids of addresses (n, 16), or EXTERNAL or UNKNOWN."""
        if self._prefixes is None:
            pod_cidrs = [(cidr, UNKNOWN) for cidr in self._pod_cidrs]
            networks = [(cidr, number) for net, number in self._networks for cidr in net.cidrs]
            self._prefixes = PrefixTable([*pod_cidrs, *networks])
        found = self._service_of.find(rows)
        left = np.flatnonzero(found == UNOWNED)
        found[left] = self._prefixes.lookup(rows[left])
        return found

    def is_service(self, address: bytes) -> bool:
        """Whether a Service has ``address`` (16 bytes)."""
        return address in self._service_of

    def put_networks(self, networks: Sequence[Network]) -> None:
        """Replace all networks."""
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
        """A Service was deleted; an address that another Service has taken stays with that one."""
        service, number = self._services.pop(uid, (None, 0))
        if service is None:
            return
        self._retire(number)
        for address in service.addresses:
            if self._service_of.get(address) == number:
                self._service_of.remove(address)

    def put_pod_cidrs(self, old: Sequence[CidrNetwork], new: Sequence[CidrNetwork]) -> None:
        """A node's pod CIDRs changed from ``old`` to ``new``."""
        if old == new:
            return
        self._pod_cidrs.update(new)
        self._pod_cidrs.subtract(old)
        self._pod_cidrs = +self._pod_cidrs
        self._prefixes = None

    def _add(self, endpoint: Endpoint) -> int:
        return self._table.add(endpoint, 0.0)
