"""The index: addresses to endpoints as of a time; the `EndpointIndex` that the resolver reads.

In: facts of pods, nodes and networks, as sources learn them. Out: endpoint ids, columns,
endpoints. Never: I/O, or more than one thread: the event loop's changes and reads it.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import islice
from math import inf

import numpy as np

from kzn.columns.arrays import BOOL, F64, I32, I64, OBJECTS, U8
from kzn.errors import KznError
from kzn.model.endpoint import NODE, POD, STATIC, UNKNOWN, Endpoint, EndpointColumns, OwnedInterval
from kzn.topology.agent_addresses import AgentAddresses, of_rows
from kzn.topology.describe import node_endpoint, pod_endpoint
from kzn.topology.facts import (
    NamespaceFacts,
    Network,
    NodeFacts,
    PodFacts,
    Workload,
    is_older,
)
from kzn.topology.groups import WorkloadGroups
from kzn.topology.networks import IN_POD_CIDR, Networks
from kzn.topology.noted_addresses import NotedAddresses
from kzn.topology.ownership.claims import Claims
from kzn.topology.ownership.ended import EndedOwners
from kzn.topology.ownership.intervals import Ownership
from kzn.topology.records import F, IndexCounts, Record, Records
from kzn.topology.tables.address_table import UNOWNED
from kzn.topology.tables.endpoint_table import EndpointTable
from kzn.topology.zones import Zones

HISTORY_SECONDS = 1800.0
"""How long an ended ownership is kept, hence how late a batch may arrive and still be resolved."""
RECYCLE_SECONDS = 3600.0
"""When an ended endpoint's id is reused: after history + retry queue + a series' life (15 min)."""
WATCH_LAG = 10.0
"""How old events in transit may be when a watch breaks and loses them."""
EXPIRE_SECONDS = 0.1
"""Between two looks at what is too old."""
DESCRIBED_AT_ONCE = 400
"""Pods with another group that `describe_some` describes, some 7 ms."""
MAX_HISTORY = 1_000_000
"""Most ended ownerships that are kept (about 200 bytes each)."""


class AddressIndex:
    """Endpoints by address and time. ``clock`` is monotonic, ``wall`` seconds since the epoch.

    The facts behind an id never change. An owner whose facts change (its node's zone, its workload)
    gets a new id, which look-ups of its past return too. ``agents`` are the ServiceAccounts
    (NAMESPACE/NAME) that kzn agents run under. ``zones`` places nodes and networks, and ``groups``
    knows the teams of workloads.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        history: float = HISTORY_SECONDS,
        recycle: float = RECYCLE_SECONDS,
        max_history: int = MAX_HISTORY,
        agents: Container[str] = (),
        zones: Zones | None = None,
        groups: WorkloadGroups | None = None,
    ) -> None:
        self._clock, self._agents = clock, agents
        self.zones = zones or Zones()
        self.groups = groups or WorkloadGroups()
        self._recycle = max(recycle, history)
        self._ownership = Ownership(history, max_history)
        self._table = EndpointTable()
        self._claims = Claims(
            self._table, self._ownership, clock=clock, wall=wall, recycle=self._recycle
        )
        self._records = Records()
        self._pods, self._nodes = self._records.pods, self._records.nodes
        self._has_price_classes = False
        self._ended: EndedOwners[Record[PodFacts]] = EndedOwners()
        self._networks = Networks(self._table, self._claims.retire)
        self._told = AgentAddresses(history)
        self._by_agents: dict[str, tuple[bytes, ...]] = {}
        self._last_list = self._expired = -inf
        self._ended_unsettled: dict[str, Record[PodFacts]] = {}
        self._to_describe: dict[str, None] = {}
        self._noted = NotedAddresses(history)

    # EndpointIndex, for readers.

    def lookup(
        self,
        addresses: U8,
        opened: float | F64,
        closed: float | F64,
        *,
        final: bool = True,
        held: bool = False,
        node: str | OBJECTS = "",
    ) -> I32:
        """Owners of ``addresses`` (n, 16) as of [opened, closed]: (n,) ids, or negative codes.

        Times and node are of all addresses, or, unless ``held``, of each of them: (n,).
        Pods and nodes come first, then Services and networks, then what agents told and annotations
        of nodes and of pods have, last the pod CIDRs (if ``held``).
        """
        rows = np.ascontiguousarray(addresses, np.uint8).reshape(-1, 16)
        ids = self._ownership.find(rows, opened, closed, self._table.times, final=final)
        unowned = np.flatnonzero(ids == UNOWNED)
        if len(unowned):
            ids[unowned] = self._networks.lookup(rows[unowned])
            if self._told.has_any:
                left = unowned[ids.take(unowned) < 0]
                self._told.fill_in(ids, left, rows, opened, node, self._records.node_endpoint)
            if self._noted.has_any:
                left = unowned[ids.take(unowned) < 0]
                self._noted.fill_in(ids, left, rows, of_rows(opened, left), of_rows(closed, left))
            in_pod_cidr = unowned[ids.take(unowned) <= IN_POD_CIDR]
            if len(in_pod_cidr):
                self._fill_in_pod_cidrs(ids, in_pod_cidr, opened, closed, held=held)
        return ids

    @property
    def columns(self) -> EndpointColumns:
        """The columns of all endpoint ids: views, valid until the index is next changed."""
        return self._table.columns

    def endpoint(self, endpoint_id: int) -> Endpoint:
        """The facts behind an id; KznError for an id not in use."""
        return self._table[endpoint_id]

    def endpoints(self, numbers: list[int]) -> list[Endpoint | int]:
        """The facts behind each id; negative codes are returned as they are."""
        return self._table.all_of(numbers)

    @property
    def history(self) -> float:
        """How many seconds ended ownerships are kept."""
        return self._ownership.history

    def intervals(self, address: bytes) -> list[OwnedInterval]:
        """The pods and nodes that have or had ``address`` (16 bytes), the earliest first.

        Nodes whose agents told it come last, without a begin.
        """
        told = [
            OwnedInterval(self._table[owner], -inf, end, inf, -inf)
            for number, end in self._told.intervals(address)
            if (owner := self.node_endpoint(self._told.name(number))) >= 0
        ]
        return [
            OwnedInterval(
                self._table[owner.id], begin, end, owner.deleting_since, owner.exclusive_since
            )
            for owner, begin, end in self._ownership.intervals(address)
        ] + told

    def told_by_agent(self, address: bytes, node: str, at: float) -> bool:
        """Whether ``address`` (16 bytes) is a node's only because the node's agent told it."""
        owned = (end > at for _, _, end in self._ownership.intervals(address))
        return address in self._by_agents.get(node, ()) and not any(owned)

    def node_code(self, node: str) -> int:
        """The code of a node by name; NO_CODE when not known."""
        return self._table.node_code(node)

    def node_endpoint(self, node: str) -> int:
        """The endpoint id of a node by name, also for a time after its deletion; else UNKNOWN."""
        return self._records.node_endpoint(node)

    def node_names(self) -> list[str]:
        """The names of all nodes that exist."""
        return [facts.name for facts in self._records.existing_nodes()]

    def nodes(self) -> Iterator[NodeFacts]:
        """The nodes that exist, in the zones that count."""
        return self._records.existing_nodes()

    def has_agent(self, node: str) -> bool:
        """Whether the node has a pod of ``agents``' ServiceAccounts, in any phase."""
        return self._records.has_pod_of(self._agents, node)

    def agentless_nodes(self) -> list[str]:
        """The names of nodes that exist and cannot have an agent."""
        return [facts.name for facts in self.nodes() if facts.is_agentless]

    def proxied(self, addresses: U8) -> BOOL:
        """See `Networks.proxied`."""
        return self._networks.proxied(addresses)

    def captured(self, addresses: U8) -> BOOL:
        """See `Networks.captured`."""
        return self._networks.captured(addresses)

    def lives(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint exists now: a pod or node by its uid, a network by its name."""
        if endpoint.kind == STATIC:
            return self._networks.has_network(endpoint.workload_kind, endpoint.workload)
        record = (self._pods if endpoint.kind == POD else self._nodes).get(endpoint.uid)
        return record is not None and not record.is_deleted

    @property
    def networks(self) -> Networks:
        """Services and networks: what addresses of no pod and no node are."""
        return self._networks

    def counts(self) -> IndexCounts:
        """How much is in the index."""
        return IndexCounts(
            nodes=self._records.node_count,
            pods=len(self._pods),
            addresses=len(self._ownership),
            networks=self._networks.network_count,
            services=self._networks.service_count,
            endpoints=len(self._table),
            ended_ownerships=self._ownership.ended,
            evicted_ownerships=self._ownership.evicted,
            agent_addresses=len(self._told),
            ignored_addresses=dict(self._told.ignored),
        )

    def pod(self, uid: str) -> PodFacts | None:
        """The facts of a pod that exists; None for others."""
        record = self._pods.get(uid)
        return record.facts if record is not None else None

    def static_pods(self) -> Iterator[tuple[PodFacts, Workload | None]]:
        """All pods with their workloads, if one of them ever had a price class; else none."""
        records = self._pods.values() if self._has_price_classes else ()
        return ((record.facts, record.workload) for record in records)

    def nodes_of_pods(self) -> list[str]:
        """The names of nodes that pods are scheduled to."""
        return self._records.nodes_of_pods()

    def pods_of(self, node: str) -> list[tuple[PodFacts, Workload | None]]:
        """The pods of a node by name, with their workloads where those are known."""
        return [(record.facts, record.workload) for record in self._records.pods_on(node)]

    def pod_watch_lost(self, since: float) -> None:
        """The pod watch has delivered nothing since ``since`` (-inf: ever), until the next list.

        That list omits pods that are created and deleted in between.
        """
        self._ownership.watch_gap_begins(since - WATCH_LAG)

    def pod_list_begins(self) -> None:
        """A list of all pods begins."""
        self._last_list = self._clock()
        self._ownership.watch_gap_ends(self._last_list)

    def put_agent_addresses(self, node: str, addresses: Sequence[bytes]) -> tuple[bytes, ...]:
        """The agent of ``node`` told all its addresses; they replace those told before.

        Returns the globally routable ones that are new and its object has not. For a node that is
        not in the topology they are kept until it is.
        """
        record = self._records.node(node)
        if record is None or record.is_deleted:
            self._told.wait(node, addresses)
            return ()
        self._by_agents[node] = tuple(addresses)
        noted = record.facts.noted_addresses
        is_service, now = self._networks.is_service, self._clock()
        public = self._told.tell(node, [*addresses, *noted], is_service, now)
        return tuple(a for a in public if a not in noted and a not in record.facts.addresses)

    # For sources. ``listing`` is the number of the list that an object came in, 0 for a watch
    # event.

    def put_node(self, node: NodeFacts, *, listing: int = 0) -> None:
        """A node was added or changed."""
        self._expire()
        record = self._nodes.get(node.uid)
        if record is not None and (record.is_deleted or is_older(node, record.facts)):
            return
        self._put_node(self.zones.put_node(node), listing)
        if self.zones.learn(node):
            nodes, networks = self.zones.again()
            for other in nodes:
                self._put_node(other, 0)
            self._networks.put_networks(networks)

    def put_pod(self, pod: PodFacts, workload: Workload | None, *, listing: int = 0) -> bool:
        """A pod was added or changed; finished and host-network pods own no address.

        Without a workload its addresses are taken and nothing can be charged to it until
        `settle_workload`. Returns whether the pod exists.
        """
        self._expire()
        if pod.uid in self._ended:
            return False
        record = self._pods.get(pod.uid)
        is_new = record is None
        if record is None:
            if pod.is_finished:
                self.groups.put_ended_pod(pod, workload)
                if not self._ended_recently(pod):
                    return False
            record = self._records.add_pod(Record(pod, workload))
        elif is_older(pod, record.facts):
            return True
        elif record.facts.node != pod.node:
            self._records.move_pod(record, pod.node)
        record.facts, record.workload = pod, workload
        self._has_price_classes |= bool(pod.price_class)
        if not is_new or not pod.is_finished:
            self._describe_later(self.groups.put_pod(pod, workload))
        if pod.is_finished:
            self._finish_pod(record)
            return False
        self._update_owner(record, self._pod_endpoint(record), listing)
        if record.owner is not None and (self._noted.has_any or pod.noted_addresses):
            self._noted.put(record.owner, pod.noted_addresses, self._clock())
        return True

    def has_workload(self, uid: str) -> bool:
        """Whether a pod that exists has a workload."""
        record = self._pods.get(uid)
        return record is not None and record.workload is not None

    def settle_workload(self, uid: str, workload: Workload) -> None:
        """The workload of a pod that was put without one; the pod may have ended."""
        record = self._pods.get(uid)
        if record is not None:
            record.workload = workload
            self._describe_later(self.groups.put_pod(record.facts, workload))
            self._describe_pod(record)
            return
        record = self._ended_unsettled.pop(uid, None)
        if record is None or record.owner is None:
            return
        record.workload = workload
        if self._pod_endpoint(record).zone:
            self._claims.describe_past(record.owner, self._pod_endpoint(record))
        else:
            until = self._clock() + self._recycle
            self._ended.remember_without_zone(uid, record, record.facts.node, until)

    def drop_node(self, uid: str) -> None:
        """A node was deleted; `node_endpoint` returns it for a while, unless its name is reused."""
        self._expire()
        record = self._nodes.get(uid)
        if record is None or record.is_deleted:
            return
        self._records.delete_node(record)
        self.zones.drop_node(uid)
        self._networks.put_pod_cidrs(uid, record.facts.name, ())
        self._told.put_pod_cidrs(uid, record.facts.name, ())
        if self._records.node(record.facts.name) is record:
            self._by_agents.pop(record.facts.name, None)
            self._told.end_node(record.facts.name, self._clock())
        if record.owner is not None:
            self._claims.end(record.owner, self._clock())
        self._ended.remember_node(uid, self._clock() + self._recycle)

    def drop_pod(self, uid: str) -> None:
        """A pod was deleted."""
        self._expire()
        record = self._pods.get(uid)
        if record is not None:
            self._end_pod(record, self._clock())

    def put_namespace(self, namespace: NamespaceFacts, *, listing: int = 0) -> None:
        """A namespace was listed, added or changed."""
        del listing
        self._describe_later(self.groups.put_namespace(namespace))

    def drop_namespace(self, uid: str) -> None:
        """A namespace was deleted."""
        self.groups.drop_namespace(uid)

    def prepare(self) -> None:
        """Make what the first batch would wait for; called once everything is listed."""
        self._networks.prepare()

    def describe_some(self) -> bool:
        """Give pods of a changed group their new one, at each tick; True when more is due.

        Pods that are added or changed have it at once.
        """
        for uid in list(islice(self._to_describe, DESCRIBED_AT_ONCE)):
            del self._to_describe[uid]
            self._describe_pod(self._pods[uid])
        return bool(self._to_describe)

    def put_networks(self, networks: Sequence[Network]) -> None:
        """Replace all networks."""
        self._networks.put_networks(self.zones.put_networks(networks))

    def _put_node(self, node: NodeFacts, listing: int) -> None:
        record = self._nodes.get(node.uid)
        noted_before = record.facts.noted_addresses if record is not None else ()
        if record is None:
            record = self._nodes[node.uid] = Record(node, Workload("Node", node.name))
        self._networks.put_pod_cidrs(node.uid, node.name, node.pod_cidrs)
        self._told.put_pod_cidrs(node.uid, node.name, node.pod_cidrs)
        record.facts = node
        self._update_owner(record, node_endpoint(node), listing)
        self._bind_name(record)
        told = self._told.take_waiting(node.name)
        if told or noted_before != node.noted_addresses:
            self.put_agent_addresses(node.name, told or self._by_agents.get(node.name, ()))

    def _fill_in_pod_cidrs(
        self, ids: I32, left: I64, opened: float | F64, closed: float | F64, *, held: bool
    ) -> None:
        """Give the rows ``left`` to the nodes in whose pod CIDRs they are, if that is certain.

        It is not while a pod that the server has not seen may have the address, nor where the CNI
        plugin does not assign addresses from these ranges.
        """
        codes = ids.take(left)
        ids[left] = UNKNOWN
        if not held:
            return
        if isinstance(opened, np.ndarray) or isinstance(closed, np.ndarray):
            raise KznError("held addresses are looked up for one interval")
        if self._ownership.has_watch_gap(opened, closed):
            return
        self._networks.fill_in_pod_cidrs(ids, left, codes, self._records.owner_of_pod_cidrs)

    def _bind_name(self, record: Record[NodeFacts]) -> None:
        """Make the record the node of its name, unless a later node of that name exists."""
        if not self._records.bind_name(record):
            return
        name = record.facts.name
        for past in self._ended.take_without_zone(name) if record.facts.zone else ():
            if past.owner is not None:
                self._claims.describe_past(past.owner, self._pod_endpoint(past))
        for pod in self._records.pods_on(name):
            self._describe_pod(pod)

    def _describe_pod(self, record: Record[PodFacts]) -> None:
        if record.owner is not None:
            self._claims.describe(record.owner, self._pod_endpoint(record))

    def _describe_later(self, uids: Iterable[str]) -> None:
        """Their group is another one: of a namespace they may be most pods of the cluster."""
        self._to_describe.update(dict.fromkeys(uids))

    def _update_owner(self, record: Record[F], endpoint: Endpoint, listing: int) -> None:
        wanted = record.facts.own_addresses
        if record.owner is not None:
            self._claims.describe(record.owner, endpoint)
        elif wanted or endpoint.kind == NODE:
            record.owner = self._claims.new_owner(record.facts, endpoint, listing, self._last_list)
        if record.owner is not None and record.owner.addresses != wanted:
            self._claims.set_addresses(record.owner, wanted)
        if isinstance(record.facts, PodFacts) and record.facts.is_deleting and record.owner:
            self._claims.deletion_announced(record.owner)

    def _finish_pod(self, record: Record[PodFacts]) -> None:
        pod = record.facts
        end, addresses = self._claims.end_of(pod), pod.own_addresses
        if record.owner is None and addresses:
            record.owner = self._claims.new_owner(
                pod, self._pod_endpoint(record), 0, self._last_list
            )
            self._claims.record(record.owner, addresses, end)
        self._end_pod(record, end)

    def _ended_recently(self, pod: PodFacts) -> bool:
        # Finished pods stay listed for days; without an end time their history is unknown.
        return pod.finished is not None and self._clock() - self._claims.end_of(pod) < self.history

    def _end_pod(self, record: Record[PodFacts], end: float) -> None:
        uid, node, until = record.facts.uid, record.facts.node, self._clock() + self._recycle
        if uid in self._to_describe:
            del self._to_describe[uid]
            self._describe_pod(record)
        if record.workload is None:
            self._ended_unsettled[uid] = record
            self._ended.remember_pod(uid, until)
        elif record.owner is not None and not self._pod_endpoint(record).zone:
            self._ended.remember_without_zone(uid, record, node, until)
        else:
            self._ended.remember_pod(uid, until)
        if record.owner is not None:
            self._noted.put(record.owner, (), end)
            self._claims.end(record.owner, end)
        self._records.drop_pod(uid)
        self._describe_later(self.groups.drop_pod(uid))

    def _expire(self) -> None:
        now = self._clock()
        if 0.0 <= now - self._expired < EXPIRE_SECONDS and not self._ownership.is_over_limit:
            return  # each event comes here: this would be a tenth of what it costs
        self._expired = now
        self._claims.expire()
        self._told.expire(now)
        self._noted.expire(now)
        for uid in self._ended.expire(now):
            self._records.forget_node(uid)

    def _pod_endpoint(self, record: Record[PodFacts]) -> Endpoint:
        node = self._records.node(record.facts.node)
        facts, workload = record.facts, record.workload
        group = self.groups.of(facts.namespace, workload) if workload is not None else ""
        return pod_endpoint(facts, workload, node.facts if node else None, group)
