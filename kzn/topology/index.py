"""The index: addresses to endpoints, as of a time; the `EndpointIndex` that resolving reads.

In: facts of pods, nodes and networks as sources learn them. Out: endpoint ids, columns, endpoints.
Never: I/O. One thread (the event loop's) changes it and reads it.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

import numpy as np

from kzn.columns.arrays import I32, U8
from kzn.model.endpoint import NODE, POD, STATIC, UNKNOWN, Endpoint, EndpointColumns, OwnedInterval
from kzn.topology.counts import IndexCounts
from kzn.topology.describe import node_endpoint, pod_endpoint
from kzn.topology.facts import Network, NodeFacts, PodFacts, Workload, is_older
from kzn.topology.networks import Networks
from kzn.topology.ownership.claims import Claims
from kzn.topology.ownership.ended import EndedOwners
from kzn.topology.ownership.intervals import Owner, Ownership
from kzn.topology.tables.address_table import UNOWNED
from kzn.topology.tables.endpoint_table import EndpointTable

F = TypeVar("F", PodFacts, NodeFacts)

HISTORY_SECONDS = 1800.0
"""How long an ended ownership is kept: how late a batch may come and still find who it was."""
RECYCLE_SECONDS = 3600.0
"""How long an ended endpoint's id names it; more than history + hold + a series' life (15 min)."""
WATCH_LAG = 10.0
"""How long news may be under way, to be lost when a watch breaks."""
MAX_HISTORY = 1_000_000
"""How many ended ownerships are kept at most (about 200 bytes each)."""


@dataclass(slots=True, eq=False)
class _Record(Generic[F]):
    facts: F
    workload: Workload
    owner: Owner | None = None
    is_gone: bool = False


class AddressIndex:
    """Endpoints by address and time. ``clock`` is monotonic, ``wall`` tells the epoch's seconds.

    When more is learned of an owner (its node's zone, its workload) it gets a new id, under which
    all its past is found too; the facts behind an id never change.
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
    ) -> None:
        self._clock, self._agents = clock, agents
        self._recycle = max(recycle, history)
        self._ownership = Ownership(history, max_history)
        self._table = EndpointTable()
        self._tenancy = Claims(
            self._table, self._ownership, clock=clock, wall=wall, recycle=self._recycle
        )
        self._pods: dict[str, _Record[PodFacts]] = {}
        self._pods_on: dict[str, set[str]] = {}
        self._nodes: dict[str, _Record[NodeFacts]] = {}
        self._node_by_name: dict[str, _Record[NodeFacts]] = {}
        self._dead_nodes = 0
        self._graves: EndedOwners[_Record[PodFacts]] = EndedOwners()
        self._landscape = Networks(self._table, self._tenancy.retire)
        self._listed = -inf

    # Reading: EndpointIndex.

    def lookup(self, addresses: U8, opened: float, closed: float, *, final: bool = True) -> I32:
        """Owners of ``addresses`` (n, 16) as of [opened, closed]: (n,) ids, or negative codes."""
        rows = np.ascontiguousarray(addresses, np.uint8).reshape(-1, 16)
        ids = self._ownership.find(rows, opened, closed, self._table.times, final=final)
        nobody = np.flatnonzero(ids == UNOWNED)
        if len(nobody):
            ids[nobody] = self._landscape.lookup(rows[nobody])
        return ids

    @property
    def columns(self) -> EndpointColumns:
        """The columns of all endpoint ids: views, valid until the index is next changed."""
        return self._table.columns

    def endpoint(self, endpoint_id: int) -> Endpoint:
        """The facts behind an id; KznError for one that is not, or no longer, given out."""
        return self._table[endpoint_id]

    def endpoints(self, numbers: list[int]) -> list[Endpoint | int]:
        """The facts behind each of many ids; a negative code stands for itself."""
        return self._table.all_of(numbers)

    @property
    def history(self) -> float:
        """How many seconds ended ownerships are kept."""
        return self._ownership.history

    def intervals(self, address: bytes) -> list[OwnedInterval]:
        """The pods and nodes that have or had ``address`` (16 bytes), the earliest first."""
        return [
            OwnedInterval(self._table[owner.id], begin, end, owner.leaving, owner.clear)
            for owner, begin, end in self._ownership.intervals(address)
        ]

    def node_code(self, node: str) -> int:
        """The code of a node by name; NO_CODE when not known."""
        return self._table.node_code(node)

    def node_endpoint(self, node: str) -> int:
        """The endpoint id of a node by name, for a while after its end too; else UNKNOWN."""
        record = self._node_by_name.get(node)
        return record.owner.id if record is not None and record.owner is not None else UNKNOWN

    def node_names(self) -> list[str]:
        """The names of all nodes that exist."""
        return [record.facts.name for record in self._nodes.values() if not record.is_gone]

    def has_agent(self, node: str) -> bool:
        """Whether a pod of ``agents``' ServiceAccounts is on the node, in whatever state."""
        here = self._pods_on.get(node, ())
        return any(self._pods[uid].facts.account in self._agents for uid in here)

    def lives(self, endpoint: Endpoint) -> bool:
        """Whether this very endpoint (same uid) exists now; static networks always do."""
        if endpoint.kind == STATIC:
            return True
        records = self._pods if endpoint.kind == POD else self._nodes
        record = records.get(endpoint.uid)
        return record is not None and not record.is_gone

    @property
    def landscape(self) -> Networks:
        """What addresses are that no pod and no node has: Services go there directly."""
        return self._landscape

    def counts(self) -> IndexCounts:
        """How much is known by now."""
        return IndexCounts(
            nodes=len(self._nodes) - self._dead_nodes,
            pods=len(self._pods),
            addresses=len(self._ownership),
            networks=self._landscape.networks,
            services=self._landscape.services,
            endpoints=len(self._table),
            ended_ownerships=self._ownership.ended,
            evicted_ownerships=self._ownership.evicted,
        )

    def pod(self, uid: str) -> PodFacts | None:
        """The facts of a living pod."""
        record = self._pods.get(uid)
        return record.facts if record is not None else None

    def pods_unheard(self, since: float) -> None:
        """Nothing is heard of pods ``since`` then (-inf: ever), until all are listed.

        Pods that come and go meanwhile will be in no list.
        """
        self._ownership.darken(since - WATCH_LAG)

    def pods_listed(self) -> None:
        """A list of all pods begins."""
        self._listed = self._clock()
        self._ownership.lighten(self._listed)

    # Changing: sources. ``listing`` is the number of the list that an object came in, 0 for a
    # watch event.

    def put_node(self, node: NodeFacts, *, listing: int = 0) -> None:
        """A node was added or changed."""
        self._expire()
        record = self._nodes.get(node.uid)
        if record is None:
            record = self._nodes[node.uid] = _Record(node, Workload("Node", node.name))
            self._landscape.put_ranges((), node.pod_cidrs)
        elif record.is_gone or is_older(node, record.facts):
            return
        self._landscape.put_ranges(record.facts.pod_cidrs, node.pod_cidrs)
        record.facts = node
        self._settle(record, node_endpoint(node), listing)
        self._name(record)

    def put_pod(self, pod: PodFacts, workload: Workload, *, listing: int = 0) -> None:
        """A pod was added or changed; one that is finished or on the host network owns nothing."""
        self._expire()
        if pod.uid in self._graves:
            return
        record = self._pods.get(pod.uid)
        if record is None:
            if pod.is_finished and not self._ended_lately(pod):
                return
            record = self._pods[pod.uid] = _Record(pod, workload)
            self._pods_on.setdefault(pod.node, set()).add(pod.uid)
        elif is_older(pod, record.facts):
            return
        elif record.facts.node != pod.node:
            self._leave_node(record.facts)
            self._pods_on.setdefault(pod.node, set()).add(pod.uid)
        record.facts, record.workload = pod, workload
        if pod.is_finished:
            self._finish(record)
        else:
            self._settle(record, self._pod_endpoint(record), listing)

    def drop_node(self, uid: str) -> None:
        """A node was deleted. Its name finds it for a while, unless another takes the name."""
        self._expire()
        record = self._nodes.get(uid)
        if record is None or record.is_gone:
            return
        record.is_gone = True
        self._landscape.put_ranges(record.facts.pod_cidrs, ())
        self._dead_nodes += 1
        if record.owner is not None:
            self._tenancy.end(record.owner, self._clock())
        self._graves.bury_node(uid, self._clock() + self._recycle)

    def drop_pod(self, uid: str) -> None:
        """A pod was deleted."""
        self._expire()
        record = self._pods.get(uid)
        if record is not None:
            self._bury(record, self._clock())

    def put_networks(self, networks: Sequence[Network]) -> None:
        """These networks, and no others, are known from now on."""
        self._landscape.put_networks(networks)

    def _name(self, record: _Record[NodeFacts]) -> None:
        """Let the node's name find it; a late word of an earlier node of that name does not."""
        name = record.facts.name
        known = self._node_by_name.setdefault(name, record)
        if known is not record and not known.is_gone and known.facts.version > record.facts.version:
            return
        self._node_by_name[name] = record
        for past in self._graves.found(name) if record.facts.zone else ():
            if past.owner is not None:
                self._tenancy.describe_past(past.owner, self._pod_endpoint(past))
        for uid in self._pods_on.get(name, ()):
            pod = self._pods[uid]
            if pod.owner is not None:
                self._tenancy.describe(pod.owner, self._pod_endpoint(pod))

    def _settle(self, record: _Record[F], endpoint: Endpoint, listing: int) -> None:
        wanted = record.facts.own_addresses
        if record.owner is not None:
            self._tenancy.describe(record.owner, endpoint)
        elif wanted or endpoint.kind == NODE:
            record.owner = self._tenancy.appoint(record.facts, endpoint, listing, self._listed)
        if record.owner is not None and record.owner.addresses != wanted:
            self._tenancy.hold(record.owner, wanted)
        if isinstance(record.facts, PodFacts) and record.facts.is_deleting and record.owner:
            self._tenancy.leaves(record.owner)

    def _finish(self, record: _Record[PodFacts]) -> None:
        pod = record.facts
        end = self._tenancy.end_of(pod)
        addresses = pod.own_addresses
        if record.owner is None and addresses:
            record.owner = self._tenancy.appoint(pod, self._pod_endpoint(record), 0, self._listed)
            self._tenancy.record(record.owner, addresses, end)
        self._bury(record, end)

    def _ended_lately(self, pod: PodFacts) -> bool:
        # Finished pods without a time stay listed for days: nothing says what they owned when.
        known = pod.finished is not None
        return known and self._clock() - self._tenancy.end_of(pod) < self._ownership.history

    def _bury(self, record: _Record[PodFacts], end: float) -> None:
        uid, node, until = record.facts.uid, record.facts.node, self._clock() + self._recycle
        if record.owner is not None and not self._pod_endpoint(record).zone:
            self._graves.bury_homeless(uid, record, node, until)
        else:
            self._graves.bury_pod(uid, until)
        if record.owner is not None:
            self._tenancy.end(record.owner, end)
        self._leave_node(record.facts)
        del self._pods[uid]

    def _leave_node(self, pod: PodFacts) -> None:
        here = self._pods_on[pod.node]
        here.remove(pod.uid)
        if not here:
            del self._pods_on[pod.node]

    def _expire(self) -> None:
        self._tenancy.expire()
        for uid in self._graves.forgotten(self._clock()):
            node = self._nodes.get(uid)
            if node is not None:
                del self._nodes[uid]
                self._dead_nodes -= 1
                if self._node_by_name.get(node.facts.name) is node:
                    del self._node_by_name[node.facts.name]

    def _pod_endpoint(self, record: _Record[PodFacts]) -> Endpoint:
        node = self._node_by_name.get(record.facts.node)
        return pod_endpoint(record.facts, record.workload, node.facts if node else None)
