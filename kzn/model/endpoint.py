"""Endpoints: pods, nodes, networks and Services as owners of addresses, and the index of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from kzn.columns.arrays import BOOL, F64, I32, OBJECTS, U8

POD = "Pod"
NODE = "Node"
STATIC = "Static"
SERVICE = "Service"

ZONE_UNKNOWN = "zone-unknown"
"""``uid`` of a static endpoint whose zone is not known; without a zone it is otherwise in none."""

NO_ZONE_CLASS = "no-zone"
"""``price_class`` of a static entry that is in no zone and says nothing of the bill: it is outside
the zones of the cluster, and how its bytes go there is not known."""

INTERNET_CLASS = "internet"
"""What a static entry without a zone says that costs what any outside address does; it then has no
price class."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The owner of an address; an empty string is "unknown" or "none".

    ``kind`` is POD, NODE, STATIC or SERVICE. For a pod ``workload_kind``/``workload`` are the
    controller at the end of its ownerReferences (itself without one) and ``node`` is where it runs.
    For a node all names are the node's and ``workload_kind`` is "Node". For a static entry
    ``workload_kind`` is the file's ``kind`` and ``node`` may be empty. A Service has no node and no
    zone. ``uid`` distinguishes a pod from its successor of the same name; empty without one, and
    ZONE_UNKNOWN for a static entry that is in a zone which is not known. ``provider`` is the cloud
    of the node ("aws", "gcp"), also of a pod's. ``price_class`` is what a static entry says of the
    bill ("free", "managed-database"), empty for ordinary ends. ``group`` is the team of a pod's
    workload, empty where groups are not told.
    """

    kind: str
    namespace: str
    name: str
    workload_kind: str
    workload: str
    node: str
    zone: str
    region: str
    uid: str = ""
    provider: str = ""
    price_class: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class OwnedInterval:
    """``owner`` may have had an address from ``begin`` to ``end`` (seconds of the index's clock).

    ``end`` is inf while it still has it; ``deleting_since`` is when its deletion became known (inf:
    not). Before ``exclusive_since`` another owner may have had the address unseen.
    """

    owner: Endpoint
    begin: float
    end: float
    deleting_since: float
    exclusive_since: float


EXTERNAL = -1
"""`EndpointIndex.lookup`: a globally routable address without an owner, outside the cluster."""
UNKNOWN = -2
"""`EndpointIndex.lookup`: a private address without a known owner: retried, then unresolved."""
AMBIGUOUS = -3
"""`EndpointIndex.lookup`: several possible owners in the interval, not distinguishable."""
UNSETTLED = -4
"""`EndpointIndex.lookup`: the known owner ends within the interval, so that a successor that is not
known yet may have the address: retried, then the known owner's."""

NO_CODE = -1
"""In a column of `EndpointColumns`: none, or unknown."""


@dataclass(frozen=True, slots=True, eq=False)
class EndpointColumns:
    """Facts of the endpoints as integers, each column indexed by endpoint id, shape (ids,).

    Equal codes mean equal names; zone codes include the region, so equal zone names in two regions
    differ. ``billing`` is by provider and price class together, NO_CODE with neither. The arrays
    are views, valid until the index is next changed.
    """

    node: I32
    zone: I32
    region: I32
    billing: I32


class EndpointIndex(Protocol):
    """The topology as the resolver reads it; times are seconds of one monotonic clock."""

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
        UNSETTLED is returned only when not ``final``. An address that no object claims is that of
        the node whose pod CIDR it is in only if ``held``: its pod has had time to become known.
        ``node`` reports the addresses: one that several nodes have is its own.
        """
        ...

    @property
    def columns(self) -> EndpointColumns:
        """The columns of all endpoint ids."""
        ...

    def endpoint(self, endpoint_id: int) -> Endpoint:
        """The facts behind an id. An id is not reused while a batch may still refer to it."""
        ...

    def endpoints(self, numbers: list[int]) -> list["Endpoint | int"]:
        """The facts behind each id; negative codes are returned as they are."""
        ...

    def node_code(self, node: str) -> int:
        """The code of a node by name, as in `EndpointColumns.node`; NO_CODE when unknown."""
        ...

    def node_endpoint(self, node: str) -> int:
        """The endpoint id of a node by name; UNKNOWN when unknown."""
        ...

    def node_names(self) -> Iterable[str]:
        """The names of all nodes that exist."""
        ...

    def has_agent(self, node: str) -> bool:
        """Whether the node has an agent pod, even if its agent has sent nothing."""
        ...

    def agentless_nodes(self) -> Iterable[str]:
        """The names of nodes that exist and cannot have an agent."""
        ...

    def proxied(self, addresses: U8) -> BOOL:
        """Which addresses (n, 16) are of load balancers that connect to pods themselves."""
        ...

    def captured(self, addresses: U8) -> BOOL:
        """Which addresses (n, 16) of load balancers each node translates to pods' itself: (n,)."""
        ...

    def lives(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint exists now: a pod or node by its uid, a network by its name.

        The ledger calls it for long idle series, to end those of deleted owners; the id of the
        endpoint may have been reused by then.
        """
        ...
