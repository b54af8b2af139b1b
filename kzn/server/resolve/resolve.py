"""Who sent each flow to whom, and what they crossed: pure, columnar, by places.

In: the flows of one interval of one reporting node, and an index of who owned an address then.
Out: a verdict for every flow (verdict.py), and the two endpoints that it is charged to.
Never: I/O, a clock, a change of the index.

One table decides what a flow is. Rows are the source, columns the destination:

                    here        elsewhere   static      outside     unknown     ambiguous   service
    here            by zones    by zones    by zones    external    unk. dest.  ambiguous   service
    elsewhere       transit     transit     transit     transit     transit     transit     transit
    no agent        by zones    transit     transit     transit     transit     transit     transit
    static          by zones    forwarded   forwarded   forwarded   unk. dest.  ambiguous   service
    outside         external    forwarded   forwarded   forwarded   unk. dest.  ambiguous   service
    unknown         unknown source, whatever the destination
    ambiguous       ambiguous, whatever the destination
    service         service, whatever the destination

- *here* is an endpoint on the reporting node (or that node itself), *elsewhere* one on another
  known node, *static* an entry of the static file without a node, *outside* an EXTERNAL address.
- *transit*: the source's own node counts it. That holds whatever this node thinks of the
  destination.
- *no agent*: elsewhere, on a node without an agent (reporting.py), so that this node's
  leg of what arrives here is the one that counts. As a destination it is elsewhere.
- A *late* batch, of a node that others stood in for: what goes elsewhere is transit, they counted
  it; what goes to a node without an agent is not.
- A source without a node (a database, the internet) has no node that could count it, so the
  node where its packets arrive does.
- *forwarded*: the source is outside and the destination is not here, so this node passes it on:
  a NodePort's or a load balancer's second hop, or a node that serves as a router or NAT gateway.
  It counts as sent by this node, classed by this node's zone; outside to outside is external.
- An unknown source may belong to any node, so it is unresolved even on its way elsewhere.
- *service* is a Service's own address: the packet was seen before it was translated to a pod's, or
  after it was translated back, and which pod and zone it is of cannot be told.
- When the reporting node itself is not known, nobody can say what is here: all is unknown_node.

*By zones*, first match wins: both regions known and different → cross_region; either end outside,
or static without a zone → external; source's zone unknown → source_zone_unknown; destination's →
destination_zone_unknown; equal zones → same_zone; one region known and the other not →
region_unknown (the zones may be one zone under two labels); else cross_zone. So two zones of
which no region is known are compared by name, and an unknown zone is neither same nor cross.
"""

from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import BOOL, I32, I64, U8, U64
from kzn.columns.group_sums import sums
from kzn.model.endpoint import NO_CODE, SERVICE, STATIC, UNKNOWN, EndpointIndex
from kzn.model.flows import (
    INITIATOR_DESTINATION,
    INITIATOR_MASK,
    INITIATOR_SOURCE,
    INITIATOR_UNKNOWN,
    Flows,
)
from kzn.server.resolve import verdict as v
from kzn.server.resolve.reporting import FULL, AbsentNodes

_HERE, _ELSEWHERE, _STATIC, _OUTSIDE, _UNKNOWN, _AMBIGUOUS, _SERVICE, _NO_AGENT = range(8)
_PLACES = 8
_BY_ZONES, _TRANSIT, _FORWARDED, _NO_SOURCE, _NO_DESTINATION, _NO_OWNER, _NO_POD = range(7)

_OF_CODE = np.array([_UNKNOWN, _AMBIGUOUS, _UNKNOWN, _OUTSIDE])
"""By a negative endpoint code, counted from the end: UNSETTLED, AMBIGUOUS, UNKNOWN, EXTERNAL."""
_FEW = 1 << 14

