"""What the folding thread gets of a batch: the columns of its settled flows, and their ends.

In: flows with their resolution, and which of them are settled; on the event loop, while they are in
the processor's caches. Out: a `SettledBatch`. Pure. Never: an object for each address, or a column
that keeps all of a batch in memory until it is folded.
"""

from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import BOOL, I32, I64, U8, U16, U32, U64
from kzn.columns.sort_order import distinct
from kzn.model.endpoint import EXTERNAL
from kzn.model.flows import INITIATOR_DESTINATION, INITIATOR_SOURCE, Flows
from kzn.model.settled import ByClass
from kzn.server.recording.owners import Learned
from kzn.server.recording.words import rest_of
from kzn.server.resolve.resolution import Resolution
from kzn.server.settled_totals import by_class

_ONE = np.uint16(1)
_FEW = 4
"""Flows of fewer than one in so many addresses: the other addresses are left out."""


@dataclass(frozen=True, slots=True, eq=False)
class EndRows:
    """Ends of flows by row, which may repeat.

    ``addresses`` is (k, 16), ``owners`` (k,) the ids or codes of those that are charged,
    ``is_external`` (k,) whether the address itself is an external one.
    """

    addresses: U8
    owners: I32
    is_external: BOOL

    def __len__(self) -> int:
        return len(self.owners)

    def taken(self, rows: I64) -> "EndRows":
        """Those of some rows."""
        return EndRows(
            self.addresses.take(rows, axis=0), self.owners.take(rows), self.is_external.take(rows)
        )


@dataclass(frozen=True, slots=True, eq=False)
class SettledBatch:
    """The settled flows of one batch, or of several that were joined: each column is (m,).

    ``src`` and ``dst`` are rows of ``ends``, ``rest`` is `rest_of` their ports, protocols, verdicts
    and initiators. ``minutes`` is the minute since 1970 in which their interval ended, one for all
    or (m,). ``learned`` are the owners of those ids in ``ends`` that the fold does not know.
    """

    ends: EndRows
    src: U32
    dst: U32
    rest: U32
    packets: U64
    bytes: U64
    minutes: I64 | int
    learned: Learned
    sums: ByClass

    def __len__(self) -> int:
        return len(self.rest)


def settled_batch(
    flows: Flows, resolution: Resolution, chosen: I64, minutes: I64 | int, learned: Learned
) -> SettledBatch:
    """The flows ``chosen``; ``minutes`` and ``learned`` as `SettledBatch` has them."""
    verdict = resolution.verdict.take(chosen)
    packets, sizes = flows.packets.take(chosen), flows.bytes.take(chosen)
    initiator = resolution.initiators(chosen)
    port = service_port(flows.src_port.take(chosen), flows.dst_port.take(chosen), initiator)
    ends, src, dst = _ends(flows, resolution, chosen)
    return SettledBatch(
        ends=ends,
        src=src,
        dst=dst,
        rest=rest_of(port, flows.protocol.take(chosen), verdict, initiator),
        packets=packets,
        bytes=sizes,
        minutes=minutes,
        learned=learned,
        sums=by_class(verdict, packets, sizes),
    )


def service_port(src: U16, dst: U16, initiator: U8) -> U16:
    """The port of the end that was connected to; the lower one if that is not known."""
    # The lower one: 0, which is none, becomes the greatest number for the comparison.
    found: U16 = np.minimum(src - _ONE, dst - _ONE) + _ONE
    np.copyto(found, dst, where=(initiator == INITIATOR_SOURCE) & (dst != 0))
    np.copyto(found, src, where=(initiator == INITIATOR_DESTINATION) & (src != 0))
    return found


def _ends(flows: Flows, resolution: Resolution, chosen: I64) -> tuple[EndRows, U32, U32]:
    """The ends, and the rows in them of both ends of each flow: its own address with its owner.

    An end that another owner is charged for has a row of its own.
    """
    own = resolution.endpoints[: len(flows.addresses)]
    parts = [EndRows(_without_others(flows.addresses), own, own == EXTERNAL)]
    rows, found = len(own), []
    for column, charged in ((flows.src, resolution.src), (flows.dst, resolution.dst)):
        at = column.take(chosen)
        if not np.array_equal(column, charged):
            owned_by = charged.take(chosen)
            others = np.flatnonzero(at != owned_by)
            address = at.take(others)
            owners = resolution.endpoints.take(owned_by.take(others))
            parts.append(
                EndRows(
                    flows.addresses.take(address, axis=0), owners, own.take(address) == EXTERNAL
                )
            )
            at[others] = np.arange(rows, rows + len(others), dtype=np.uint32)
            rows += len(others)
        found.append(at)
    ends = parts[0] if len(parts) == 1 else _joined(parts)
    if _FEW * len(chosen) >= len(ends):
        return ends, found[0], found[1]
    used = distinct(np.concatenate(found))
    src, dst = (np.searchsorted(used, column).astype(np.uint32) for column in found)
    return ends.taken(used.astype(np.int64)), src, dst


def _without_others(addresses: U8) -> U8:
    """The same, not as a part of the table of all batches that were decoded together."""
    table = addresses.base
    is_part = table is not None and table.nbytes > addresses.nbytes
    return addresses.copy() if is_part else addresses


def _joined(parts: list[EndRows]) -> EndRows:
    return EndRows(
        np.concatenate([part.addresses for part in parts]),
        np.concatenate([part.owners for part in parts]),
        np.concatenate([part.is_external for part in parts]),
    )
