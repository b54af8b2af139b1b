"""Why a packet has its verdict, in words: the packet is resolved by the same call as batches.

In: two or three addresses, a node and a time, the index, and the absent nodes. Out: an
`Explanation`.
Never: a decision that `resolve` does not make, I/O, a clock.

The words are three tables, by side, rule and verdict. The verdict is that of a packet at one
instant; where a batch that covers the time is resolved differently, the explanation says so.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Protocol

import numpy as np

from kzn.client.api import AddressOwner
from kzn.client.explain import ExplainedEnd, Explanation, OwnerInterval
from kzn.columns.arrays import U8
from kzn.model import ip
from kzn.model.endpoint import (
    AMBIGUOUS,
    EXTERNAL,
    NODE,
    STATIC,
    UNKNOWN,
    Endpoint,
    EndpointIndex,
    OwnedInterval,
)
from kzn.model.flows import Flows
from kzn.server.resolve import verdict as v
from kzn.server.resolve.reporting import AbsentNodes
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.resolve import resolve
from kzn.server.resolve.rules import (
    AMBIGUOUS_SIDE,
    BY_ZONES,
    ELSEWHERE,
    FORWARDED,
    HERE,
    NO_AGENT,
    OUTSIDE,
    SERVICE_SIDE,
    SIDES,
    STATIC_SIDE,
    UNKNOWN_SIDE,
    UNPLACED,
)

INTERVAL = 10.0
"""Seconds that a batch covers unless the agent's --interval says otherwise."""
MAX_HISTORY = 10
"""Intervals of an address in an answer: the latest."""

SIDE_WORDS = {
    HERE: "{address} is {owner} on node {node}, which saw the packet",
    ELSEWHERE: "{address} is {owner} on another node, {end_node}",
    STATIC_SIDE: "{address} is {owner} of the static file, which has no node",
    OUTSIDE: "{address} is globally routable and nothing in the topology has it: it is outside",
    UNKNOWN_SIDE: "{address} is private and nothing in the topology has it",
    AMBIGUOUS_SIDE: "more than one owner may have had {address} at that time",
    SERVICE_SIDE: "{address} is the address of {owner}, not of one of its pods",
    NO_AGENT: "{address} is {owner} on node {end_node}, which has no agent",
    UNPLACED: "{address} is {owner} of the static file, in a zone without a known id (--zone-ids)",
}
_NO_NODE_YET = "{address} is {owner}, of which the {missing} is not known yet"
"""Of UNKNOWN_SIDE, when the address has an owner."""

_HOST = "the host"
_SENDER = (
    "if it came in by the device of a pod of {node} (source NAT at the uplinks, direct return), the"
    " agent names that pod as the sender, which is then charged in place of {address}"
)

RULE_WORDS = {
    BY_ZONES: "node {node} counts it, and the zones and regions of both ends decide the class",
    FORWARDED: "the source is not on {node} and the packet leaves {node}, so {node} forwards it: it"
    " is charged to node {node}, and classed by that node's zone",
}
"""By rule; a rule that is a verdict has the words of the verdict."""

_GOES_TO_VIA = (
    "node {node} sends it in a tunnel to {address}: that is where it goes and what is billed, so"
    " {address} takes the place of the destination"
)
_GOES_TO_DESTINATION = (
    "node {node} sends it in a tunnel to {address}, which is not known to be at another place than"
    " the destination"
)

VERDICT_WORDS = {
    v.SAME_ZONE: "both ends are in zone {src_zone}",
    v.CROSS_ZONE: "zone {src_zone} and zone {dst_zone} differ",
    v.CROSS_REGION: "region {src_region} and region {dst_region} differ",
    v.EXTERNAL_CLASS: "an end is outside, or in the static file without a zone",
    v.TRANSIT: "each packet is counted by one node only, and that is not node {node}",
    v.UNKNOWN_NODE: "node {node} is not in the topology, so all that it reports is unresolved",
    v.UNKNOWN_SOURCE: "without an owner of the source, no node and no workload can be charged",
    v.UNKNOWN_DESTINATION: "without an owner of the destination, its zone is not known",
    v.SOURCE_ZONE_UNKNOWN: "the zone of {src_place}, the source's, is not known",
    v.DESTINATION_ZONE_UNKNOWN: "the zone of {dst_place}, the destination's, is not known",
    v.REGION_UNKNOWN: "the zones differ by name, but only one end has a region: they may be one"
    " zone under two labels",
    v.AMBIGUOUS_OWNER: "kzn does not guess between two owners",
    v.SERVICE_ADDRESS: "the packet was seen before its Service address was translated to a pod's,"
    " or after it was translated back, so its pod and zone are not known",
}