_D = _NO_DESTINATION
_ACTIONS = np.array(
    [
        [_BY_ZONES, _BY_ZONES, _BY_ZONES, _BY_ZONES, _D, _NO_OWNER, _NO_POD, _BY_ZONES],
        [_TRANSIT] * _PLACES,
        [_BY_ZONES, _FORWARDED, _FORWARDED, _FORWARDED, _D, _NO_OWNER, _NO_POD, _FORWARDED],
        [_BY_ZONES, _FORWARDED, _FORWARDED, _FORWARDED, _D, _NO_OWNER, _NO_POD, _FORWARDED],
        [_NO_SOURCE] * _PLACES,
        [_NO_OWNER] * _PLACES,
        [_NO_POD] * _PLACES,
        [_BY_ZONES, *[_TRANSIT] * (_PLACES - 1)],
    ],
    np.uint8,
)
_LATE_ACTIONS = _ACTIONS.copy()
_LATE_ACTIONS[_HERE, _ELSEWHERE] = _TRANSIT
_OPEN = 255
_FIXED = np.full(_NO_POD + 1, _OPEN, np.uint8)
"""By action: the verdict whatever the zones are, or _OPEN."""
_FIXED[_TRANSIT] = v.TRANSIT
_FIXED[_NO_SOURCE] = v.UNKNOWN_SOURCE
_FIXED[_NO_DESTINATION] = v.UNKNOWN_DESTINATION
_FIXED[_NO_OWNER] = v.AMBIGUOUS_OWNER
_FIXED[_NO_POD] = v.SERVICE_ADDRESS
_CROSSINGS = np.array([v.REGION_UNKNOWN, v.CROSS_ZONE], np.uint8)
"""Between two zones, by whether both regions are known or neither."""
_INITIATORS = np.array(
    [INITIATOR_UNKNOWN, INITIATOR_SOURCE, INITIATOR_DESTINATION, INITIATOR_UNKNOWN], np.uint8
)
"""By the bits of a flow's flags; both at once is a peer's nonsense."""


@dataclass(frozen=True, slots=True, eq=False)
class Resolution:
    """Verdicts of m flows over n distinct addresses.

    ``endpoints`` is (n + 1,): ids or negative codes by address, the last row is the reporting
    node itself. ``src`` and ``dst`` (m,) are the rows charged: of a forwarded flow ``src`` is the
    node's row. ``place`` (n + 1,) numbers what rows have in common (where, zone, region), and
    ``classes`` (p, p) is the verdict by the places of both ends. ``pair`` (m,) is the cell of it,
    counted row by row, that each flow had its ``verdict`` from; ``attributed`` are the numbers of
    the flows whose verdict is a class. ``flags`` (m,) are the flows' own. ``stand_in`` (p, p) marks
    cells whose source has no agent on its node, and that this node's leg is counted for.
    """

    endpoints: I32
    src: I64
    dst: I64
    pair: I64
    verdict: U8
    attributed: I64
    flags: U8
    place: I64
    classes: U8
    stand_in: BOOL

    @property
    def places(self) -> int:
        """How many distinct places there are."""
        return len(self.classes)

    def initiators(self, chosen: I64) -> U8:
        """Which end opened the connection (kzn.model.flows), of the flows ``chosen``."""
        return _INITIATORS.take(self.flags.take(chosen) & INITIATOR_MASK)

    def by_verdict(self, *columns: U64) -> list[U64]:
        """The sums of each of ``columns`` (m,) under each verdict.

        Attributed flows are all under SAME_ZONE: which class they are in is the ledger's matter.
        """
        found = [np.zeros(len(v.NAMES), np.uint64) for _ in columns]
        if not (self.classes > v.TRANSIT).any():  # as most batches are: two sums, no grouping
            for column, total in zip(columns, found, strict=True):
                total[v.SAME_ZONE] = column.take(self.attributed).sum()
                total[v.TRANSIT] = column.sum() - total[v.SAME_ZONE]
            return found
        verdicts = np.where(self.classes < v.TRANSIT, v.SAME_ZONE, self.classes).ravel()
        for column, total in zip(columns, found, strict=True):
            np.add.at(total, verdicts, sums(self.pair, column, len(verdicts)))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    where: I64
    zone: I32
    region: I32


def resolve(
    flows: Flows,
    node: str,
    index: EndpointIndex,
    opened: float,
    closed: float,
    *,
    final: bool = True,
    cover: AbsentNodes = FULL,
) -> Resolution:
    """Judge the flows that ``node`` saw in [opened, closed] (seconds of the index's clock).

    Unless it is ``final``, an address that may yet prove to be another's counts as unknown.
    ``cover`` tells which nodes have no agent.
    """
    here = index.node_code(node)
    own = index.node_endpoint(node)
    src, dst = flows.src.astype(np.int64), flows.dst.astype(np.int64)
    if here == NO_CODE or own < 0:
        return _nobody(flows, src, dst)
    owners = index.lookup(flows.addresses, opened, closed, final=final)
    endpoints = np.append(owners, np.int32(own))
    places, place = _places(endpoints, here, index, cover)
    own_place = int(place[-1])
    table = _LATE_ACTIONS if cover.is_late else _ACTIONS
    actions = table[places.where[:, None], places.where[None, :]]
    verdicts = _verdicts(actions, places, own_place)
    pair = (place * len(verdicts)).take(src) + place.take(dst)
    verdict = verdicts.ravel().take(pair)
    forwarded = (actions == _FORWARDED).ravel()
    if forwarded.any():
        src[forwarded.take(pair)] = len(endpoints) - 1
    return Resolution(
        endpoints=endpoints,
        src=src,
        dst=dst,
        pair=pair,
        verdict=verdict,
        attributed=np.flatnonzero(verdict < v.TRANSIT),
        flags=flows.flags,
        place=place,
        classes=verdicts,
        stand_in=(places.where == _NO_AGENT)[:, None] & (verdicts < v.TRANSIT),
    )


