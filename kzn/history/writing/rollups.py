"""Rows of an hour added up: by pairs of workloads, and by node. Pure.

In: rows of SETTLED. Out: rows of SETTLED whose ends stand for all that have the same workload, the
same node or the same place, so that their columns are encoded as those of other rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import I64, U64
from kzn.columns.distinct_pairs import distinct_pairs
from kzn.columns.group_sums import sums
from kzn.history.segments import HOUR
from kzn.history.writing.end_names import EndNames
from kzn.model.settled import SETTLED

Rows = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """An hour's rows, added up by pairs of workloads, and by node as sent and as received."""

    pairs: Rows
    sent: Rows
    received: Rows

    def __len__(self) -> int:
        return len(self.pairs) + len(self.sent) + len(self.received)


def sums_of(rows: Rows, names: EndNames) -> Sums:
    """The sums of rows of one hour."""
    return Sums(of_pairs(rows, names), *of_nodes(rows, names))


def joined(parts: Sequence[Sums], names: EndNames) -> Sums:
    """The sums of all parts, of one hour."""
    if len(parts) == 1:
        return parts[0]
    pairs, sent, received = (
        np.concatenate([getattr(part, name) for part in parts]) for name in Sums.__slots__
    )
    return Sums(of_pairs(pairs, names), of_nodes(sent, names)[0], of_nodes(received, names)[1])


def of_pairs(rows: Rows, names: EndNames) -> Rows:
    """The sums of each pair of workloads, port, protocol, verdict and initiator."""
    src, dst = (names.common("workload", _column(rows, side)) for side in ("src", "dst"))
    return _grouped(rows, src, dst, has_port=True)


def of_nodes(rows: Rows, names: EndNames) -> tuple[Rows, Rows]:
    """The sums of what each node sent, to each place, and of what it received, from each place."""
    src, dst = _column(rows, "src"), _column(rows, "dst")
    return (
        _grouped(rows, names.common("node", src), names.common("place", dst)),
        _grouped(rows, names.common("place", src), names.common("node", dst)),
    )


def _column(rows: Rows, name: str) -> I64:
    found: I64 = rows[name].astype(np.int64)
    return found


def _grouped(rows: Rows, src: I64, dst: I64, *, has_port: bool = False) -> Rows:
    rest = (_column(rows, "verdict") << 8 | _column(rows, "initiator")).astype(np.uint64)
    if has_port:
        port = (_column(rows, "port") << 8 | _column(rows, "protocol")).astype(np.uint64)
        rest |= port << np.uint64(16)
    ends: U64 = (src << 32 | dst).astype(np.uint64)
    kept, kinds = distinct_pairs(ends, rest)
    found = np.zeros(len(kept), SETTLED)
    found["time"] = rows["time"].take(kept) // HOUR * HOUR
    found["src"], found["dst"] = src.take(kept), dst.take(kept)
    for name in ("verdict", "initiator", *(("port", "protocol") if has_port else ())):
        found[name] = rows[name].take(kept)
    for name in ("packets", "bytes"):
        found[name] = sums(kinds, rows[name], len(kept))
    return found
