"""Measured flows sorted by Service and by pair of workloads: what the rules look at. Pure.

In: facts. Out: for each Service the bytes between zones of clients and of endpoints.
Never: a flow in two Services: one that several could have carried is the first one's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kzn.advisor.copies import Copies
from kzn.advisor.facts import Cluster, Flow, Party, Service, Window, Workload
from kzn.advisor.prices import At, PriceOf
from kzn.pricing.traffic import Quote, Unpriced

Matrix = Mapping[tuple[str, str], float]
"""Bytes of both directions by zone of the client and zone of the server."""


@dataclass(frozen=True)
class ServiceTraffic:
    """The flows between the clients of a Service and its endpoints, both directions.

    Flows without a zone at an end, and those between copies (copies.py), are not among them.
    ``namesakes`` are other Services that may have carried them. ``own_crossing`` are bytes between
    zones that copies send each other at its ports.
    """

    service: Service
    flows: tuple[Flow, ...]
    namesakes: tuple[Service, ...] = ()
    own_crossing: int = 0

    @cached_property
    def matrix(self) -> Matrix:
        """The bytes of the window."""
        return matrix_of(self.flows)

    @cached_property
    def peak(self) -> Matrix:
        """The bytes of the hour that has most of them; of the window if hours are not known."""
        sums: dict[int, int] = {}
        for flow in self.flows:
            for step, size in enumerate(flow.series):
                sums[step] = sums.get(step, 0) + size
        if not any(sums.values()):
            return self.matrix
        busiest = max(sums, key=lambda step: sums[step])
        found: dict[tuple[str, str], float] = {}
        for flow in self.flows:
            size = flow.series[busiest] if busiest < len(flow.series) else 0
            if size:
                key = flow.client_zone, flow.server_zone
                found[key] = found.get(key, 0) + size
        return found

    @cached_property
    def crossing(self) -> int:
        """Bytes between two zones."""
        return sum(flow.bytes for flow in self.flows if flow.crosses)

    @cached_property
    def clients(self) -> tuple[Party, ...]:
        """The workloads that open connections to it, most bytes first."""
        sums: dict[Party, int] = {}
        for flow in self.flows:
            sums[flow.client] = sums.get(flow.client, 0) + flow.bytes
        return tuple(sorted(sums, key=lambda party: (-sums[party], party)))

    @property
    def client_zones(self) -> tuple[str, ...]:
        """The zones with clients."""
        return tuple(sorted({zone for zone, _ in self.matrix}))


@dataclass(frozen=True, slots=True)
class Pair:
    """The flows between a client workload and a server workload at one port, both directions."""

    client: Party
    server: Party
    port: int
    protocol: str
    flows: tuple[Flow, ...]

    @property
    def subject(self) -> str:
        """Its name in proposals."""
        return f"{self.client.key}~{self.server.key}:{self.port}/{self.protocol}"

    @property
    def crossing(self) -> int:
        """Bytes between two zones."""
        return sum(flow.bytes for flow in self.flows if flow.crosses)

    @property
    def requests(self) -> int:
        """Bytes from the client to the server."""
        return sum(flow.bytes for flow in self.flows if flow.is_request)

    @property
    def responses(self) -> int:
        """Bytes from the server to the client."""
        return sum(flow.bytes for flow in self.flows if not flow.is_request)


@dataclass(frozen=True)
class World:
    """Everything that a rule may read. ``services`` are without those that have no endpoint."""

    window: Window
    flows: Sequence[Flow]
    services: Sequence[Service]
    workloads: Mapping[Party, Workload]
    cluster: Cluster
    price_of: PriceOf
    unseen_bytes: int = 0
    """Bytes of the window that are in none of the flows: there were too many groups."""
    notes: tuple[str, ...] = field(default=())
    is_part: bool = False
    """Whether agents of some nodes report elsewhere, so that only a part of the traffic is seen."""

    def workload(self, party: Party) -> Workload:
        """What is known of a workload."""
        return self.workloads.get(party) or Workload(party)

    def price(self, flow: Flow) -> Quote | Unpriced:
        """What a byte of a flow costs."""
        src, dst = (
            At(zone, end.kind, end.workload)
            for end, zone in ((flow.src, flow.src_zone), (flow.dst, flow.dst_zone))
        )
        return self.price_of(flow.cls, src, dst)

    def price_inside(self, flow: Flow) -> Quote | Unpriced:
        """What it costs once both ends are in the client's zone."""
        src, dst = (At(flow.client_zone, end.kind, end.workload) for end in (flow.src, flow.dst))
        return self.price_of("same_zone", src, dst)

    @cached_property
    def copies(self) -> Copies:
        """Which workloads keep the same data."""
        return Copies(self.flows, self.services_of, self.workloads)

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Pairs of two workloads that are not copies, most crossing bytes first."""
        found: dict[tuple[Party, Party, int, str], list[Flow]] = {}
        for flow in self.flows:
            if not self.copies.is_copy(flow):
                key = flow.client, flow.server, flow.port, flow.protocol
                found.setdefault(key, []).append(flow)
        pairs = [Pair(*key, tuple(flows)) for key, flows in found.items()]
        return tuple(sorted(pairs, key=lambda one: (-one.crossing, one.client, one.server)))

    @cached_property
    def flows_of(self) -> Mapping[Party, tuple[Flow, ...]]:
        """The flows of each workload with others, of both directions."""
        found: dict[Party, list[Flow]] = {}
        for flow in self.flows:
            if flow.src != flow.dst:
                found.setdefault(flow.src, []).append(flow)
                found.setdefault(flow.dst, []).append(flow)
        return {party: tuple(flows) for party, flows in found.items()}

    @cached_property
    def traffic(self) -> tuple[ServiceTraffic, ...]:
        """The Services that flows went through, by name."""
        services: dict[tuple[Party, int, str], list[Service]] = {}
        # A headless Service does not carry what another one may have carried.
        for service in sorted(self.services, key=lambda one: (one.is_headless, str(one))):
            for party in service.parties:
                for port, protocol in service.target_ports:
                    services.setdefault((party, port, protocol), []).append(service)
        flows: dict[str, list[Flow]] = {}
        others: dict[str, dict[str, Service]] = {}
        own: dict[str, int] = {}
        named: set[tuple[Party, int, str]] = set()
        for flow in self.flows:
            key = flow.server, flow.port, flow.protocol
            found = services.get(key)
            is_placed = flow.client_zone and flow.server_zone
            if not found or not is_placed:
                continue
            name = str(found[0])
            if self.copies.is_copy(flow):
                own[name] = own.get(name, 0) + flow.bytes * flow.crosses
                continue
            flows.setdefault(name, []).append(flow)
            if key not in named:  # thousands of Services may have the same pods
                named.add(key)
                others.setdefault(name, {}).update((str(one), one) for one in found[1:])
        by_name = {str(one): one for one in self.services}
        return tuple(
            ServiceTraffic(
                by_name[name], tuple(flows[name]), tuple(others[name].values()), own.get(name, 0)
            )
            for name in sorted(flows)
        )

    @cached_property
    def services_of(self) -> Mapping[Party, tuple[Service, ...]]:
        """The Services of each workload."""
        found: dict[Party, list[Service]] = {}
        for service in self.services:
            for party in service.parties:
                found.setdefault(party, []).append(service)
        return {party: tuple(services) for party, services in found.items()}


def matrix_of(flows: Sequence[Flow]) -> Matrix:
    """The bytes of flows by zones of client and server."""
    found: dict[tuple[str, str], float] = {}
    for flow in flows:
        key = flow.client_zone, flow.server_zone
        found[key] = found.get(key, 0) + flow.bytes
    return found
