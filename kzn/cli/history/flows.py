"""``kzn flows``: what was sent in a span of the past, by a server, files or an engine."""

import csv
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from kzn.cli.history.asking import HistoryPlace, asker, history_options
from kzn.cli.params import json_option, server_options

if TYPE_CHECKING:
    from kzn.client.find import ServerOptions

_OTHER = "(other)"


@click.command()
@click.option(
    "--since",
    metavar="DURATION",
    allow_from_autoenv=False,
    help="Length of the span until --to: 15m, 24h, 7d, 2w.  [default: 1h]",
)
@click.option(
    "--from",
    "begin",
    metavar="TIME",
    allow_from_autoenv=False,
    help="Begin of the span: RFC 3339, Unix seconds, or how long ago.",
)
@click.option(
    "--to",
    "end",
    metavar="TIME",
    allow_from_autoenv=False,
    help="End of the span.  [default: now]",
)
@click.option(
    "--by",
    multiple=True,
    default=("src_workload,dst_workload,class",),
    show_default=True,
    metavar="DIMENSION,...",
    allow_from_autoenv=False,
    help="What to group by: src_, dst_ or cause_ before namespace, workload, pod, node, zone,"
    " region, address, kind, group, provider_id; port, protocol, class, reason, initiator,"
    " cluster.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="DIMENSION=VALUE",
    allow_from_autoenv=False,
    help="Flows to add up, as workload=shop/cart (either end) or dst_zone=b. May be repeated.",
)
@click.option(
    "--limit",
    type=click.IntRange(0, 10_000),
    default=50,
    show_default=True,
    allow_from_autoenv=False,
    help="Most rows.",
)
@click.option(
    "--compare",
    is_flag=True,
    allow_from_autoenv=False,
    help="Also the span of the same length before.",
)
@history_options
@server_options()
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV on stdout.")
def flows(
    *,
    since: str | None,
    begin: str | None,
    end: str | None,
    by: tuple[str, ...],
    where: tuple[str, ...],
    limit: int,
    compare: bool,
    history: HistoryPlace,
    server: "ServerOptions",
    as_json: bool,
    as_csv: bool,
) -> None:
    """The largest groups of flows of a span, their rest and their total.

    Pods, nodes and addresses need a server with --history. Pods, addresses and pairs of nodes are
    kept for days; workloads, zones, and the nodes of one end for longer.
    """
    from kzn.client.traffic import parse_query

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    parameters: dict[str, tuple[str, ...]] = {
        name: (value,)
        for name, value in (("since", since), ("from", begin), ("to", end))
        if value is not None
    }
    parameters |= {"by": by, "where": where, "limit": (str(limit),)}
    parameters |= {"compare": ("previous",)} if compare else {}
    query = parse_query(parameters, time.time())
    found = asker(history, server, _checked)(query)
    if as_json:
        click.echo(json.dumps(found))
    elif as_csv:
        from kzn.reports.csv_cells import cell_of

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([*found["by"], *_sums(found)])
        writer.writerows(
            [cell_of(cell) if isinstance(cell, str) else cell for cell in row]
            for row in _rows(found)
        )
    else:
        click.echo(table(found))


def table(found: Any) -> str:
    """An answer as lines for people."""
    from kzn.client.explain import timestamp
    from kzn.reports.extent import note_of_span

    head = [*found["by"], *_sums(found)]
    rows = [head, *([str(value) for value in row] for row in _rows(found))]
    if found["by"]:
        total = ["total", *[""] * (len(found["by"]) - 1)]
        rows.append([*total, *(str(found["total"][name]) for name in _sums(found))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    labels = len(found["by"])
    lines = [
        "  ".join(
            cell.ljust(width) if number < labels else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    span = f"{timestamp(found['from'])} to {timestamp(found['to'])}"
    notes = [f"{span}, {found['of']} groups, by {found['source']}"]
    first = found["complete_from"]
    last = found.get("complete_to")
    if first and last and (last <= found["from"] or first >= found["to"]):
        notes.append(note_of_span(first, last))
    elif first is None or first > found["from"]:
        notes.append(f"there is no data before {timestamp(first or found['to'])}")
    notes += [
        f"from {timestamp(gap['from'])} to {timestamp(gap['to'])} bytes are missing:"
        f" {gap['reason']}"
        for gap in found["gaps"]
    ]
    return "\n".join([*notes, "", *lines])


def _sums(found: Any) -> list[str]:
    return [name for name in ("bytes", "packets", "before") if name in found["total"]]


def _rows(found: Any) -> list[list[Any]]:
    names = [*found["by"], *_sums(found)]
    rows = [[row[name] for name in names] for row in found["rows"]]
    rest = [found["other"][name] for name in _sums(found)]
    if any(rest) and found["by"]:
        rows.append([_OTHER, *[""] * (len(found["by"]) - 1), *rest])
    return rows


def _checked(found: Any) -> Any:
    """The answer if it has the keys that are shown."""
    for name in ("from", "to", "by", "rows", "other", "total", "of", "complete_from", "gaps"):
        found[name]
    return found
