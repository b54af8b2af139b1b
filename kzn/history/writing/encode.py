"""Rows of SETTLED as the columns of a file of any level. Pure.

In: rows, the names of their ends, class and reason by verdict. Out: the pieces of a Parquet file.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from kzn.history.columns import (
    DIRECTION,
    INITIATORS,
    KEYS,
    OF_NODE,
    OF_PLACE,
    PROTOCOLS,
    RECEIVED,
    SCHEMA,
    SENT,
)
from kzn.history.segments import Level
from kzn.history.writing import parquet
from kzn.history.writing.end_names import OF_WORKLOAD, EndNames, Table
from kzn.history.writing.parquet import Kind, Texts, Values

Rows = npt.NDArray[np.void]
_NUMBERS: dict[str, Kind] = {"time": "time", "port": "port", "packets": "count", "bytes": "count"}
_METADATA = {"kzn_history": str(SCHEMA)}
_PROTOCOLS = Values(PROTOCOLS.get(number, str(number)) for number in range(256))
_INITIATORS = Values(INITIATORS)


def kinds(level: Level) -> dict[str, Kind]:
    """The columns of the files of a level."""
    return {name: _NUMBERS.get(name, "text") for name in ("time", *KEYS[level], "packets", "bytes")}


class Encoder:
    """Encodes rows; ``verdicts`` are class and reason by the number in the rows."""

    def __init__(self, verdicts: Sequence[tuple[str, str]]) -> None:
        classes, reasons = zip(*verdicts, strict=True)
        self._classes, self._reasons = Values(classes), Values(reasons)

    def file(self, level: Level, rows: Rows, names: EndNames, cluster: str) -> Iterator[bytes]:
        """The pieces of a file of minutes or pairs of workloads, in the order of the rows."""
        fields = None if level == "raw" else OF_WORKLOAD

        def columns(part: Rows) -> Table:
            found = self._flow_columns(part, cluster)
            for side in ("src", "dst"):
                ends = part[side].astype(np.int64)
                found |= names.columns(side, ends, *([] if fields is None else [fields]))
            return found

        groups = ((len(part), columns(part)) for part in _cut(rows))
        return parquet.write(kinds(level), groups, _METADATA)

    def file_of_nodes(
        self, level: Level, sent: Rows, received: Rows, names: EndNames, cluster: str
    ) -> Iterator[bytes]:
        """The pieces of a file of what each node sent and received."""

        def columns(part: Rows, near: str) -> Table:
            found = self._flow_columns(part, cluster)
            direction = SENT if near == "src" else RECEIVED
            found[DIRECTION] = _constant(direction, len(part))
            for side in ("src", "dst"):
                fields = (*OF_NODE, *OF_PLACE) if side == near else OF_PLACE
                found |= names.columns(side, part[side].astype(np.int64), fields)
                if side != near:
                    found |= {f"{side}_{name}": _constant("", len(part)) for name in OF_NODE}
            return found

        groups = chain(
            ((len(part), columns(part, "src")) for part in _cut(sent)),
            ((len(part), columns(part, "dst")) for part in _cut(received)),
        )
        return parquet.write(kinds(level), groups, _METADATA)

    def _flow_columns(self, rows: Rows, cluster: str) -> Table:
        return {
            "time": rows["time"],
            "port": rows["port"],
            "protocol": Texts(rows["protocol"], _PROTOCOLS),
            "class": Texts(rows["verdict"], self._classes),
            "reason": Texts(rows["verdict"], self._reasons),
            "initiator": Texts(rows["initiator"], _INITIATORS),
            "cluster": _constant(cluster, len(rows)),
            "packets": rows["packets"],
            "bytes": rows["bytes"],
        }


def _constant(text: str, rows: int) -> Texts:
    return Texts(np.zeros(rows, np.uint8), Values([text]))


def _cut(rows: Rows) -> Iterator[Rows]:
    size = parquet.ROW_GROUP
    return (rows[at : at + size] for at in range(0, len(rows), size))