_UNKNOWN_ADDRESS = (
    "if {unknown} is a new pod's, the topology may still learn of it: batches are retried for two"
    " intervals; if it belongs to no pod or node, add its network to the file of --static"
)
_NOT_COUNTED = "run the agent on node {src_node}: no node counts this packet"
_NOT_REPORTED = "node {node} has no agent, so no batch of it arrives"
_RUN_AGENT = "run the agent on node {node}"
_NAME_BY_ID = "give the zone of {name} in the static file by its id, as --zone-ids names zones"
_ASK_FOR_A_POD = (
    "the node of the pod behind the Service counts it: ask for that pod's address instead of {src}"
)
ADVICE = {
    v.SAME_ZONE: "",
    v.CROSS_ZONE: "",
    v.CROSS_REGION: "",
    v.EXTERNAL_CLASS: "",
    v.TRANSIT: "ask for the node that counts it: --node {counting_node}",
    v.UNKNOWN_NODE: "start the agent with --node set to the name that kubectl get nodes shows",
    v.UNKNOWN_SOURCE: _UNKNOWN_ADDRESS,
    v.UNKNOWN_DESTINATION: _UNKNOWN_ADDRESS,
    v.SOURCE_ZONE_UNKNOWN: "{src_remedy}",
    v.DESTINATION_ZONE_UNKNOWN: "{dst_remedy}",
    v.REGION_UNKNOWN: "give {without_region} its region: the label topology.kubernetes.io/region of"
    " a node, or `region` in the static file",
    v.AMBIGUOUS_OWNER: "nothing, if it is rare: the address changed hands within one interval, or"
    " while the watch of pods was interrupted",
    v.SERVICE_ADDRESS: "where kube-proxy is replaced, run the agent with another probe (--probe"
    " tcx)",
}
"""Advice by verdict; empty if nothing is missing."""

_SRC_ROW, _DST_ROW, _VIA_ROW = range(3)
"""Rows of the resolution of one flow; the last row is the node."""
_UNNAMED = {EXTERNAL: "external", UNKNOWN: "unknown", AMBIGUOUS: "ambiguous"}


class IndexWithHistory(EndpointIndex, Protocol):
    """An index that also gives the ownership intervals of an address."""

    def intervals(self, address: bytes) -> list[OwnedInterval]:
        """The pods and nodes that have or had ``address`` (16 bytes), the earliest first."""
        ...

    def told_by_agent(self, address: bytes, node: str, at: float) -> bool:
        """Whether ``address`` is a node's only because the node's agent told it."""
        ...


@dataclass(frozen=True, slots=True)
class ExplainQuery:
    """A packet from ``src`` to ``dst`` (16 bytes each), at a time of the index's clock.

    ``node`` saw it; if empty, the node that would count it is chosen. ``via`` is the outer
    destination if the node sent it in a tunnel, else empty.
    """

    src: bytes
    dst: bytes
    at: float
    node: str = ""
    via: bytes = b""


def explain(
    query: ExplainQuery,
    index: IndexWithHistory,
    absent_nodes: Callable[[str], AbsentNodes],
    timestamp: Callable[[float], str],
) -> Explanation:
    """Explain the verdict; ``absent_nodes`` is by reporting node (reporting.py).

    ``timestamp`` writes a time of the index's clock.
    """
    rows = np.frombuffer(query.src + query.dst + query.via, np.uint8).reshape(-1, 16)
    owners = index.endpoints(index.lookup(rows, query.at, query.at, held=True).tolist())
    node, chosen_by = _node(query, owners, index, absent_nodes)
    absent = absent_nodes(node)
    flows = _one_flow(rows)

    def resolved(opened: float, closed: float, *, final: bool) -> Resolution:
        return resolve(flows, node, index, opened, closed, final=final, held=final, absent=absent)

    found = resolved(query.at, query.at, final=True)
    first_try = resolved(query.at, query.at, final=False)
    in_a_batch = resolved(query.at - INTERVAL, query.at, final=True)
    code = int(found.verdict[0])
    if code != v.UNKNOWN_NODE:  # a link-local address is the node's that sees it
        owners = index.endpoints(found.endpoints[: len(rows)].tolist())
    words = _words(query, owners, found, index, node)
    why, advice = _sentences(words), _advice(words)
    if node and _is_absent(node, index, absent):
        why = [*why, _NOT_REPORTED.format(node=node)]
        advice = [*advice, _RUN_AGENT.format(node=node)]
    if in_a_batch.verdict[0] != code:
        name = v.NAMES[int(in_a_batch.verdict[0])]
        why = [*why, f"a batch of the {INTERVAL:.0f} s before that time is resolved as {name}"]
    return Explanation(
        time=timestamp(query.at),
        node=node,
        node_chosen_by=chosen_by,
        src=_end(query.src, owners[0], words.sides[0], index, query.at, timestamp),
        dst=_end(query.dst, owners[1], words.own_sides[1], index, query.at, timestamp),
        via=_end(query.via, owners[2], words.own_sides[2], index, query.at, timestamp)
        if query.via
        else None,
        verdict=v.NAMES[code],
        class_=v.NAMES[code] if code < v.TRANSIT else "",
        reason=v.NAMES[code] if code > v.TRANSIT else "",
        charged_to=node if found.src[0] == len(rows) and code < v.TRANSIT else "",
        retried=bool(v.MAY_RESOLVE_LATER[first_try.verdict[0]]),
        why=tuple(why),
        advice=tuple(advice),
    )


