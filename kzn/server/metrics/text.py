"""The text format of metrics, written in whole columns and in pieces of bounded size.

In: a copy of the ledger, samples of other metrics. Out: lines of the Prometheus and OpenMetrics
text formats. Never: a piece so long that the event loop, which shares the interpreter lock with
the renderer, delays acks during the scrape of a large cluster.

Integers are written exactly, also beyond 2^53. Labels are in the order of docs/metrics.md.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, repeat

import msgspec
import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import F64, U64
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


def lines(
    metric: Metric, samples: Iterable[Sample], created: Sequence[float] = ()
) -> Iterator[bytes]:
    """The samples of any metric, each with its ``_created`` line if ``created`` has its time."""
    left = zip(samples, created or repeat(0.0), strict=False)
    while part := list(islice(left, CHUNK)):
        yield "".join([_line(metric, *sample, since) for sample, since in part]).encode(
            errors="replace"
        )


def series(
    snapshot: LedgerSnapshot,
    family: Family,
    metric: Metric,
    pause: Callable[[], object] = lambda: None,
    *,
    created: bool = False,
) -> Iterator[bytes]:
    """The samples of a family of the ledger as they are exposed; with ``_created`` lines or not.

    ``pause`` is called every few milliseconds while the text of labels is made.
    """
    view = snapshot.views[family.name]
    keys, totals, times = view.keys, view.exposed_bytes, view.created
    other, is_there, began = view.exposed_other, bool(view.other.bytes), view.other.created
    if family.other_key is not None and (namesake := keys == family.other_key).any():
        other += int(totals[namesake].sum())
        is_there, began = True, float(times[namesake][0])
        keys, totals, times = keys[~namesake], totals[~namesake], times[~namesake]
    tables = _tables(snapshot, family, pause)
    begins = _with_begin(tables[0], f"{metric.name}{{")
    begins_created = _with_begin(tables[0], f"{_created_name(metric)}{{") if created else begins
    for first in range(0, len(keys), CHUNK):
        part = slice(first, first + CHUNK)
        codes = family.layout.unpack(keys[part])
        labels = [
            table.take(code).tolist() for table, code in zip(tables[1:], codes[1:], strict=True)
        ]
        columns = [begins.take(codes[0]).tolist(), *labels, _number_lines(totals[part])]
        if created and times[part].any():
            columns += _created_columns(begins_created.take(codes[0]).tolist(), labels, times[part])
        yield _joined(columns)
    if is_there:
        yield from lines(metric, [(family.other_labels, other)], [began] if created else ())


def _line(metric: Metric, values: Labels, value: float, created: float) -> str:
    labels = _braces(metric.labels, values)
    line = f"{metric.name}{labels} {value}\n"
    return f"{line}{_created_name(metric)}{labels} {created:.3f}\n" if created else line


def _created_name(metric: Metric) -> str:
    return metric.name.removesuffix("_total") + "_created"


def _with_begin(table: Objects, begin: str) -> Objects:
    """The texts of the first labels, after the name of the metric."""
    head = begin.encode()
    found = np.empty(len(table), object)
    found[:] = [head + text for text in table.tolist()]
    return found


def _number_lines(totals: U64) -> list[bytes]:
    """The text of each number with the end of its line."""
    texts = msgspec.json.encode(totals.tolist())[1:-1].replace(b",", b"\n,").split(b",")
    texts[-1] += b"\n"
    return texts


def _created_columns(
    begins: list[bytes], labels: list[list[bytes]], created: F64
) -> list[list[bytes]]:
    # Series of one batch began at one time, so there are far fewer texts than series.
    distinct, number = np.unique(created, return_inverse=True)
    texts = np.empty(len(distinct), object)
    texts[:] = [b"%.3f\n" % time for time in distinct.tolist()]
    columns = [begins, *labels, texts.take(number).tolist()]
    if distinct[0] > 0:
        return columns
    known = (created > 0).tolist()
    return [
        [piece if is_known else b"" for piece, is_known in zip(column, known, strict=True)]
        for column in columns
    ]


def _joined(columns: list[list[bytes]]) -> bytes:
    pieces: list[bytes] = [b""] * (len(columns[0]) * len(columns))
    for number, column in enumerate(columns):
        pieces[number :: len(columns)] = column
    return b"".join(pieces)


def _tables(snapshot: LedgerSnapshot, family: Family, pause: Callable[[], object]) -> list[Objects]:
    """The text of each code, by column; that of the last column ends the labels."""
    ends = [","] * (len(family.columns) - 1) + ["} "]
    return [
        _table(column.rows(snapshot.tables), column.labels, end, pause)
        for column, end in zip(family.columns, ends, strict=True)
    ]


def _table(rows: Sequence[Labels], names: Labels, end: str, pause: Callable[[], object]) -> Objects:
    table = np.empty(len(rows), object)
    for first in range(0, len(rows), CHUNK):
        part = rows[first : first + CHUNK]
        table[first : first + CHUNK] = [
            f"{_pairs(names, row)}{end}".encode(errors="replace") for row in part
        ]
        if len(part) == CHUNK:
            pause()
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
