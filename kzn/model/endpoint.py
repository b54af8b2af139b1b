"""An endpoint: who owns an address at a time, and where it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from kzn.columns.arrays import I32, U8

POD = "Pod"
NODE = "Node"
STATIC = "Static"
SERVICE = "Service"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who an address belongs to; an empty string is "unknown" or "none".

    ``kind`` is POD, NODE, STATIC or SERVICE. For a pod ``workload_kind``/``workload`` are the
    controller at the end of its ownerReferences (itself when there is none) and ``node`` is where
    it runs. For a node all names are the node's and ``workload_kind`` is "Node". For a static entry
    ``workload_kind`` is the file's ``kind`` and ``node`` may be empty. A Service is nowhere.
    ``uid`` tells a pod from its successor of the same name; empty where there is none.
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
"""`EndpointIndex.lookup`: a globally routable address that nobody here claims: outside."""
UNKNOWN = -2
"""`EndpointIndex.lookup`: a private address that nobody claims (yet): held, then unresolved."""
AMBIGUOUS = -3
"""`EndpointIndex.lookup`: more than one owner in the interval, and no way to tell whose bytes."""
UNSETTLED = -4
"""`EndpointIndex.lookup`: an owner is known who is ending or has ended within the interval, so that
the address may have passed to another who is not known yet: held, then that owner's."""

NO_CODE = -1
"""In a column of `EndpointColumns`: this endpoint has none, or it is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class EndpointColumns:
    """Facts of the endpoints as integers, each column indexed by endpoint id, shape (ids,).

    Equal codes mean equal things; codes of zones count the region in, so equal zone names in two
    regions differ. The arrays are views: valid until the index is next changed.
    """

    node: I32
    zone: I32
    region: I32


class EndpointIndex(Protocol):
    """What resolving needs of a topology; all times are seconds of one monotonic clock."""

    def lookup(self, addresses: U8, opened: float, closed: float, *, final: bool = True) -> I32:
        """Owners of ``addresses`` (n, 16) as of [opened, closed]: (n,) ids, or negative codes.

        UNSETTLED is answered only when the answer is not ``final``.
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
        """The facts behind each of many ids; a negative code stands for itself."""
        ...

    def node_code(self, node: str) -> int:
        """The code of a node by name, as in `EndpointColumns.node`; NO_CODE when not known."""
        ...

    def node_endpoint(self, node: str) -> int:
        """The endpoint id of a node itself by name; UNKNOWN when not known."""
        ...

    def node_names(self) -> Iterable[str]:
        """The names of all nodes that exist."""
        ...

    def has_agent(self, node: str) -> bool:
        """Whether an agent is known to be on the node, though nothing may be heard of it."""
        ...

    def lives(self, endpoint: Endpoint) -> bool:
        """Whether this very endpoint (same name, same uid) exists now; static ones always do.

        The ledger asks this of series that have been idle for long, to end those whose owner is
        gone; it is called with copies of endpoints whose id may be in other hands by now.
        """
        ...
