"""A naive index: the last event about an address wins. It must fail under churn."""

import numpy as np
from churn_run import Replay

from kzn.columns.arrays import BOOL, F64, I32, OBJECTS, U8
from kzn.model.endpoint import UNKNOWN, Endpoint, EndpointColumns
from kzn.topology.describe import node_endpoint, pod_endpoint
from kzn.topology.facts import NodeFacts, PodFacts, Workload
from kzn.topology.tables.endpoint_table import EndpointTable


class LastEventWins:
    """One owner per address, that of the last event; no times, no versions."""

    def __init__(self, _replay: Replay) -> None:
        self._table = EndpointTable()
        self._owner: dict[bytes, int] = {}
        self._pods: dict[str, tuple[bytes, ...]] = {}
        self._nodes: dict[str, tuple[NodeFacts, int]] = {}

    def put_node(self, node: NodeFacts, *, listing: int = 0) -> None:
        """A node was added or changed."""
        del listing
        self._nodes[node.name] = node, self._table.add(node_endpoint(node), 0.0)

    def put_pod(self, pod: PodFacts, workload: Workload, *, listing: int = 0) -> None:
        """A pod was added or changed."""
        del listing
        node = self._nodes.get(pod.node)
        number = self._table.add(pod_endpoint(pod, workload, node[0] if node else None), 0.0)
        self._pods[pod.uid] = pod.addresses
        self._owner.update(dict.fromkeys(pod.addresses, number))

    def drop_pod(self, uid: str) -> None:
        """A pod was deleted."""
        for address in self._pods.pop(uid, ()):
            self._owner.pop(address, None)

    def pod_watch_lost(self, since: float) -> None:
        """Ignored."""

    def pod_list_begins(self) -> None:
        """Ignored."""

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
        """Owners as of the last event."""
        del opened, closed, final, held, node
        owners = [self._owner.get(row.tobytes(), UNKNOWN) for row in addresses]
        return np.array(owners, np.int32)

    @property
    def columns(self) -> EndpointColumns:
        """The columns of all ids."""
        return self._table.columns

    def endpoint(self, endpoint_id: int) -> Endpoint:
        """The facts behind an id."""
        return self._table[endpoint_id]

    def endpoints(self, numbers: list[int]) -> list[Endpoint | int]:
        """The facts behind many ids."""
        return self._table.all_of(numbers)

    def node_code(self, node: str) -> int:
        """The code of a node."""
        return self._table.node_code(node)

    def node_endpoint(self, node: str) -> int:
        """The endpoint id of a node."""
        return self._nodes[node][1] if node in self._nodes else UNKNOWN

    def node_names(self) -> list[str]:
        """The names of all nodes."""
        return list(self._nodes)

    def has_agent(self, node: str) -> bool:  # noqa: ARG002 - nothing is known of agents
        """Unknown."""
        return False

    def agentless_nodes(self) -> list[str]:
        """Unknown."""
        return []

    def proxied(self, addresses: U8) -> BOOL:
        return np.zeros(len(addresses), np.bool_)

    def captured(self, addresses: U8) -> BOOL:
        return np.zeros(len(addresses), np.bool_)

    def lives(self, endpoint: Endpoint) -> bool:
        """Whether the pod exists."""
        return endpoint.uid in self._pods
