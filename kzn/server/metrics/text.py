"""The text format of metrics, written in whole columns and in pieces of bounded size.

In: a copy of the ledger, samples of other metrics. Out: lines of the Prometheus and OpenMetrics
text formats. Never: a piece so long that the event loop, on which they are made between two
batches, delays acks during the scrape of a large cluster. An empty piece is work without a line.

Integers are written exactly, also beyond 2^53. Labels are in the order of docs/metrics.md.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import islice, repeat
from operator import is_not
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import F64, U64
from kzn.daemon.metrics import Metric, MetricSamples, Sample
from kzn.server.ledger.family import Family, LedgerSnapshot
from kzn.server.ledger.labels import LabelKind, Labels

CHUNK = 4096
"""Series per piece: about two milliseconds."""

Objects = npt.NDArray[np.object_]
Texts = list[bytes]


class MetricColumns(NamedTuple):
    """A metric with labels, and its samples for `column_lines`."""

    metric: Metric
    labels: Sequence[Texts]
    numbers: Sequence[float]
    created: Sequence[float] = ()


MoreSamples = MetricSamples | MetricColumns | None
"""A metric, or None: work was done, and other work may be."""

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
    begin = f"{metric.name}{{{_form(metric.labels)}}}" if metric.labels else metric.name
    begin_created = begin.replace(metric.name, _created_name(metric), 1)
    form, both = f"{begin} %s\n", f"{begin} %s\n{begin_created} %.3f\n"
    while part := list(islice(left, CHUNK)):
        text = "".join(
            [
                both % (*values, value, *values, since) if since else form % (*values, value)
                for (values, value), since in part
            ]
        )
        rows = len(part) + sum(1 for _, since in part if since)
        if not _is_plain(text, rows, len(metric.labels)):
            text = "".join([_line(metric, *sample, since) for sample, since in part])
        yield text.encode(errors="replace")


class LabelTexts:
    """The text of each code, by kind, names of labels and what follows them.

    It is kept from scrape to scrape: only codes with other labels than at the last one are
    formatted, since that takes as long as all the rest of a scrape.
    """

    __slots__ = ("_made", "_tables")

    def __init__(self) -> None:
        self._tables: dict[tuple[LabelKind, Labels, str], tuple[Sequence[Labels], Objects]] = {}
        self._made = 0

    @property
    def made(self) -> int:
        """How many texts were formatted so far."""
        return self._made

    def table(
        self, kind: LabelKind | None, names: Labels, end: str, rows: Sequence[Labels]
    ) -> Generator[bytes, None, Objects]:
        """The texts of ``rows`` by code; gives empty pieces on the way.

        ``rows`` are those of a snapshot: the same list has the same labels, and maybe more.
        """
        if kind is None:
            return _texts(rows, names, end)
        known, texts = self._tables.get((kind, names, end), ((), np.empty(0, object)))
        size, both = len(rows), min(len(rows), len(texts))
        stale: list[int] = []
        if rows is not known:
            other = np.fromiter(map(is_not, rows, islice(known, both)), np.bool_, both)
            stale = np.flatnonzero(other).tolist()
            yield b""
        stale += range(both, size)
        found = texts
        if stale or size != len(texts):
            found = np.empty(size, object)
            found[:both] = texts[:both]
        for first in range(0, len(stale), CHUNK):
            part = stale[first : first + CHUNK]
            found[part] = _texts([rows[code] for code in part], names, end)
            yield b""
        self._made += len(stale)
        self._tables[kind, names, end] = rows, found
        return found


def series(
    snapshot: LedgerSnapshot,
    family: Family,
    metric: Metric,
    *,
    created: bool = False,
    texts: LabelTexts | None = None,
) -> Iterator[bytes]:
    """The samples of a family of the ledger as they are exposed; with ``_created`` lines or not.

    ``texts`` are those of the last scrape, or of other families, which have the same workloads.
    """
    view = snapshot.views[family.name]
    keys, totals, times = view.keys, view.exposed_bytes, view.created
    other, is_there, began = view.exposed_other, bool(view.other.bytes), view.other.created
    if family.other_key is not None and (namesake := keys == family.other_key).any():
        other += int(totals[namesake].sum())
        is_there, began = True, float(times[namesake][0])
        keys, totals, times = keys[~namesake], totals[~namesake], times[~namesake]
    tables = yield from _tables(snapshot, family, LabelTexts() if texts is None else texts)
    for first in range(0, len(keys), CHUNK):
        part = slice(first, first + CHUNK)
        codes = family.layout.unpack(keys[part])
        labels = [table.take(code).tolist() for table, code in zip(tables, codes, strict=True)]
        yield _rows(metric, labels, totals[part], times[part] if created else None)
    if is_there:
        yield from lines(metric, [(family.other_labels, other)], [began] if created else ())


def column_lines(
    metric: Metric, labels: Sequence[Texts], numbers: Sequence[float], created: Sequence[float] = ()
) -> Iterator[bytes]:
    """The samples of a metric with labels: `label_texts` by column, and as many numbers.

    ``created`` is when each began, 0 where that is unknown; empty to have no such lines.
    """
    for first in range(0, len(numbers), CHUNK):
        part = slice(first, first + CHUNK)
        times = np.array(created[part], np.float64) if created else None
        yield _rows(metric, [column[part] for column in labels], numbers[part], times)


def label_texts(name: str, values: Sequence[str], *, last: bool = False) -> Texts:
    """A column of `column_lines`; ``last`` for the one before the numbers."""
    found: Texts = _texts([(value,) for value in values], (name,), "} " if last else ",").tolist()
    return found


def _rows(
    metric: Metric, labels: list[Texts], numbers: Sequence[float] | U64, created: F64 | None
) -> bytes:
    size = len(numbers)
    columns = [[f"{metric.name}{{".encode()] * size, *labels, _number_lines(numbers)]
    if created is not None and created.any():
        columns += _created_columns(f"{_created_name(metric)}{{".encode(), labels, created)
    return _joined(columns)


def _line(metric: Metric, values: Labels, value: float, created: float) -> str:
    labels = _braces(metric.labels, values)
    line = f"{metric.name}{labels} {value}\n"
    return f"{line}{_created_name(metric)}{labels} {created:.3f}\n" if created else line


def _created_name(metric: Metric) -> str:
    return metric.name.removesuffix("_total") + "_created"


def _number_lines(numbers: Sequence[float] | U64) -> Texts:
    """The text of each number with the end of its line."""
    plain = numbers.tolist() if isinstance(numbers, np.ndarray) else numbers
    texts = msgspec.json.encode(plain)[1:-1].replace(b",", b"\n,").split(b",")
    texts[-1] += b"\n"
    return texts


def _created_columns(begin: bytes, labels: list[Texts], created: F64) -> list[Texts]:
    # Series of one batch began at one time, so there are far fewer texts than series.
    distinct, number = np.unique(created, return_inverse=True)
    texts = np.empty(len(distinct), object)
    texts[:] = [b"%.3f\n" % time for time in distinct.tolist()]
    columns = [[begin] * len(created), *labels, texts.take(number).tolist()]
    if distinct[0] > 0:
        return columns
    known = (created > 0).tolist()
    return [
        [piece if is_known else b"" for piece, is_known in zip(column, known, strict=True)]
        for column in columns
    ]


def _joined(columns: list[Texts]) -> bytes:
    pieces: Texts = [b""] * (len(columns[0]) * len(columns))
    for number, column in enumerate(columns):
        pieces[number :: len(columns)] = column
    return b"".join(pieces)


def _tables(
    snapshot: LedgerSnapshot, family: Family, texts: LabelTexts
) -> Generator[bytes, None, list[Objects]]:
    """The text of each code, by column; that of the last column ends the labels."""
    ends = [","] * (len(family.columns) - 1) + ["} "]
    found = []
    for column, end in zip(family.columns, ends, strict=True):
        rows = column.rows(snapshot.tables)
        found.append((yield from texts.table(column.kind, column.labels, end, rows)))
    return found


def _texts(rows: Sequence[Labels], names: Labels, end: str) -> Objects:
    """The text of each row's labels."""
    table = np.empty(len(rows), object)
    form = f"{_form(names)}{end}\n"
    text = "".join([form % row for row in rows])
    if not _is_plain(text, len(rows), len(names)):
        text = "".join([f"{_pairs(names, row)}{end}\n" for row in rows])
    table[:] = text.encode(errors="replace").split(b"\n")[:-1]
    return table


def _form(names: Labels) -> str:
    """What makes labels of their values, by ``%``."""
    return ",".join([f'{name}="%s"' for name in names])


def _is_plain(text: str, lines: int, labels: int) -> bool:
    """Whether no value in ``lines`` lines of ``labels`` labels has a character to escape."""
    is_quoted = text.count('"') == 2 * labels * lines
    return is_quoted and text.count("\n") == lines and "\\" not in text


def _braces(names: Labels, values: Labels) -> str:
    return f"{{{_pairs(names, values)}}}" if names else ""


def _pairs(names: Labels, values: Labels) -> str:
    escaped = [value.translate(_ESCAPES) for value in values]
    return ",".join([f'{name}="{value}"' for name, value in zip(names, escaped, strict=True)])
