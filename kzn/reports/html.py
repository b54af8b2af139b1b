"""A report as one HTML file that needs nothing else, on a screen and on paper. Pure."""

from html import escape

from kzn.reports.numbers import money, share, size
from kzn.reports.report import Line, Report
from kzn.reports.table import sheet, span, title

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5c6773; --rule: #d8dee6;
  --bar: #c9dcf5; --page: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --dim: #9aa5b1; --rule: #333d49;
  --bar: #24466f; --page: #12161c; } }
@media print { :root { --ink: #000; --dim: #444; --rule: #bbb; --bar: #dde7f3; --page: #fff; }
  tr { break-inside: avoid; } thead { display: table-header-group; }
  td { print-color-adjust: exact; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--page);
  margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0; }
p.span, ul { color: var(--dim); }
dl { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 1.2rem 0; }
dt { color: var(--dim); font-size: 0.85rem; }
dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.6rem; text-align: right; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th { color: var(--dim); font-weight: 500; font-size: 0.85rem; }
th:first-child, td:first-child { text-align: left; white-space: normal;
  overflow-wrap: anywhere; min-width: 12rem; }
td:first-child { background: linear-gradient(var(--bar), var(--bar)) no-repeat left / var(--part); }
tr:last-child td { font-weight: 600; border-bottom: none; border-top: 2px solid var(--ink); }
"""


def as_html(report: Report, cluster: str = "") -> str:
    """The page; names from the cluster are escaped."""
    found = sheet(report)
    shown = [*report.lines, *([report.other] if report.other else []), report.total]
    rows = "\n".join(
        _row(cells, 0.0 if line is report.total else line.share)
        for cells, line in zip(found.rows, shown, strict=True)
    )
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in found.head)
    notes = "\n".join(f"<li>{escape(note)}</li>" for note in report.notes)
    heading = title(report) + (f", {cluster}" if cluster else "")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(heading)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(heading)}</h1>
<p class="span">{span(report)}</p>
<dl>
{_figures(report)}
</dl>
<div class="table"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
<ul>
{notes}
</ul>
</body>
</html>"""


def _row(cells: tuple[str, ...], part: float) -> str:
    first = f'<td style="--part: {100 * max(0.0, min(part, 1.0)):.1f}%">{escape(cells[0])}</td>'
    return f"<tr>{first}" + "".join(f"<td>{escape(cell)}</td>" for cell in cells[1:]) + "</tr>"


def _figures(report: Report) -> str:
    total: Line = report.total
    amount = total.amount
    figures = [("crossed zones or regions", size(amount.crossed))]
    if amount.bytes:
        figures.append(("of all bytes", share(amount.crossed / amount.bytes)))
    if report.currency:
        figures.append(("cost", f"{money(amount.money(report.currency))} {report.currency}"))
    if total.forecast_cost is not None:
        figures.append(("forecast", f"{money(total.forecast_cost)} {report.currency}"))
    elif total.forecast_crossed is not None:
        figures.append(("forecast", size(total.forecast_crossed)))
    return "\n".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in figures)
