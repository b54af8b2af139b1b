"""The decision table: which rule a flow's verdict is by, from the sides of its two ends.

In: nothing. Out: the sides, and the rule of each pair of them, as arrays. Pure.

Each end of a flow is on a *side*, as seen from the reporting node. The table has the *rule* for
each pair of sides; rows are the source, columns the destination:

                    here        elsewhere   static      outside     unknown     ambiguous   service
    here            by zones    by zones    by zones    external    unk. dest.  ambiguous   service
    elsewhere       transit     transit     transit     transit     transit     transit     transit
    no agent        by zones    transit     transit     transit     transit     transit     transit
    static          by zones    forwarded   forwarded   forwarded   unk. dest.  ambiguous   service
    outside         external    forwarded   forwarded   forwarded   unk. dest.  ambiguous   service
    unknown         unknown source, to every destination
    ambiguous       ambiguous, to every destination
    service         transit     forwarded   forwarded   forwarded   service     service     service

- *here*: an endpoint on the reporting node, or the node itself. *elsewhere*: on another known node.
  *static*: an entry of the static file without a node. *outside*: an EXTERNAL address.
  *unplaced*: a static entry whose zone is not known, as static in the table, but by zones it is
  never in none.
- *transit*: the source's own node counts it, even where this node cannot resolve the destination.
- *no agent*: elsewhere, on an absent node (reporting.py). That node sends no batches, so the
  destination's node counts the flow. As a destination it is elsewhere.
- A source without a node (a database, the internet) is counted by the node where it arrives.
- *forwarded*: the source has no node and the destination is not here, so this node forwards it: the
  second hop of a NodePort or load balancer, or a node that is a router or NAT gateway. It is
  charged to this node and classed by this node's zone; outside to outside is external.
- An unknown source may belong to any node, so it is unresolved even on its way elsewhere.
- *service*: a Service's own address. The packet was seen before translation to a pod's address, or
  after translation back, so its pod and zone are not known. To an end that is not here this node
  sends it: for a pod that answers as the Service (direct return), or after translation back. To an
  endpoint here it is an answer that kube-proxy (IPVS) translated back before the hook: it came in
  by an uplink, so the node of the pod that sent it counts it. While a node is absent, that node may
  be the one: service. So is what the private address of a load balancer with ipMode Proxy sends: it
  is the load balancer's own, and its zone is not known.
  A globally routable address of a load balancer is outside, but that an endpoint here opened the
  connection to it and each node translates it itself (not ipMode Proxy) makes it such an answer.
- A link-local address that has no owner is the reporting node's: it is valid there alone, and
  translated on its way off the node (IPv4 of pods in IPv6 clusters).
- When the reporting node is not in the topology, every flow is unknown_node.
"""

import numpy as np

from kzn.columns.arrays import BOOL, I64, U8
from kzn.server.resolve import verdict as v
from kzn.server.resolve.reporting import AbsentNodes

(
    HERE,
    ELSEWHERE,
    STATIC_SIDE,
    OUTSIDE,
    UNKNOWN_SIDE,
    AMBIGUOUS_SIDE,
    SERVICE_SIDE,
    NO_AGENT,
    UNPLACED,
) = range(9)
"""The sides. A static or outside end has no node."""
SIDES = (
    "here",
    "elsewhere",
    "static",
    "outside",
    "unknown",
    "ambiguous",
    "service",
    "no_agent",
    "unplaced",
)

BY_ZONES, FORWARDED = 254, 255
"""Rules; each other rule is the code of the verdict itself."""

_Z, _F, _T = BY_ZONES, FORWARDED, v.TRANSIT
_D, _A, _S = v.UNKNOWN_DESTINATION, v.AMBIGUOUS_OWNER, v.SERVICE_ADDRESS
TABLE = np.array(
    [
        [_Z, _Z, _Z, _Z, _D, _A, _S, _Z, _Z],
        [_T] * len(SIDES),
        [_Z, _F, _F, _F, _D, _A, _S, _F, _F],
        [_Z, _F, _F, _F, _D, _A, _S, _F, _F],
        [v.UNKNOWN_SOURCE] * len(SIDES),
        [_A] * len(SIDES),
        [_T, _F, _F, _F, _S, _S, _S, _F, _F],
        [_Z, *[_T] * (len(SIDES) - 1)],
        [_Z, _F, _F, _F, _D, _A, _S, _F, _F],
    ],
    np.uint8,
)
"""The rule by the sides of source and destination."""

PLAIN, SENT_HERE, DELIVERED_HERE, PROXIED = range(4)
"""How tunnels of the reporting node bear on a flow: not at all, it is a sender, or a receiver; and
without a tunnel: a load balancer that connects to pods itself is the source."""
_SENT_TABLE = TABLE.copy()
_SENT_TABLE[[[ELSEWHERE], [NO_AGENT]], 1:] = TABLE[STATIC_SIDE, 1:]
_DELIVERED_TABLE = np.full_like(TABLE, v.TRANSIT)
_DELIVERED_TABLE[NO_AGENT] = TABLE[NO_AGENT]
_PROXIED_TABLE = TABLE.copy()
_PROXIED_TABLE[SERVICE_SIDE, HERE] = v.SERVICE_ADDRESS
TABLES = np.stack((TABLE, _SENT_TABLE, _DELIVERED_TABLE, _PROXIED_TABLE))
"""The rule by PLAIN to PROXIED, and the sides of source and destination."""
_IS_PLACE = ~np.isin(np.arange(len(SIDES)), [UNKNOWN_SIDE, AMBIGUOUS_SIDE, SERVICE_SIDE])
"""By side: whether it is known where an address is."""


def is_place(sides: I64) -> BOOL:
    """Of which ``sides`` it is known where an address is."""
    return _IS_PLACE.take(sides)


def tables_with(absent: AbsentNodes) -> U8:
    """`TABLES`, as they are with these absent nodes."""
    is_any_absent = bool(absent.by_code.any())
    if not is_any_absent:
        return TABLES
    tables = TABLES.copy()
    tables[PLAIN, SERVICE_SIDE, HERE] = v.SERVICE_ADDRESS
    return tables