def _node(
    query: ExplainQuery,
    owners: list[Endpoint | int],
    index: EndpointIndex,
    absent_nodes: Callable[[str], AbsentNodes],
) -> tuple[str, str]:
    """The node to explain for, and what it was chosen by."""
    if query.node:
        return query.node, "query"
    src, dst = (found.node if isinstance(found, Endpoint) else "" for found in owners[:2])
    if src and dst and _is_absent(src, index, absent_nodes(src)):
        return dst, "destination"
    if src or dst:
        return (src, "source") if src else (dst, "destination")
    return min(index.node_names(), default=""), "any"


def _is_absent(node: str, index: EndpointIndex, absent: AbsentNodes) -> bool:
    return bool(absent.contains(np.array([index.node_code(node)], np.int32))[0])


def _one_flow(rows: U8) -> Flows:
    """A flow from the first address to the second, which may be equal, by the third if any."""
    return Flows(
        addresses=rows,
        src=np.array([_SRC_ROW], np.uint32),
        dst=np.array([_DST_ROW], np.uint32),
        src_port=np.zeros(1, np.uint16),
        dst_port=np.zeros(1, np.uint16),
        protocol=np.zeros(1, np.uint8),
        flags=np.zeros(1, np.uint8),
        packets=np.ones(1, np.uint64),
        bytes=np.ones(1, np.uint64),
        via=np.array([_VIA_ROW], np.uint32) if len(rows) > _VIA_ROW else None,
    )


@dataclass(frozen=True, slots=True)
class _Words:
    """Values for the placeholders of the sentences: of the packet and of each end.

    ``dst`` is the far end: the via's if `goes_to_via`. ``own_sides`` are by address.
    """

    packet: dict[str, str]
    src: dict[str, str]
    dst: dict[str, str]
    via: dict[str, str]
    goes_to_via: bool
    has_owner: tuple[bool, bool]
    sides: tuple[int, int]
    own_sides: list[int]
    rule: int
    code: int


def _words(
    query: ExplainQuery,
    owners: list[Endpoint | int],
    found: Resolution,
    index: EndpointIndex,
    node: str,
) -> _Words:
    charged = index.endpoints(found.endpoints.take([found.src[0], found.dst[0]]).tolist())
    addresses, far = [query.src, query.dst, query.via], int(found.dst[0])
    own_sides = found.side.take(found.location).tolist()
    sides = own_sides[_SRC_ROW], own_sides[far]
    packet = {"node": node} | _places("src", charged[0]) | _places("dst", charged[1])
    packet["unknown"] = ip.text(query.src if sides[0] == UNKNOWN_SIDE else addresses[far])
    counting = owners[0] if sides[0] == ELSEWHERE else owners[far]
    packet["src"] = ip.text(query.src)
    packet["counting_node"] = counting.node if isinstance(counting, Endpoint) else ""
    lacking = [end for end in charged if isinstance(end, Endpoint) and not end.region]
    packet["without_region"] = " and ".join(
        end.name if end.kind == STATIC else f"node {end.node}" for end in lacking
    )
    src, dst = (
        {"address": ip.text(address), "node": node} | _owner_words(owner)
        for address, owner in ((query.src, owners[0]), (addresses[far], owners[far]))
    )
    via = {"address": ip.text(query.via), "node": node} if query.via else {}
    has_owner = isinstance(owners[0], Endpoint), isinstance(owners[far], Endpoint)
    rule, code = int(found.rules.ravel()[found.cell[0]]), int(found.verdict[0])
    return _Words(packet, src, dst, via, far == _VIA_ROW, has_owner, sides, own_sides, rule, code)


