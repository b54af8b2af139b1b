"""Networks and Services: endpoints of addresses that belong to no pod and no node.

In: networks of the static file, Services, and the nodes' pod CIDRs. Out: the endpoint of a Service
or network, the node of a pod CIDR, or whether an address is outside the cluster. Never: history;
these rarely change and their addresses are not passed on.
"""

from collections.abc import Callable, Sequence

import numpy as np

from kzn.columns.arrays import I32, U8
from kzn.model.endpoint import UNKNOWN, Endpoint
from kzn.model.ip import pack
from kzn.topology.describe import network_endpoint, service_endpoint
from kzn.topology.facts import CidrNetwork, Network, ServiceFacts
from kzn.topology.tables.address_table import UNOWNED, AddressTable
from kzn.topology.tables.endpoint_table import EndpointTable
from kzn.topology.tables.prefix_table import PrefixTable

IN_POD_CIDR = -16
"""`Networks.lookup`: this number minus that of a node: in its pod CIDR, and in no other node's."""


class Networks:
    """Services first, then the longest prefix of networks and pod CIDRs, then IANA's registries.

    An address in a node's pod CIDR is never EXTERNAL, even if it is globally routable (IPv6): its
    pod may not be known yet. The outer addresses of Services (load balancers) come last, before
    UNKNOWN: globally routable ones stay EXTERNAL, since a packet that was not translated on its
    node goes there. ``retire`` is called with unused ids.
    """

    def __init__(self, table: EndpointTable, retire: Callable[[int], None]) -> None:
        self._table = table
        self._retire = retire
        self._networks: list[tuple[Network, int]] = []
        self._services: dict[str, tuple[ServiceFacts, int]] = {}
        self._service_of = AddressTable()
        self._outer_service_of = AddressTable()
        self._pod_cidrs = PodCidrs()
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
        """The ids of addresses (n, 16), EXTERNAL, UNKNOWN, or at most IN_POD_CIDR."""
        if self._prefixes is None:
            networks = [(cidr, number) for net, number in self._networks for cidr in net.cidrs]
            self._prefixes = PrefixTable([*self._pod_cidrs.ranges(), *networks])
        found = self._service_of.find(rows)
        left = np.flatnonzero(found == UNOWNED)
        found[left] = self._prefixes.lookup(rows[left])
        if len(self._outer_service_of):
            unknown = np.flatnonzero(found == UNKNOWN)
            outer = self._outer_service_of.find(rows[unknown])
            found[unknown] = np.where(outer == UNOWNED, UNKNOWN, outer)
        return found

    def networks(self) -> list[Network]:
        """The networks of the static file."""
        return [network for network, _ in self._networks]

    def node_of_range(self, code: int) -> str:
        """The name of the node that a result of `lookup`, at most IN_POD_CIDR, stands for."""
        return self._pod_cidrs.name(IN_POD_CIDR - code)

    def is_service(self, address: bytes) -> bool:
        """Whether a Service has ``address`` (16 bytes)."""
        return address in self._service_of or address in self._outer_service_of

    def has_network(self, kind: str, name: str) -> bool:
        """Whether a network of this kind and name exists."""
        return any((net.kind, net.name) == (kind, name) for net, _ in self._networks)

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
            if _addresses(known[0]) == _addresses(service):
                return
            self.drop_service(service.uid)
        number = self._add(service_endpoint(service))
        self._services[service.uid] = service, number
        for table, addresses in zip(self._tables, _addresses(service), strict=True):
            for address in addresses:
                table.put(address, number)

    def drop_service(self, uid: str) -> None:
        """A Service was deleted; an address that another Service has taken stays with that one."""
        service, number = self._services.pop(uid, (None, 0))
        if service is None:
            return
        self._retire(number)
        for table, addresses in zip(self._tables, _addresses(service), strict=True):
            for address in addresses:
                if table.get(address) == number:
                    table.remove(address)

    def put_pod_cidrs(self, uid: str, node: str, cidrs: tuple[CidrNetwork, ...]) -> None:
        """The pod CIDRs of the node with this uid; none once it is deleted."""
        is_new = uid not in self._pod_cidrs
        if self._pod_cidrs.put(uid, node, cidrs) and not (is_new and self._added(node, cidrs)):
            self._prefixes = None

    def _added(self, node: str, cidrs: tuple[CidrNetwork, ...]) -> bool:
        """Whether the pod CIDRs of a new node could be added to the prefixes as they are.

        An address inside another node's pod CIDR would be of both: then all are made anew.
        """
        prefixes = self._prefixes
        if prefixes is None or self._pod_cidrs.overlap:
            return False
        rows = np.frombuffer(b"".join(pack(str(cidr.network_address)) for cidr in cidrs), np.uint8)
        if (prefixes.lookup(rows.reshape(-1, 16)) <= IN_POD_CIDR).any():
            return False
        code = IN_POD_CIDR - self._pod_cidrs.number(node)
        return all(prefixes.add(cidr, code) for cidr in cidrs)

    @property
    def _tables(self) -> tuple[AddressTable, AddressTable]:
        return self._service_of, self._outer_service_of

    def _add(self, endpoint: Endpoint) -> int:
        return self._table.add(endpoint, 0.0)


