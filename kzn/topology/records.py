"""Pods and nodes by uid, nodes by name, and the pods of each node.

In: records, as the index makes them. Out: the records, and which objects exist. Never: an address:
who had one when is ownership's.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kzn.model.endpoint import UNKNOWN
from kzn.model.ip import MAPPED_PREFIX
from kzn.topology.facts import NodeFacts, PodFacts, Workload, address_range
from kzn.topology.ownership.intervals import Owner

F = TypeVar("F", PodFacts, NodeFacts)


@dataclass(slots=True, eq=False)
class Record(Generic[F]):
    """An object as it was last seen; ``owner`` is None while it has no address."""

    facts: F
    workload: Workload | None
    owner: Owner | None = None
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class IndexCounts:
    """Contents of an index, for metrics. ``addresses`` includes those of ended ownerships.

    ``agent_addresses`` are those that agents told, ``ignored_addresses`` those that were not taken,
    by reason.
    """

    nodes: int
    pods: int
    addresses: int
    networks: int
    services: int
    endpoints: int
    ended_ownerships: int
    evicted_ownerships: int
    agent_addresses: int = 0
    ignored_addresses: Mapping[str, int] = field(default_factory=dict)


class Records:
    """All records. A deleted node stays for a while, a pod that has ended does not."""

    __slots__ = ("_by_name", "_deleted", "_on_node", "nodes", "pods")

    def __init__(self) -> None:
        self.pods: dict[str, Record[PodFacts]] = {}
        self.nodes: dict[str, Record[NodeFacts]] = {}
        self._on_node: dict[str, set[str]] = {}
        self._by_name: dict[str, Record[NodeFacts]] = {}
        self._deleted = 0

    @property
    def node_count(self) -> int:
        """How many nodes exist."""
        return len(self.nodes) - self._deleted

    def node(self, name: str) -> Record[NodeFacts] | None:
        """The last node of a name, which may be deleted."""
        return self._by_name.get(name)

    def node_endpoint(self, name: str) -> int:
        """The endpoint id of the last node of a name; else UNKNOWN."""
        record = self._by_name.get(name)
        return record.owner.id if record is not None and record.owner is not None else UNKNOWN

    def existing_nodes(self) -> Iterator[NodeFacts]:
        """The nodes that exist."""
        return (record.facts for record in self.nodes.values() if not record.is_deleted)

    def add_pod(self, record: Record[PodFacts]) -> Record[PodFacts]:
        """Add a pod."""
        self.pods[record.facts.uid] = record
        self._on_node.setdefault(record.facts.node, set()).add(record.facts.uid)
        return record

    def move_pod(self, record: Record[PodFacts], node: str) -> None:
        """The pod is on another node than its facts say."""
        self._leave_node(record.facts)
        self._on_node.setdefault(node, set()).add(record.facts.uid)

    def drop_pod(self, uid: str) -> None:
        """The pod has ended."""
        self._leave_node(self.pods.pop(uid).facts)

    def pods_on(self, node: str) -> Iterator[Record[PodFacts]]:
        """The pods of a node by name."""
        return (self.pods[uid] for uid in self._on_node.get(node, ()))

    def nodes_of_pods(self) -> list[str]:
        """The names of nodes that pods are scheduled to."""
        return [node for node in self._on_node if node]

    def has_pod_of(self, accounts: Container[str], node: str) -> bool:
        """Whether the node has a pod of one of these ServiceAccounts, in any phase."""
        return any(record.facts.account in accounts for record in self.pods_on(node))

    def bind_name(self, record: Record[NodeFacts]) -> bool:
        """Make the record the node of its name; False if a later node of that name exists."""
        known = self._by_name.setdefault(record.facts.name, record)
        is_later = known.facts.version > record.facts.version
        if known is not record and not known.is_deleted and is_later:
            return False
        self._by_name[record.facts.name] = record
        return True

    def delete_node(self, record: Record[NodeFacts]) -> None:
        """The node is deleted; its record stays until `forget_node`."""
        record.is_deleted = True
        self._deleted += 1

    def forget_node(self, uid: str) -> None:
        """Forget a deleted node; of another uid nothing."""
        node = self.nodes.pop(uid, None)
        if node is not None:
            self._deleted -= 1
            if self._by_name.get(node.facts.name) is node:
                del self._by_name[node.facts.name]

    def owner_of_pod_cidrs(self, node: str) -> int:
        """The endpoint id of a node whose pods have addresses of its pod CIDRs; else UNKNOWN."""
        owner = self.node_endpoint(node)
        return owner if owner >= 0 and self._uses_pod_cidrs(node) else UNKNOWN

    def _uses_pod_cidrs(self, node: str) -> bool:
        """Whether the node's pods have their addresses within its pod CIDRs of the same family."""
        cidrs = self._by_name[node].facts.pod_cidrs
        ranges = [address_range(cidr) for cidr in cidrs]
        families = {first.startswith(MAPPED_PREFIX) for first, _ in ranges}
        return all(
            any(first <= address <= last for first, last in ranges)
            for record in self.pods_on(node)
            for address in record.facts.own_addresses
            if address.startswith(MAPPED_PREFIX) in families
        )

    def _leave_node(self, pod: PodFacts) -> None:
        here = self._on_node[pod.node]
        here.remove(pod.uid)
        if not here:
            del self._on_node[pod.node]
