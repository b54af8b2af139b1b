"""How much of what tunnels carry is counted on an assumption that no peer can check.

In: the flows of a node and their resolution. Out: their bytes, by assumption.
Never: another verdict.
"""

import numpy as np

from kzn.columns.arrays import I64, U32
from kzn.model.flows import DELIVERED, NO_VIA, Flows
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.rules import ELSEWHERE, HERE, NO_AGENT, is_place
from kzn.server.resolve.verdict import TRANSIT
from kzn.server.stats import AssumedBytes

_AT_A_NODE = np.array([HERE, ELSEWHERE, NO_AGENT])


def assumed(flows: Flows, resolution: Resolution) -> AssumedBytes:
    """The bytes of ``flows`` by assumption."""
    found = AssumedBytes()
    delivered = np.flatnonzero(flows.flags & np.uint8(DELIVERED))
    if len(delivered):
        sides = _sides(resolution, flows.src.take(delivered))
        is_transit = resolution.verdict.take(delivered) == TRANSIT
        chosen = delivered[is_transit & ~np.isin(sides, _AT_A_NODE)]
        found = found._replace(from_no_node=int(flows.bytes.take(chosen).sum()))
    if flows.via is not None:
        tunnelled = np.flatnonzero(flows.via != NO_VIA)
        sides = _sides(resolution, flows.via.take(tunnelled))
        is_attributed = resolution.verdict.take(tunnelled) < TRANSIT
        chosen = tunnelled[is_attributed & ~is_place(sides)]
        found = found._replace(far_end_unknown=int(flows.bytes.take(chosen).sum()))
    return found


def _sides(resolution: Resolution, rows: U32) -> I64:
    return resolution.side.take(resolution.location.take(rows))
