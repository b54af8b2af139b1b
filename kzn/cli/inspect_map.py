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
from kzn.client.owner_lookup import Owner, OwnerLookup
from kzn.errors import KznError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

LOOK_SECONDS = 1.0
PLAIN_WIDTH = 10_000
"""Of a table that goes to a file or a pipe: as wide as it needs to be."""


@dataclass(frozen=True, slots=True)
class InspectQuery:
    """What the command line asks for."""

    pin_dir: Path
    top: int
    sort: Sort
    wanted: FlowFilter
    names: OwnerLookup | None
    raw: bool


@click.command("inspect-map", short_help="This node's live counters.")
@click.option(
    "--pin-dir",
    type=click.Path(path_type=Path, readable=False),
    default=Path("/sys/fs/bpf/kzn"),
    show_default=True,
    help="Where the agent pinned its maps.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document; with --watch one a line.")
@click.option("--watch", is_flag=True, help="Look again every second until Ctrl-C.")
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    help="Rows of the table; 0 for all. JSON always has all.",
)
@click.option(
    "--sort",
    type=click.Choice(get_args(Sort)),
    default="bytes",
    show_default=True,
    help="Largest first, or by address.",
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="TERM[,TERM...]",
    help="Only flows that match one of the terms; given more than once, all must match.",
)
@click.option(
    "--server",
    metavar="URL",
    allow_from_autoenv=False,  # KZN_SERVER is where an agent ships to, and no URL
    help="Show names of pods, as this server's HTTP port tells them (http://HOST:8080).",
)
@click.option("--raw", is_flag=True, help="Also the bytes of keys and values, CPU by CPU.")
def inspect_map(
    *,
    pin_dir: Path,
    as_json: bool,
    watch: bool,
    top: int,
    sort: Sort,
    filters: tuple[str, ...],
    server: str | None,
    raw: bool,
) -> None:
    """Show what this node has counted and no server has acknowledged yet.

    Both buffers are read, the active one and the one in flight. Reading takes nothing away from
    the agent. The rate is that of the active buffer over its age; with --watch, from look to look.

    \b
    TERM  [!][src=|dst=|proto=]WORD  (! means not; else either end)
    WORD  an address, a network, a port, or the name of a protocol:
          --filter 10.1.0.0/16,fd00::/8   in one of the networks
          --filter dst=443 --filter !udp  both must hold
          --filter proto=47               a protocol by its number
    """  # noqa: D301 - click's mark of lines that stay as they are
    names = OwnerLookup(server) if server is not None else None
    look = InspectQuery(pin_dir, top, sort, parse_filters(filters), names, raw)
    if as_json:
        for snapshots in _looks(look, watch=watch):
            click.echo(json.dumps([_document(look, *found) for found in snapshots]))
        return
    from rich.console import Console

    plain = Console()
    console = plain if plain.is_terminal or _width_is_set() else Console(width=PLAIN_WIDTH)
    if watch and console.is_terminal:
        _watch(look, console)
        return
    for snapshots in _looks(look, watch=watch):
        console.print(_page(look, snapshots, console), soft_wrap=True)


Seen = list[tuple[Snapshot, list[FlowRow]]]


def _looks(look: InspectQuery, *, watch: bool) -> Iterator[Seen]:
    """Every set with all its flows; again each second when it is watched."""
    rates: dict[str, Rates] = {}
    while True:
        snapshots = take(look.pin_dir)
        rates = {found.name: rates.get(found.name, Rates()) for found in snapshots}
        yield [(found, rates[found.name].rows(found)) for found in snapshots]
        if not watch:
            return
        time.sleep(LOOK_SECONDS)


def _chosen(look: InspectQuery, rows: list[FlowRow]) -> list[FlowRow]:
    return ordered((row for row in rows if look.wanted.matches(row.id)), look.sort)


def _owners(look: InspectQuery, rows: list[FlowRow]) -> dict[str, Owner] | None:
    if look.names is None:
        return None
    return look.names.of(address for row in rows for address in (row.id.src, row.id.dst))


def _document(look: InspectQuery, snapshot: Snapshot, rows: list[FlowRow]) -> dict[str, Any]:
    chosen = _chosen(look, rows)
    return document(snapshot, chosen, _owners(look, chosen), raw=look.raw)


def _page(look: InspectQuery, seen: Seen, console: "Console") -> "RenderableType":
    from rich.console import Group

    from kzn.cli.flow_table import Page, section

    parts: list[RenderableType] = []
    for snapshot, rows in seen:
        chosen = _chosen(look, rows)
        owners = _owners(look, chosen[: look.top] if look.top else chosen)
        page = Page(chosen, of=len(rows), top=look.top, owners=owners, raw=look.raw)
        parts += [section(snapshot, page, console.width), ""]
    return Group(*parts)


def _watch(look: InspectQuery, console: "Console") -> None:
    """The whole terminal, until Ctrl-C; a server that is away for a while is no reason to end."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        for seen in _looks(look, watch=True):
            try:
                page = _page(look, seen, console)
            except KznError as error:
                without = replace(look, names=None)
                page = Group(Text(f"{error}\n"), _page(without, seen, console))
            live.update(page, refresh=True)


def _width_is_set() -> bool:
    return os.environ.get("COLUMNS", "").isdigit()