def _nobody(flows: Flows, src: I64, dst: I64) -> Resolution:
    rows = len(flows.addresses) + 1
    return Resolution(
        endpoints=np.full(rows, UNKNOWN, np.int32),
        src=src,
        dst=dst,
        pair=np.zeros(len(src), np.int64),
        verdict=np.full(len(src), v.UNKNOWN_NODE, np.uint8),
        attributed=np.zeros(0, np.int64),
        flags=flows.flags,
        place=np.zeros(rows, np.int64),
        classes=np.full((1, 1), v.UNKNOWN_NODE, np.uint8),
        stand_in=np.zeros((1, 1), np.bool_),
    )


def _places(
    endpoints: I32, here: int, index: EndpointIndex, cover: AbsentNodes
) -> tuple[_Places, I64]:
    """What the rows have in common, and the number of it for each row."""
    columns = index.columns
    nobody = np.flatnonzero(endpoints < 0)
    ids = np.maximum(endpoints, 0)
    nodes, zone, region = columns.node[ids], columns.zone[ids], columns.region[ids]
    for column in (nodes, zone, region):
        column[nobody] = NO_CODE
    where = np.where(nodes == here, _HERE, np.where(nodes != NO_CODE, _ELSEWHERE, _STATIC))
    if len(cover.absent):
        where[cover.without_agent(nodes) & (nodes != here)] = _NO_AGENT
    where[nobody] = _OF_CODE.take(endpoints.take(nobody))
    _look_at_those_without_node(where, endpoints, index)
    zones, regions = int(zone.max()) + 2, int(region.max()) + 2
    key = (where * zones + zone + 1) * regions + region + 1
    first, place = _numbered(key, _PLACES * zones * regions)
    return _Places(where[first], zone[first], region[first]), place


def _numbered(keys: I64, size: int) -> tuple[I64, I64]:
    """A row of each distinct key below ``size``, and for each row the number of its key."""
    if size > _FEW:
        _, first, number = np.unique(keys, return_index=True, return_inverse=True)
        return first, number.astype(np.int64)
    row_of = np.full(size, -1)
    row_of[keys] = np.arange(len(keys))
    present = row_of >= 0
    return row_of[present], (np.cumsum(present) - 1).take(keys)


def _look_at_those_without_node(where: I64, endpoints: I32, index: EndpointIndex) -> None:
    """Static entries and Services have no node by nature; a pod's is just not known yet."""
    rows = np.flatnonzero(where == _STATIC)
    for endpoint_id in set(endpoints[rows].tolist()):
        kind = index.endpoint(endpoint_id).kind
        if kind != STATIC:
            place = _SERVICE if kind == SERVICE else _UNKNOWN
            where[rows[endpoints[rows] == endpoint_id]] = place


def _verdicts(actions: U8, places: _Places, own: int) -> U8:
    """The table of the docstring over all pairs of places, (p, p)."""
    by_zones = _by_zones(places)
    fixed = _FIXED.take(actions)
    open_ = np.where(actions == _FORWARDED, by_zones[own], by_zones)
    return np.where(fixed == _OPEN, open_, fixed)


def _by_zones(places: _Places) -> U8:
    """The classes of the docstring, from each place (rows) to each; what is first there is last."""
    zone, region = places.zone, places.region
    nowhere, placed = zone == NO_CODE, region != NO_CODE
    outside = (places.where == _OUTSIDE) | ((places.where == _STATIC) & nowhere)
    found: U8 = _CROSSINGS.take(placed[:, None] == placed)
    found[zone[:, None] == zone] = v.SAME_ZONE
    found[:, nowhere] = v.DESTINATION_ZONE_UNKNOWN
    found[nowhere] = v.SOURCE_ZONE_UNKNOWN
    found[:, outside] = found[outside] = v.EXTERNAL_CLASS
    found[placed[:, None] & placed & (region[:, None] != region)] = v.CROSS_REGION
    return found
