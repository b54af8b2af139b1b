"""Flows of several batches, joined so that they are resolved by the same calls of numpy.

In: flows of nodes. Out: one table of flows, and which part of it is each batch's. Never: a verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from kzn.columns.arrays import I64, U32
from kzn.model.flows import NO_VIA, Flows

_PER_FLOW = ("src_port", "dst_port", "protocol", "flags", "packets", "bytes")
_OWN_ROW = np.zeros((1, 16), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class JoinedFlows:
    """The flows of b batches, one after the other.

    The addresses of each batch are followed by a row of zeros, which stands for its node:
    ``own_rows`` (b,) are the numbers of these rows. ``part`` (m,) is the batch of each flow.
    ``addresses`` and ``flows`` have where each batch begins, and as their last entry the end.
    """

    table: Flows
    own_rows: I64
    part: I64
    addresses: tuple[int, ...]
    flows: tuple[int, ...]


def join(batches: Sequence[Flows]) -> JoinedFlows:
    """The flows of ``batches``, of which there is at least one."""
    rows = tuple(accumulate((len(flows.addresses) + 1 for flows in batches), initial=0))
    numbers = tuple(accumulate((len(flows) for flows in batches), initial=0))
    first = np.array(rows[:-1], np.uint32)
    counts = [len(flows) for flows in batches]
    offset = np.repeat(first, counts)
    columns = {
        name: np.concatenate([getattr(flows, name) for flows in batches]) for name in _PER_FLOW
    }
    table = Flows(
        addresses=np.concatenate(
            [piece for flows in batches for piece in (flows.addresses, _OWN_ROW)]
        ),
        src=np.concatenate([flows.src for flows in batches]) + offset,
        dst=np.concatenate([flows.dst for flows in batches]) + offset,
        via=_optional([flows.via for flows in batches], offset, counts),
        sender=_optional([flows.sender for flows in batches], offset, counts),
        **columns,
    )
    part = np.repeat(np.arange(len(batches)), counts)
    return JoinedFlows(table, np.array(rows[1:], np.int64) - 1, part, rows, numbers)


def _optional(columns: Sequence[U32 | None], offset: U32, counts: Sequence[int]) -> U32 | None:
    """Rows of a column that batches may lack; NO_VIA, which is NO_SENDER, where there is none."""
    if all(column is None for column in columns):
        return None
    found = np.concatenate(
        [
            np.full(count, NO_VIA, np.uint32) if column is None else column
            for column, count in zip(columns, counts, strict=True)
        ]
    )
    return np.where(found == NO_VIA, found, found + offset)
