"""``kzn inspect-map``: the node's live counters from the pinned maps, as a table or JSON."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from kzn.agent.inspect.document import document
from kzn.agent.inspect.filter import FlowFilter, parse_filters
from kzn.agent.inspect.rows import FlowRow, Rates, Sort, ordered
from kzn.agent.inspect.snapshot import Snapshot, take
from kzn.cli.params import json_option, pin_dir_option, url_option
from kzn.client.api import AddressOwner
from kzn.client.http import ApiClient
from kzn.client.owner_lookup import OwnerLookup
from kzn.errors import KznError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WATCH_SECONDS = 1.0
PLAIN_WIDTH = 10_000
"""Width of a table in a file or pipe: lines are never wrapped."""


@dataclass(frozen=True, slots=True)
class InspectQuery:
    """The options of one command line."""

    pin_dir: Path
    top: int
    sort: Sort
    filter: FlowFilter
    lookup: OwnerLookup | None
    raw: bool


@click.command("inspect-map")
@pin_dir_option
@json_option
@click.option("--watch", is_flag=True, help="Read again every second until Ctrl-C.")
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    help="Rows of the table; 0 for all. JSON has all.",
)
@click.option(
    "--sort",
    type=click.Choice(get_args(Sort)),
    default="bytes",
    show_default=True,
    help="Order: numbers largest first, addresses ascending.",
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="TERM[,TERM...]",
    help="Show flows that match one of the terms. May be repeated: all filters must match.",
)
@url_option(None, "HTTP address of kzn server, http://HOST:8080; shows names of pods and zones.")
@click.option("--raw", is_flag=True, help="Show also the bytes of keys and values, for each CPU.")
def inspect_map(
    *,
    pin_dir: Path,
    as_json: bool,
    watch: bool,
    top: int,
    sort: Sort,
    filters: tuple[str, ...],
    url: str | None,
    token_file: Path | None,
    tls_ca: Path | None,
    raw: bool,
) -> None:
    """The table has what this node has counted and no server has acknowledged yet.

    It reads both buffers, the active one and the one in flight, and changes nothing. Rates are
    over the age of the active buffer; with --watch, between two readings.

    \b
    TERM  [!][src=|dst=|proto=]WORD  (! means not; else either end)
    WORD  an address, a network, a port or a protocol:
          --filter 10.1.0.0/16,fd00::/8   in one of the networks
          --filter dst=443 --filter !udp  both must hold
          --filter proto=47               a protocol by its number
    """  # noqa: D301 - \\b stops click from wrapping the lines that follow
    lookup = OwnerLookup(ApiClient(url, token_file=token_file, ca=tls_ca)) if url else None
    query = InspectQuery(pin_dir, top, sort, parse_filters(filters), lookup, raw)
    if as_json:
        for snapshots in _readings(query, watch=watch):
            click.echo(json.dumps([_document(query, *found) for found in snapshots]))
        return
    from rich.console import Console

    plain = Console()
    console = plain if plain.is_terminal or _width_is_set() else Console(width=PLAIN_WIDTH)
    if watch and console.is_terminal:
        _watch(query, console)
        return
    for snapshots in _readings(query, watch=watch):
        console.print(_page(query, snapshots, console), soft_wrap=True)


InspectReading = list[tuple[Snapshot, list[FlowRow]]]


def _readings(query: InspectQuery, *, watch: bool) -> Iterator[InspectReading]:
    """Every set of maps with all its flows; every second with ``watch``."""
    rates: dict[str, Rates] = {}
    while True:
        snapshots = take(query.pin_dir)
        rates = {found.name: rates.get(found.name, Rates()) for found in snapshots}
        yield [(found, rates[found.name].rows(found)) for found in snapshots]
        if not watch:
            return
        time.sleep(WATCH_SECONDS)


def _chosen(query: InspectQuery, rows: list[FlowRow]) -> list[FlowRow]:
    return ordered((row for row in rows if query.filter.matches(row.id)), query.sort)


def _owners(query: InspectQuery, rows: list[FlowRow]) -> dict[str, AddressOwner] | None:
    if query.lookup is None:
        return None
    return query.lookup.owners(address for row in rows for address in (row.id.src, row.id.dst))


def _document(query: InspectQuery, snapshot: Snapshot, rows: list[FlowRow]) -> dict[str, Any]:
    chosen = _chosen(query, rows)
    return document(snapshot, chosen, _owners(query, chosen), raw=query.raw)


def _page(query: InspectQuery, reading: InspectReading, console: "Console") -> "RenderableType":
    from rich.console import Group

    from kzn.cli.output.flow_table import Page, section

    parts: list[RenderableType] = []
    for snapshot, rows in reading:
        chosen = _chosen(query, rows)
        owners = _owners(query, chosen[: query.top] if query.top else chosen)
        page = Page(chosen, of=len(rows), top=query.top, owners=owners, raw=query.raw)
        parts += [section(snapshot, page, console.width), ""]
    return Group(*parts)


def _watch(query: InspectQuery, console: "Console") -> None:
    """Full screen until Ctrl-C. While the server does not answer, addresses have no names."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        for reading in _readings(query, watch=True):
            try:
                page = _page(query, reading, console)
            except KznError as error:
                without = replace(query, lookup=None)
                page = Group(Text(f"{error}\n"), _page(without, reading, console))
            live.update(page, refresh=True)


def _width_is_set() -> bool:
    return os.environ.get("COLUMNS", "").isdigit()