class PodCidrs:
    """The pod CIDRs of nodes; one that overlaps another node's belongs to neither."""

    def __init__(self) -> None:
        self._of_node: dict[str, tuple[str, tuple[CidrNetwork, ...]]] = {}
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self.overlap = False
        """Whether two nodes have a range in common, as of the last `ranges`."""

    def __contains__(self, uid: str) -> bool:
        return uid in self._of_node

    def number(self, node: str) -> int:
        """The number of a node in the codes of ranges."""
        number = self._numbers.setdefault(node, len(self._names))
        if number == len(self._names):
            self._names.append(node)
        return number

    def name(self, number: int) -> str:
        """The name of a node."""
        return self._names[number]

    def put(self, uid: str, node: str, cidrs: tuple[CidrNetwork, ...]) -> bool:
        """Set those of the node with this uid; True if they have changed."""
        if self._of_node.get(uid, (node, ())) == (node, cidrs):
            return False
        if cidrs:
            self._of_node[uid] = node, cidrs
        else:
            del self._of_node[uid]
        return True

    def ranges(self) -> list[tuple[CidrNetwork, int]]:
        """Each CIDR with its code: of one node (at most IN_POD_CIDR), or UNKNOWN."""
        nodes: dict[CidrNetwork, set[int]] = {}
        for node, cidrs in self._of_node.values():
            number = self.number(node)
            for cidr in cidrs:
                nodes.setdefault(cidr, set()).add(number)
        _add_enclosed(nodes)
        self.overlap = any(len(of) > 1 for of in nodes.values())
        return [
            (cidr, IN_POD_CIDR - next(iter(of)) if len(of) == 1 else UNKNOWN)
            for cidr, of in nodes.items()
        ]


def _add_enclosed(nodes: dict[CidrNetwork, set[int]]) -> None:
    """Add to each CIDR the nodes of those that enclose it."""
    for version in (4, 6):
        of_version = [cidr for cidr in nodes if cidr.version == version]
        if len({cidr.prefixlen for cidr in of_version}) < 2:
            continue
        of_version.sort(key=lambda cidr: (int(cidr.network_address), cidr.prefixlen))
        outer: list[CidrNetwork] = []
        for cidr in of_version:
            while outer and int(outer[-1].broadcast_address) < int(cidr.network_address):
                outer.pop()
            for enclosing in outer:
                nodes[cidr] |= nodes[enclosing]
            outer.append(cidr)


def _addresses(service: ServiceFacts) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    return service.addresses, service.outer_addresses
