"""Which workloads are copies of each other's data, or members of one cluster. Pure.

In: flows, Services, workloads. Out: whether a flow is between copies, and who may not move towards
whom. Never: a guess from flows whose opener is not known.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from kzn.advisor.facts import POD, Flow, Party, Service, Workload

_Port = tuple[int, str]
_STATELESS = (
    *("Deployment", "ReplicaSet", "ReplicationController", "DaemonSet", "Job", "CronJob", "Pod"),
    *("Rollout", "CloneSet", "Workflow"),
)
"""Kinds whose pods have no data of their own without claims; operators' own kinds mostly have."""


class Copies:
    """What the flows and Services of a window show."""

    def __init__(
        self,
        flows: Iterable[Flow],
        services: Mapping[Party, Sequence[Service]],
        workloads: Mapping[Party, Workload],
    ) -> None:
        self._services = services
        self._workloads = workloads
        self._opened: dict[tuple[Party, Party], set[_Port]] = {}
        self._names: dict[tuple[Party, _Port], frozenset[str]] = {}
        self._crossing: dict[tuple[Party, Party], set[_Port]] = {}
        for flow in flows:
            if flow.initiator in ("source", "destination") and flow.src != flow.dst:
                pair, port = (flow.client, flow.server), (flow.port, flow.protocol)
                self._opened.setdefault(pair, set()).add(port)
                if flow.crosses:
                    self._crossing.setdefault(pair, set()).add(port)

    def is_copy(self, flow: Flow) -> bool:
        """Whether both ends are one workload, or several that keep the same data.

        Several do if a Service has both behind the flow's port, or if both have data of their own
        and open connections to each other.
        """
        one, other = flow.src, flow.dst
        if one == other or self._are_behind_one(one, other, (flow.port, flow.protocol)):
            return True
        return self.are_mutual(one, other) and self._has_data(one) and self._has_data(other)

    def are_mutual(self, one: Party, other: Party) -> bool:
        """Whether both open connections to each other."""
        return (one, other) in self._opened and (other, one) in self._opened

    def are_peers(self, one: Party, other: Party, port: int, protocol: str) -> bool:
        """Whether both open connections to each other at this port."""
        pairs = (self._opened.get(pair, set()) for pair in ((one, other), (other, one)))
        return all((port, protocol) in ports for ports in pairs)

    def is_placed(self, party: Party) -> bool:
        """Whether where it runs may be a matter of its peers: of copies, or of workloads in other
        zones that it opens connections to at a port at which they open connections to it.
        """
        return party in self._placed or party in self._copied

    def has_copies(self, party: Party) -> bool:
        """Whether another workload keeps the same data."""
        return party in self._copied

    @cached_property
    def _placed(self) -> frozenset[Party]:
        return frozenset(
            one
            for (one, other), ports in self._crossing.items()
            if ports & self._crossing.get((other, one), set())
        )

    @cached_property
    def _copied(self) -> frozenset[Party]:
        found: set[Party] = set()
        for (one, other), ports in self._opened.items():
            is_mutual = self.are_mutual(one, other)
            if (is_mutual and self._has_data(one) and self._has_data(other)) or any(
                self._are_behind_one(one, other, port) for port in ports
            ):
                found |= {one, other}
        return frozenset(found)

    def _are_behind_one(self, one: Party, other: Party, port: _Port) -> bool:
        return not self._names_of(one, port).isdisjoint(self._names_of(other, port))

    def _names_of(self, party: Party, port: _Port) -> frozenset[str]:
        """The Services that have the workload behind a port."""
        key = party, port
        if key not in self._names:
            found = self._services.get(party, ())
            self._names[key] = frozenset(str(one) for one in found if port in one.target_ports)
        return self._names[key]

    def _has_data(self, party: Party) -> bool:
        known = self._workloads.get(party)
        has_claims = known is not None and known.has_claims
        return party.kind == POD and (has_claims or party.workload_kind not in _STATELESS)
