"""The two endpoints of each flow, and its verdict: pure, columnar, by one decision table.

In: the flows of one interval of one reporting node, and the index of address owners.
Out: a verdict for every flow (verdict.py), and the two endpoints that it is charged to.
Never: I/O, a clock, changes to the index.

The verdict is that of the decision table (rules.py), or by zones.

Senders. Of a flow whose source address does not tell which pod sent it (translated before the hook,
or a load balancer's that the pod answers as), the agent may know the pod by the device that it came
in by: then the flow has a ``sender``, an address of that pod. If this is a pod of the reporting
node, and the source is not, it takes the source's place.

Tunnels. What the reporting node encapsulated has a ``via``: the outer destination, where the packet
goes and what is billed; the inner addresses say whose it is. If the owner of ``via`` is known and
on another node than the destination's, it takes the destination's place (egress gateways, direct
return, mirrors); while the destination may still turn out to be a new pod's, the flow waits. What
the node encapsulated, or what came in by a tunnel and left again (RELAYED), this node sends: a
source elsewhere or without an agent is then as static, so it is forwarded. What came in by a tunnel
for a local device (DELIVERED) is transit, since the node that encapsulated it counted it, for
any source; only from a source without an agent it is as without a tunnel.

*By zones*, first match wins: both regions known and different → cross_region; either end outside,
or static without a zone → external; source's zone unknown → source_zone_unknown; destination's →
destination_zone_unknown; equal zones → same_zone; only one region known → region_unknown (the
zones may be one zone under two labels); else cross_zone. So two zones without known regions are
compared by name, and an unknown zone is neither same nor cross.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import BOOL, F64, I32, I64, U8, U32
from kzn.columns.sort_order import distinct
from kzn.model.endpoint import (
    NO_CODE,
    SERVICE,
    STATIC,
    UNKNOWN,
    ZONE_UNKNOWN,
    EndpointIndex,
)
from kzn.model.flows import (
    DELIVERED,
    FAR_END_UNKNOWN,
    INITIATOR_DESTINATION,
    INITIATOR_MASK,
    INITIATOR_UNKNOWN,
    NO_SENDER,
    NO_VIA,
    RELAYED,
    Flows,
)
from kzn.server.resolve import verdict as v
from kzn.server.resolve.joined import JoinedFlows
from kzn.server.resolve.reporting import NONE_ABSENT, AbsentNodes
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.rules import (
    AMBIGUOUS_SIDE,
    BY_ZONES,
    DELIVERED_HERE,
    ELSEWHERE,
    FORWARDED,
    HERE,
    NO_AGENT,
    OUTSIDE,
    PLAIN,
    PROXIED,
    SENT_HERE,
    SERVICE_SIDE,
    SIDES,
    STATIC_SIDE,
    TABLES,
    UNKNOWN_SIDE,
    UNPLACED,
    is_place,
    tables_with,
)

_SIDE_OF_CODE = np.array([UNKNOWN_SIDE, AMBIGUOUS_SIDE, UNKNOWN_SIDE, OUTSIDE])
"""By a negative endpoint code, counted from the end: UNSETTLED, AMBIGUOUS, UNKNOWN, EXTERNAL."""
_SIDE_WITHOUT_NODE = {SERVICE: SERVICE_SIDE, STATIC: UNPLACED}
_FEW = 1 << 14
_LINK_LOCAL4 = np.frombuffer(bytes(10) + b"\xff\xff\xa9\xfe", np.uint8)
"""The first 14 bytes of ::ffff:169.254.0.0/112."""

_BY_TUNNEL = np.uint8(RELAYED | DELIVERED | FAR_END_UNKNOWN)
_BETWEEN_ZONES = np.array([v.REGION_UNKNOWN, v.CROSS_ZONE], np.uint8)
"""Of two different zones: by whether both regions are known or neither."""


@dataclass(frozen=True, slots=True, eq=False)
class _Locations:
    side: I64
    zone: I32
    region: I32


@dataclass(frozen=True, slots=True, eq=False)
class _ReportingNodes:
    """The reporting node of all addresses, or of each: code, endpoint; its row, for each flow."""

    code: int | I32
    endpoint: int | I32
    row: int | I64


def resolve(
    flows: Flows,
    node: str,
    index: EndpointIndex,
    opened: float,
    closed: float,
    *,
    final: bool = True,
    held: bool = False,
    absent: AbsentNodes = NONE_ABSENT,
) -> Resolution:
    """Resolve the flows that ``node`` saw in [opened, closed] (seconds of the index's clock).

    Unless it is ``final``, an address that may turn out to be another owner's counts as unknown.
    So does one of which only the node's range is known, unless the flows were ``held``.
    ``absent`` are the nodes without an agent.
    """
    node_code = index.node_code(node)
    own = index.node_endpoint(node)
    if node_code == NO_CODE or own < 0:
        return _of_unknown_node(flows)
    owners = index.lookup(flows.addresses, opened, closed, final=final, held=held, node=node)
    owners = _own_link_local(owners, flows.addresses, own)
    place = _ReportingNodes(node_code, own, len(owners))
    return _resolve(flows, np.append(owners, np.int32(own)), place, index, absent, final=final)


def resolve_joined(
    joined: JoinedFlows,
    nodes: Sequence[str],
    index: EndpointIndex,
    opened: F64,
    closed: F64,
    *,
    final: bool = True,
    absent: AbsentNodes = NONE_ABSENT,
) -> Resolution:
    """`resolve` for several batches: the node and the interval of each, (b,) or of length b.

    The index must know each node.
    """
    counts = np.diff(joined.addresses)
    codes = np.array([index.node_code(node) for node in nodes], np.int32)
    own = np.array([index.node_endpoint(node) for node in nodes], np.int32)
    names = np.empty(len(nodes), object)
    names[:] = nodes
    owners = index.lookup(
        joined.table.addresses,
        np.repeat(opened, counts),
        np.repeat(closed, counts),
        final=final,
        node=np.repeat(names, counts),
    )
    own_rows = joined.own_rows.take(joined.part)
    place = _ReportingNodes(np.repeat(codes, counts), np.repeat(own, counts), own_rows)
    endpoints = _own_link_local(owners, joined.table.addresses, place.endpoint)
    endpoints[joined.own_rows] = own
    return _resolve(joined.table, endpoints, place, index, absent, final=final)


def _resolve(
    flows: Flows,
    endpoints: I32,
    reporting: "_ReportingNodes",
    index: EndpointIndex,
    absent: AbsentNodes,
    *,
    final: bool,
) -> Resolution:
    src, dst = flows.src.astype(np.int64), flows.dst.astype(np.int64)
    locations, location, nodes = _locations(endpoints, reporting.code, index, absent)
    if flows.sender is not None:
        is_own_pod = (nodes == reporting.code) & (endpoints != reporting.endpoint)
        src = _senders(src, flows.sender, is_own_pod)
    if flows.via is not None:
        side = locations.side.take(location)
        dst = _far_ends(dst, flows.via, endpoints, nodes, side, final=final)
    kind = _kind(flows)
    p = len(locations.side)
    cell = (location * p).take(src) + location.take(dst)
    answers = _answers(flows, locations.side, cell, src, index, absent)
    proxied = _proxied(flows, locations.side, cell, src, index)
    for chosen, of_them in ((answers, DELIVERED_HERE), (proxied, PROXIED)):
        if chosen is not None:
            kind = np.zeros(len(src), np.uint8) if kind is None else kind
            kind[chosen.compress(kind.take(chosen) == PLAIN)] = of_them
    tables = tables_with(absent)[: 1 if kind is None else len(TABLES)]
    rules = tables[:, locations.side[:, None], locations.side[None, :]].reshape(-1, p)
    classes = _by_zones(locations)
    verdicts = _verdicts(rules, classes)
    if kind is not None:
        cell += kind * np.int64(p * p)
    at_absent = (locations.side == NO_AGENT)[np.arange(len(rules)) % p]
    counted_at_destination = at_absent[:, None] & (rules == BY_ZONES) & (verdicts < v.TRANSIT)
    forwards = rules == FORWARDED
    if forwards.any() and len(forwarded := np.flatnonzero(forwards.ravel().take(cell))):
        row = reporting.row
        charged = row if isinstance(row, int) else row.take(forwarded)
        src[forwarded] = charged
        block = np.int64(rules.size)
        cell[forwarded] = block + location[charged] * p + location.take(dst.take(forwarded))
        rules = np.concatenate([rules, np.full((p, p), FORWARDED, np.uint8)])
        verdicts = np.concatenate([verdicts, classes])
        nowhere = np.zeros((p, p), np.bool_)
        counted_at_destination = np.concatenate([counted_at_destination, nowhere])
    verdict = verdicts.ravel().take(cell)
    return Resolution(
        endpoints=endpoints,
        src=src,
        dst=dst,
        cell=cell,
        verdict=verdict,
        attributed=np.flatnonzero(verdict < v.TRANSIT),
        flags=flows.flags,
        location=location,
        side=locations.side,
        rules=rules,
        verdicts=verdicts,
        classes=classes,
        counted_at_destination=counted_at_destination,
    )


def _kind(flows: Flows) -> U8 | None:
    """PLAIN, SENT_HERE or DELIVERED_HERE of each flow by its tunnel; None if all are plain."""
    flags = flows.flags & _BY_TUNNEL
    if flows.via is None and not flags.any():
        return None
    sent = (flags & (RELAYED | FAR_END_UNKNOWN)) != 0
    if flows.via is not None:
        sent |= flows.via != NO_VIA
    delivered = np.uint8(DELIVERED_HERE) * ((flags & DELIVERED) != 0)
    return np.where(sent, np.uint8(SENT_HERE), delivered)


def _answers(
    flows: Flows, side: I64, cell: I64, src: I64, index: EndpointIndex, absent: AbsentNodes
) -> I64 | None:
    """Answers of load balancers that this node translated back; None if there are none.

    ``cell`` are the locations of both ends of each flow, whose sides are ``side``.

    IPVS translates them before conntrack knows who opened the connection: then the service's port
    is the source's.
    """
    inbound = (side == OUTSIDE)[:, None] & (side == HERE)
    if not inbound.any() or absent.by_code.any():
        return None
    chosen = np.flatnonzero(inbound.ravel().take(cell))
    initiator = flows.flags.take(chosen) & INITIATOR_MASK
    serves = (flows.src_port.take(chosen) != 0) & (flows.dst_port.take(chosen) == 0)
    serves &= initiator == INITIATOR_UNKNOWN
    chosen = chosen.compress((initiator == INITIATOR_DESTINATION) | serves)
    if not len(chosen):
        return None
    sources = distinct(src.take(chosen))
    captured = sources.compress(index.captured(flows.addresses.take(sources, axis=0)))
    return chosen.compress(np.isin(src.take(chosen), captured)) if len(captured) else None


def _proxied(flows: Flows, side: I64, cell: I64, src: I64, index: EndpointIndex) -> I64 | None:
    """What load balancers that connect to pods themselves send; None if there is nothing."""
    inbound = (side == SERVICE_SIDE)[:, None] & (side == HERE)
    if not inbound.any():
        return None
    chosen = np.flatnonzero(inbound.ravel().take(cell))
    sources = distinct(src.take(chosen))
    proxied = sources.compress(index.proxied(flows.addresses.take(sources, axis=0)))
    return chosen.compress(np.isin(src.take(chosen), proxied)) if len(proxied) else None


def _senders(src: I64, sender: U32, is_own_pod: BOOL) -> I64:
    """``src`` with the row of ``sender`` where that alone is a pod of the reporting node."""
    chosen = np.flatnonzero(sender != NO_SENDER)
    rows = sender.take(chosen).astype(np.int64)
    usable = is_own_pod.take(rows) & ~is_own_pod.take(src.take(chosen))
    src[chosen[usable]] = rows[usable]
    return src


def _far_ends(dst: I64, via: U32, endpoints: I32, nodes: I32, side: I64, *, final: bool) -> I64:
    """``dst`` with the row of ``via`` where that is known to be another place."""
    chosen = np.flatnonzero(via != NO_VIA)
    outer, inner = via.take(chosen).astype(np.int64), dst.take(chosen)
    elsewhere = is_place(side.take(outer)) & (endpoints.take(outer) != endpoints.take(inner))
    at_node = nodes.take(outer)
    elsewhere &= (at_node == NO_CODE) | (at_node != nodes.take(inner))
    if not final:
        elsewhere &= side.take(inner) != UNKNOWN_SIDE
    dst[chosen[elsewhere]] = outer[elsewhere]
    return dst


def _of_unknown_node(flows: Flows) -> Resolution:
    src, dst = flows.src.astype(np.int64), flows.dst.astype(np.int64)
    rows = len(flows.addresses) + 1
    return Resolution(
        endpoints=np.full(rows, UNKNOWN, np.int32),
        src=src,
        dst=dst,
        cell=np.zeros(len(src), np.int64),
        verdict=np.full(len(src), v.UNKNOWN_NODE, np.uint8),
        attributed=np.zeros(0, np.int64),
        flags=flows.flags,
        location=np.zeros(rows, np.int64),
        side=np.full(1, UNKNOWN_SIDE, np.int64),
        rules=np.full((1, 1), v.UNKNOWN_NODE, np.uint8),
        verdicts=np.full((1, 1), v.UNKNOWN_NODE, np.uint8),
        classes=np.full((1, 1), v.UNKNOWN_NODE, np.uint8),
        counted_at_destination=np.zeros((1, 1), np.bool_),
    )


def _own_link_local(owners: I32, addresses: U8, own: int | I32) -> I32:
    """``owners`` with link-local addresses that have none given to the reporting node, or each."""
    rows = np.flatnonzero(owners < 0)
    heads = addresses.take(rows, axis=0)
    ipv4 = (heads[:, :14] == _LINK_LOCAL4).all(axis=1)
    ipv6 = (heads[:, 0] == 0xFE) & (heads[:, 1] & 0xC0 == 0x80)
    found = owners.copy() if len(rows) else owners
    local = rows[ipv4 | ipv6]
    found[local] = np.broadcast_to(own, len(owners))[local]
    return found


def _locations(
    endpoints: I32, node_code: int | I32, index: EndpointIndex, absent: AbsentNodes
) -> tuple[_Locations, I64, I32]:
    """The distinct locations of the rows of ``endpoints``; each row's number of it, and node."""
    columns = index.columns
    without_id = np.flatnonzero(endpoints < 0)
    ids = np.maximum(endpoints, 0)
    nodes, zone, region = columns.node[ids], columns.zone[ids], columns.region[ids]
    for column in (nodes, zone, region):
        column[without_id] = NO_CODE
    elsewhere = np.where(nodes != NO_CODE, ELSEWHERE, STATIC_SIDE)
    side = np.where(nodes == node_code, HERE, elsewhere)
    if len(absent.by_code):
        side[absent.contains(nodes) & (nodes != node_code)] = NO_AGENT
    side[without_id] = _SIDE_OF_CODE.take(endpoints.take(without_id))
    _correct_static(side, endpoints, index)
    zones, regions = int(zone.max()) + 2, int(region.max()) + 2
    key = (side * zones + zone + 1) * regions + region + 1
    first, location = _distinct(key, len(SIDES) * zones * regions)
    return _Locations(side[first], zone[first], region[first]), location, nodes


def _distinct(keys: I64, size: int) -> tuple[I64, I64]:
    """A row of each distinct key below ``size``, and for each row the number of its key."""
    if size > _FEW:
        _, first, number = np.unique(keys, return_index=True, return_inverse=True)
        return first, number.astype(np.int64)
    row_of = np.full(size, -1)
    row_of[keys] = np.arange(len(keys))
    present = row_of >= 0
    return row_of[present], (np.cumsum(present) - 1).take(keys)


def _correct_static(side: I64, endpoints: I32, index: EndpointIndex) -> None:
    """Of the endpoints without a node, Services have a side, and a pod's node is not known yet."""
    rows = np.flatnonzero(side == STATIC_SIDE)
    for endpoint_id in set(endpoints[rows].tolist()):
        found = index.endpoint(endpoint_id)
        if found.kind != STATIC or found.uid == ZONE_UNKNOWN:
            corrected = _SIDE_WITHOUT_NODE.get(found.kind, UNKNOWN_SIDE)
            side[rows[endpoints[rows] == endpoint_id]] = corrected


def _verdicts(rules: U8, classes: U8) -> U8:
    """The verdict of each cell of ``rules``; a forwarded flow has that of another cell."""
    by_zones = classes if len(rules) == len(classes) else np.tile(classes, (len(TABLES), 1))
    found = np.where(rules == BY_ZONES, by_zones, rules)
    return np.where(rules == FORWARDED, np.uint8(v.TRANSIT), found)


def _by_zones(locations: _Locations) -> U8:
    """By zones, for each pair of locations, (p, p); in reverse order, so the first match wins."""
    zone, region = locations.zone, locations.region
    no_zone, has_region = zone == NO_CODE, region != NO_CODE
    outside = (locations.side == OUTSIDE) | ((locations.side == STATIC_SIDE) & no_zone)
    found: U8 = _BETWEEN_ZONES.take(has_region[:, None] == has_region)
    found[zone[:, None] == zone] = v.SAME_ZONE
    found[:, no_zone] = v.DESTINATION_ZONE_UNKNOWN
    found[no_zone] = v.SOURCE_ZONE_UNKNOWN
    found[:, outside] = found[outside] = v.EXTERNAL_CLASS
    found[has_region[:, None] & has_region & (region[:, None] != region)] = v.CROSS_REGION
    return found