def _places(end: str, owner: Endpoint | int) -> dict[str, str]:
    keys = ("node", "zone", "region")
    words = {f"{end}_{key}": str(getattr(owner, key, "")) for key in keys}
    if isinstance(owner, Endpoint) and owner.kind == STATIC:
        place, remedy = owner.name, _NAME_BY_ID.format(name=owner.name)
    else:
        place = f"node {words[f'{end}_node']}"
        remedy = f"label {place} with topology.kubernetes.io/zone, or see --default-zone"
    return words | {f"{end}_place": place, f"{end}_remedy": remedy}


def _owner_words(owner: Endpoint | int) -> dict[str, str]:
    if isinstance(owner, int):
        return {"owner": "", "end_node": "", "missing": ""}
    if owner.kind == NODE:
        return {"owner": _HOST, "end_node": owner.node, "missing": ""}
    name = f"{owner.namespace}/{owner.name}" if owner.namespace else owner.name
    kind = owner.workload_kind if owner.kind == STATIC else owner.kind
    missing = "node" if owner.workload else "workload"
    return {"owner": f"{kind} {name}", "end_node": owner.node, "missing": missing}


def _sentences(words: _Words) -> list[str]:
    """The side of each end, the rule, and the verdict; for an unknown node, only the verdict."""
    sentences = []
    if words.code != v.UNKNOWN_NODE:
        if words.via:
            form = _GOES_TO_VIA if words.goes_to_via else _GOES_TO_DESTINATION
            sentences.append(form.format_map(words.via))
        for side, known, end in zip(
            words.sides, words.has_owner, (words.src, words.dst), strict=True
        ):
            form = _NO_NODE_YET if side == UNKNOWN_SIDE and known else SIDE_WORDS[side]
            sentences.append(form.format_map(end))
        if _may_have_sender(words):
            sentences.append(_SENDER.format_map(words.src))
    if words.rule in RULE_WORDS:
        sentences.append(RULE_WORDS[words.rule].format_map(words.packet))
    return [*sentences, VERDICT_WORDS[words.code].format_map(words.packet)]


def _may_have_sender(words: _Words) -> bool:
    """Whether the source may be one that a pod of the node used, and the agent names the pod."""
    is_host = words.sides[0] == HERE and words.src["owner"] == _HOST
    return is_host or words.sides[0] in (OUTSIDE, UNKNOWN_SIDE, SERVICE_SIDE)


def _advice(words: _Words) -> list[str]:
    advice = ADVICE[words.code]
    if words.code == v.TRANSIT and words.sides[0] == SERVICE_SIDE:
        advice = _ASK_FOR_A_POD
    elif words.code == v.TRANSIT and not words.packet["counting_node"]:
        advice = _NOT_COUNTED
    advice = advice.format_map(words.packet)
    return [advice] if advice else []


def _end(
    address: bytes,
    owner: Endpoint | int,
    side: int,
    index: IndexWithHistory,
    at: float,
    timestamp: Callable[[float], str],
) -> ExplainedEnd:
    intervals = index.intervals(address)[-MAX_HISTORY:]
    is_told = (
        not isinstance(owner, int)
        and owner.kind == NODE
        and index.told_by_agent(address, owner.name, at)
    )
    return ExplainedEnd(
        owner=replace(_address_owner(address, owner), known_by="agent" if is_told else ""),
        side=SIDES[side],
        history=tuple(_interval(address, one, timestamp) for one in intervals),
    )


def _interval(
    address: bytes, found: OwnedInterval, timestamp: Callable[[float], str]
) -> OwnerInterval:
    since, until, deleting = (
        timestamp(at) if isfinite(at) else ""
        for at in (found.begin, found.end, found.deleting_since if found.end == inf else inf)
    )
    return OwnerInterval(_address_owner(address, found.owner), since, until, deleting)


def _address_owner(address: bytes, owner: Endpoint | int) -> AddressOwner:
    if isinstance(owner, int):
        return AddressOwner(ip.text(address), _UNNAMED[owner])
    return AddressOwner(
        ip.text(address),
        owner.kind.lower(),
        namespace=owner.namespace,
        name=owner.name,
        workload_kind=owner.workload_kind,
        workload=owner.workload,
        node=owner.node,
        zone=owner.zone,
        region=owner.region,
    )
