"""The text format of metrics, written in whole columns and in pieces of bounded size.

In: a copy of the ledger, samples of other metrics. Out: lines of the Prometheus and OpenMetrics
text formats. Never: a piece so long that the event loop, which shares the interpreter lock with
the renderer, delays acks during the scrape of a large cluster.

Integers are written exactly, also beyond 2^53. Labels are in the order of docs/metrics.md.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import msgspec
import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import I64, U64
from kzn.daemon.metrics import Metric, Sample
from kzn.server.ledger.family import Family, LedgerSnapshot
from kzn.server.ledger.labels import Labels

CHUNK = 4096
"""Series per piece: about two milliseconds."""

Objects = npt.NDArray[np.object_]

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def head(metric: Metric, *, openmetrics: bool) -> bytes:
    """The lines before the samples of a metric; in OpenMetrics a counter's lack ``_total``."""
    name = metric.name.removesuffix("_total") if openmetrics else metric.name
    return f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n".encode()


def lines(metric: Metric, samples: Iterable[Sample]) -> Iterator[bytes]:
    """The samples of any metric."""
    left = iter(samples)
    while part := list(islice(left, CHUNK)):
        yield "".join(
            f"{metric.name}{_braces(metric.labels, values)} {value}\n" for values, value in part
        ).encode()


def series(snapshot: LedgerSnapshot, family: Family, metric: Metric) -> Iterator[bytes]:
    """The samples of a family of the ledger: the bytes that `lines` of its rows would give."""
    view = snapshot.views[family.name]
    keys, totals, other = view.keys, view.bytes, view.other
    if family.other_key is not None:
        namesake = keys == family.other_key
        other += int(totals[namesake].sum())
        keys, totals = keys[~namesake], totals[~namesake]
    begin = f"{metric.name}{{".encode()
    tables = _tables(snapshot, family)
    for first in range(0, len(keys), CHUNK):
        part = slice(first, first + CHUNK)
        yield _written(begin, tables, family.layout.unpack(keys[part]), totals[part])
    if other:
        yield from lines(metric, [(family.other_labels, other)])


def _written(begin: bytes, tables: Sequence[Objects], codes: Sequence[I64], totals: U64) -> bytes:
    rows = len(totals)
    columns: list[list[bytes]] = [[begin] * rows]
    columns += [table.take(code).tolist() for table, code in zip(tables, codes, strict=True)]
    columns.append(msgspec.json.encode(totals.tolist())[1:-1].split(b","))
    columns.append([b"\n"] * rows)
    pieces: list[bytes] = [b""] * (rows * len(columns))
    for number, column in enumerate(columns):
        pieces[number :: len(columns)] = column
    return b"".join(pieces)


def _tables(snapshot: LedgerSnapshot, family: Family) -> list[Objects]:
    """The text of each code, by column; that of the last column ends the labels."""
    ends = [","] * (len(family.columns) - 1) + ["} "]
    return [
        _table(column.rows(snapshot.tables), column.labels, end)
        for column, end in zip(family.columns, ends, strict=True)
    ]


def _table(rows: Sequence[Labels], names: Labels, end: str) -> Objects:
    table = np.empty(len(rows), object)
    for first in range(0, len(rows), CHUNK):
        part = rows[first : first + CHUNK]
        table[first : first + CHUNK] = [f"{_pairs(names, row)}{end}".encode() for row in part]
    return table


def _braces(names: Labels, values: Labels) -> str:
    return f"{{{_pairs(names, values)}}}" if names else ""


def _pairs(names: Labels, values: Labels) -> str:
    text = ",".join([f'{name}="{value}"' for name, value in zip(names, values, strict=True)])
    # Few names have a character to escape; without any there are two quotes a label.
    if text.count('"') == 2 * len(names) and "\\" not in text and "\n" not in text:
        return text
    escaped = [value.translate(_ESCAPES) for value in values]
    return ",".join([f'{name}="{value}"' for name, value in zip(names, escaped, strict=True)])
