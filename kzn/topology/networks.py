"""Networks and Services: endpoints of addresses that belong to no pod and no node.

In: networks of the static file, Services, and the nodes' pod CIDRs. Out: the endpoint of a Service
or network, the node of a pod CIDR, or whether an address is outside the cluster. Never: history;
these rarely change and their addresses are not passed on.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np

from kzn.columns.arrays import BOOL, I32, I64, U8
from kzn.model.endpoint import UNKNOWN, Endpoint
from kzn.topology.describe import network_endpoint, service_endpoint
from kzn.topology.facts import CidrNetwork, Network, ServiceFacts
from kzn.topology.tables.address_table import UNOWNED, AddressTable
from kzn.topology.tables.endpoint_table import EndpointTable
from kzn.topology.tables.prefix_table import Prefix, Prefixes, PrefixTable, prefix_of

IN_POD_CIDR = -16
"""`Networks.lookup`: this number minus that of a node: in its pod CIDR, and in no other node's."""


_CHANGED_ONE_BY_ONE = 1000
"""Networks of a static file; of more, all ranges are made anew."""


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
        self._service_of = _SharedTable()
        self._outer_service_of = _SharedTable()
        self._captured_by = _SharedTable()
        self._pod_cidrs = PodCidrs()
        self._prefixes: PrefixTable | None = None
        self._named: set[Prefix] = set()  # of networks, which come before equal pod CIDRs

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
        prefixes = self.prepare()
        found = self._service_of.find(rows)
        left = np.flatnonzero(found == UNOWNED)
        found[left] = prefixes.lookup(rows[left])
        if len(self._outer_service_of):
            unknown = np.flatnonzero(found == UNKNOWN)
            outer = self._outer_service_of.find(rows[unknown])
            found[unknown] = np.where(outer == UNOWNED, UNKNOWN, outer)
        return found

    def prepare(self) -> PrefixTable:
        """The ranges of all networks, made anew if need be: of 5,000 nodes in 30 ms."""
        if self._prefixes is None:
            networks = list(self._numbered())
            self._prefixes = PrefixTable(chain(self._pod_cidrs.codes(), networks))
            self._named = {prefix for prefix, _ in networks}
        return self._prefixes

    def proxied(self, rows: U8) -> BOOL:
        """Which addresses (n, 16) are Services' outer ones alone, and no node translates them."""
        found: BOOL = self._outer_service_of.find(rows) != UNOWNED
        found &= (self._service_of.find(rows) == UNOWNED) & ~self.captured(rows)
        return found

    def captured(self, rows: U8) -> BOOL:
        """Which addresses (n, 16) are outer ones of Services that nodes translate themselves."""
        found: BOOL = self._captured_by.find(rows) != UNOWNED
        return found

    def networks(self) -> list[Network]:
        """The networks of the static file."""
        return [network for network, _ in self._networks]

    def node_of_range(self, code: int) -> str:
        """The name of the node that a result of `lookup`, at most IN_POD_CIDR, stands for."""
        return self._pod_cidrs.name(IN_POD_CIDR - code)

    def fill_in_pod_cidrs(
        self, ids: I32, left: I64, codes: I32, owner_of: Callable[[str], int]
    ) -> None:
        """Enter owners into ``ids`` for the rows ``left``, by the name of a node.

        ``codes`` are the results of `lookup` for these rows, at most IN_POD_CIDR.
        """
        for code in set(codes.tolist()):
            owner = owner_of(self.node_of_range(code))
            if owner >= 0:
                ids[left[codes == code]] = owner

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
        numbers = dict(self._numbered())
        if self._prefixes is None or len(numbers) > _CHANGED_ONE_BY_ONE:
            self._prefixes = None
            return
        gone, self._named = self._named - numbers.keys(), set(numbers)
        for prefix in gone:
            self._set_range(prefix)
        for prefix, number in numbers.items():
            self._prefixes.put(prefix, number)

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
        """A Service was deleted; an address that other Services have, too, stays with one."""
        service, number = self._services.pop(uid, (None, 0))
        if service is None:
            return
        self._retire(number)
        for table, addresses in zip(self._tables, _addresses(service), strict=True):
            for address in addresses:
                table.drop(address, number)

    def put_pod_cidrs(self, uid: str, node: str, cidrs: tuple[CidrNetwork, ...]) -> None:
        """The pod CIDRs of the node with this uid; none once it is deleted."""
        changed = self._pod_cidrs.put(uid, node, tuple(map(prefix_of, cidrs)))
        if self._prefixes is not None:
            for prefix in changed - self._named:
                self._set_range(prefix)

    def _set_range(self, prefix: Prefix) -> None:
        """Set what a prefix is that no network has, at least not any more."""
        assert self._prefixes is not None  # noqa: S101 - for the type checker
        code = self._pod_cidrs.code(prefix)
        if code is None:
            self._prefixes.remove(prefix)
        else:
            self._prefixes.put(prefix, code)

    def _numbered(self) -> Iterator[tuple[Prefix, int]]:
        for network, number in self._networks:
            for cidr in network.cidrs:
                yield prefix_of(cidr), number

    @property
    def _tables(self) -> "tuple[_SharedTable, ...]":
        return self._service_of, self._outer_service_of, self._captured_by

    def _add(self, endpoint: Endpoint) -> int:
        return self._table.add(endpoint, 0.0)


