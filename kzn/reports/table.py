"""A report as cells, and these as text, CSV or Markdown. Pure.

In: a `Report`. Out: `Sheet`, with a title for each column; lines of text.
"""

import csv
import io
import re
from dataclasses import dataclass

from kzn.client.explain import timestamp
from kzn.reports.csv_cells import cell_of
from kzn.reports.numbers import change, money, share, size
from kzn.reports.report import Line, Report


@dataclass(frozen=True, slots=True)
class Sheet:
    """Cells as text; the first column is a name, the others are numbers. The total is last."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def title(report: Report) -> str:
    """What the report is about."""
    whom = "by the end that opened the connection" if report.charge == "cause" else "by end"
    return f"Traffic between zones, {report.period}, by {report.by}, charged {whom}"


def span(report: Report) -> str:
    """The span that was answered."""
    return f"{timestamp(report.begin)} to {timestamp(report.end)}"


def sheet(report: Report) -> Sheet:
    """The cells of a report. Columns of which nothing is known are left out."""
    priced = bool(report.currency)
    compared = report.total.before is not None
    running = report.total.forecast_crossed is not None
    head = [report.by, "all", "crossed"]
    head += [f"cost {report.currency}"] if priced else []
    head += ["share", *([f"{report.before}", "change a day"] if compared else [])]
    head += ["forecast"] if running else []
    lines = [*report.lines, *([report.other] if report.other else []), report.total]
    return Sheet(
        tuple(head),
        tuple(_cells(line, report, compared=compared, running=running) for line in lines),
    )


def _cells(line: Line, report: Report, *, compared: bool, running: bool) -> tuple[str, ...]:
    amount, currency = line.amount, report.currency
    cells = [line.name, size(amount.bytes), size(amount.crossed)]
    cells += [money(amount.money(currency))] if currency else []
    cells.append(share(line.share))
    if compared:
        then = line.before
        if then is None:
            cells.append("-")
        else:
            cells.append(money(then.money(currency)) if currency else size(then.crossed))
        cells.append(change(line.change))
    if running:
        expected = line.forecast_cost if currency else line.forecast_crossed
        text = money if currency else size
        cells.append("-" if expected is None else text(expected))
    return tuple(cells)


def as_text(report: Report) -> str:
    """For a terminal."""
    found = sheet(report)
    rows = [found.head, *found.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_padded(row, widths) for row in rows]
    lines.insert(len(lines) - 1, "-" * max(map(len, lines)))
    return "\n".join([title(report), span(report), "", *lines, "", *report.notes]).rstrip()


def _padded(row: tuple[str, ...], widths: list[int]) -> str:
    first = row[0].ljust(widths[0])
    return "  ".join([first, *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])


def as_markdown(report: Report) -> str:
    """A table for an issue or a chat."""
    found = sheet(report)
    lines = [
        f"**{title(report)}**",
        "",
        span(report),
        "",
        _row(found.head),
        _row(("---", *["---:"] * (len(found.head) - 1))),
        *(_row(row) for row in found.rows),
        "",
        *(f"- {_escaped(note)}" for note in report.notes),
    ]
    return "\n".join(lines).rstrip()


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(cell: str) -> str:
    return re.sub(r"([|`<>*_~&$\[\]\\])", r"\\\1", cell)


def as_csv(report: Report) -> str:
    """Exact numbers: bytes as integers, money unrounded; what is not known is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            *(report.by, "bytes", "crossed_bytes", "external_bytes", "unresolved_bytes"),
            *("unpriced_bytes", "cost", "currency", "share", "crossed_bytes_before"),
            *("cost_before", "change", "forecast_crossed_bytes", "forecast_cost", "prices"),
        ]
    )
    prices = ", ".join(map(str, report.prices))
    for line in [*report.lines, *([report.other] if report.other else []), report.total]:
        amount, then = line.amount, line.before
        cost = amount.money(report.currency) if report.currency else None
        before = then.money(report.currency) if then and report.currency else None
        writer.writerow(
            [
                *(
                    cell_of(line.name),
                    amount.bytes,
                    amount.crossed,
                    amount.external,
                    amount.unresolved,
                ),
                *(amount.unpriced, cost, report.currency, line.share),
                *(then.crossed if then else None, before, line.change),
                *(line.forecast_crossed, line.forecast_cost, cell_of(prices)),
            ]
        )
    return out.getvalue().rstrip("\n")
