"""What was found of the flows of a batch, or of several that were joined.

In: the columns of `resolve`. Out: sums and parts of them. Pure.
"""

from dataclasses import dataclass, replace

import numpy as np

from kzn.columns.arrays import BOOL, I32, I64, U8, U64
from kzn.columns.group_sums import sums
from kzn.model.flows import (
    INITIATOR_DESTINATION,
    INITIATOR_MASK,
    INITIATOR_SOURCE,
    INITIATOR_UNKNOWN,
)
from kzn.server.resolve import verdict as v
from kzn.server.resolve.joined import JoinedFlows
from kzn.server.resolve.rules import BY_ZONES, ELSEWHERE, HERE

_INITIATORS = np.array(
    [INITIATOR_UNKNOWN, INITIATOR_SOURCE, INITIATOR_DESTINATION, INITIATOR_UNKNOWN], np.uint8
).take(np.arange(256) & INITIATOR_MASK)
"""By a flow's flags; both bits of the mask at once are invalid."""


@dataclass(frozen=True, slots=True, eq=False)
class Resolution:
    """Verdicts of m flows over n distinct addresses.

    ``endpoints`` (n + 1,) has the endpoint id or negative code of each address; its last row is the
    reporting node. (Of joined batches that is so for each part.) ``src`` and ``dst`` (m,) are the
    rows charged: of a forwarded flow ``src`` is the node's row, and of one that another address
    sent, the row of its ``sender``; of a flow that a tunnel carries elsewhere ``dst`` is the row of
    its ``via``.
    Rows of the same side, zone and region have one location: ``location`` (n + 1,) is its number,
    ``side`` (p,) its side. ``rules`` and ``verdicts`` (k * p, p) are by the locations of source
    and destination; k is 1, or 4 if tunnels of the reporting node bear on a flow, and row
    SENT_HERE * p + i is that of location i for what this node sends; one more if flows are
    forwarded, by their node's location. ``cell`` (m,) is the cell of these that each flow has its
    ``verdict`` (m,) from, counted row by row.
    ``classes`` (p, p) are the classes by the locations that are charged.
    ``attributed`` are the numbers of the flows with a class as verdict. ``flags`` (m,) are the
    flows' own. ``counted_at_destination`` (k * p, p) marks the cells of attributed flows from
    absent nodes.
    """

    endpoints: I32
    src: I64
    dst: I64
    cell: I64
    verdict: U8
    attributed: I64
    flags: U8
    location: I64
    side: I64
    rules: U8
    verdicts: U8
    classes: U8
    counted_at_destination: BOOL

    def to_other_agents(self) -> BOOL:
        """Which flows are attributed, and go from this node to another one with an agent: (m,)."""
        p = self.locations
        row, column = np.divmod(np.arange(self.rules.size), p)
        cells = (self.side[row % p] == HERE) & (self.side[column] == ELSEWHERE)
        cells &= (self.rules.ravel() == BY_ZONES) & (self.verdicts.ravel() < v.TRANSIT)
        found: BOOL = cells.take(self.cell)
        return found

    def by_part(self, part: I64, parts: int, *columns: U64) -> list[U64]:
        """The sums of each of ``columns`` by the ``part`` (m,) of flows and verdict.

        (parts, verdicts); as in `by_verdict`, attributed flows are summed under SAME_ZONE.
        """
        codes = len(v.NAMES)
        unresolved = np.flatnonzero(self.verdict > v.TRANSIT)  # few, so that few are grouped
        cell = part.take(unresolved) * codes + self.verdict.take(unresolved)
        part_attributed = part.take(self.attributed)
        tables = []
        for column in columns:
            table = sums(cell, column.take(unresolved), parts * codes).reshape(parts, codes)
            rest = sums(part, column, parts) - table.sum(axis=1)
            attributed = sums(part_attributed, column.take(self.attributed), parts)
            table[:, v.SAME_ZONE], table[:, v.TRANSIT] = attributed, rest - attributed
            tables.append(table)
        return tables

    def part(self, joined: JoinedFlows, number: int) -> "Resolution":
        """The resolution of one of the batches that were joined."""
        first = joined.addresses[number]
        rows = slice(first, joined.addresses[number + 1])
        flows = slice(joined.flows[number], joined.flows[number + 1])
        verdict = self.verdict[flows]
        return replace(
            self,
            endpoints=self.endpoints[rows],
            src=self.src[flows] - first,
            dst=self.dst[flows] - first,
            cell=self.cell[flows],
            verdict=verdict,
            attributed=np.flatnonzero(verdict < v.TRANSIT),
            flags=self.flags[flows],
            location=self.location[rows],
        )

    @property
    def locations(self) -> int:
        """Number of distinct locations."""
        return len(self.side)

    def initiators(self, chosen: I64) -> U8:
        """Which end opened the connection (kzn.model.flows), of the flows ``chosen``."""
        return _INITIATORS.take(self.flags.take(chosen))

    def by_verdict(self, *columns: U64) -> list[U64]:
        """The sums of each of ``columns`` (m,) by verdict.

        All attributed flows are summed under SAME_ZONE: the ledger has them by class.
        """
        found = [np.zeros(len(v.NAMES), np.uint64) for _ in columns]
        if not (self.verdicts > v.TRANSIT).any():  # as in most batches: two sums, no grouping
            for column, total in zip(columns, found, strict=True):
                total[v.SAME_ZONE] = column.take(self.attributed).sum()
                total[v.TRANSIT] = column.sum() - total[v.SAME_ZONE]
            return found
        verdicts = np.where(self.verdicts < v.TRANSIT, v.SAME_ZONE, self.verdicts).ravel()
        for column, total in zip(columns, found, strict=True):
            np.add.at(total, verdicts, sums(self.cell, column, len(verdicts)))
        return found