class PodCidrs:
    """The pod CIDRs of nodes; one that overlaps another node's belongs to neither."""

    def __init__(self) -> None:
        self._of_node: dict[str, tuple[str, tuple[Prefix, ...]]] = {}
        self._nodes: Prefixes[Counter[int]] = Prefixes()
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}

    def name(self, number: int) -> str:
        """The name of a node."""
        return self._names[number]

    def put(self, uid: str, node: str, cidrs: tuple[Prefix, ...]) -> set[Prefix]:
        """Set those of the node with this uid; returns the prefixes of which `code` may differ."""
        before, had = self._of_node.get(uid, (node, ()))
        if (before, had) == (node, cidrs):
            return set()
        for prefix in had:
            self._take(prefix, self._number(before))
        for prefix in cidrs:
            if prefix not in self._nodes.values:
                self._nodes.put(prefix, Counter())
            self._nodes.values[prefix][self._number(node)] += 1
        if cidrs:
            self._of_node[uid] = node, cidrs
        else:
            self._of_node.pop(uid, None)
        changed = {*had, *cidrs}
        return changed.union(*map(self._nodes.enclosed, changed))

    def code(self, prefix: Prefix) -> int | None:
        """The code of one node (at most IN_POD_CIDR), UNKNOWN of several, None of no node."""
        if prefix not in self._nodes.values:
            return None
        nodes = {node for one in self._nodes.enclosing(prefix) for node in self._nodes.values[one]}
        return IN_POD_CIDR - nodes.pop() if len(nodes) == 1 else UNKNOWN

    def codes(self) -> Iterator[tuple[Prefix, int]]:
        """Each prefix with its code."""
        is_flat = self._nodes.is_flat
        for prefix, nodes in self._nodes.values.items():
            if is_flat and len(nodes) == 1:
                yield prefix, IN_POD_CIDR - next(iter(nodes))
            else:
                code = self.code(prefix)
                assert code is not None  # noqa: S101 - it is a node's
                yield prefix, code

    def _take(self, prefix: Prefix, number: int) -> None:
        nodes = self._nodes.values[prefix]
        nodes[number] -= 1
        if not nodes[number]:
            del nodes[number]
        if not nodes:
            self._nodes.remove(prefix)

    def _number(self, node: str) -> int:
        number = self._numbers.setdefault(node, len(self._names))
        if number == len(self._names):
            self._names.append(node)
        return number


class _SharedTable(AddressTable):
    """Addresses to Services, of which several can share one: the last one put is found.

    Load balancers share an address by ports, and so do Services with the same externalIPs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._others: dict[bytes, list[int]] = {}

    def put(self, address: bytes, number: int) -> None:
        """The Service ``number`` has the address, too."""
        before = self.get(address)
        if before not in (UNOWNED, number):
            self._others.setdefault(address, []).append(before)
        super().put(address, number)

    def drop(self, address: bytes, number: int) -> None:
        """The Service ``number`` has the address no more."""
        others = self._others.get(address, [])
        if number in others:
            others.remove(number)
        elif self.get(address) == number:
            if others:
                super().put(address, others.pop())
            else:
                self.remove(address)
        if not others:
            self._others.pop(address, None)


def _addresses(service: ServiceFacts) -> tuple[tuple[bytes, ...], ...]:
    return service.addresses, service.outer_addresses, service.captured_addresses
