"""``kzn top``: a live table of what crosses zones, read from a server."""

import json
import time
from typing import TYPE_CHECKING

import click

from kzn.cli.params import DURATION, server_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kzn.client.find import ServerOptions
    from kzn.client.http import ApiClient
    from kzn.top.history import History, SortKey


@click.command()
@server_options(multiple=True)
@click.option("--json", "as_json", is_flag=True, help="Print each reading as a line of JSON.")
@click.option("--once", is_flag=True, help="Read once: totals without rates.")
@click.option(
    "--sort",
    type=click.Choice(["rate", "total", "name", "cost"]),
    default="rate",
    show_default=True,
    help="Order of the lists.",
)
@click.option(
    "--interval", type=DURATION, default="2s", show_default=True, help="Time between two readings."
)
@click.option(
    "--window",
    type=DURATION,
    default="60s",
    show_default=True,
    help="Period of the rates; agents report every 10 s.",
)
def top(
    *,
    server: "ServerOptions",
    as_json: bool,
    once: bool,
    sort: "SortKey",
    interval: float,
    window: float,
) -> None:
    """Bytes from zone to zone, and the workloads and pairs that send most across zones.

    Enter opens the selected workload, / filters, ? lists all keys. Totals are since the server's
    counters began; the last minutes of each workload are from the server's history. With a server
    in each zone, forward a port to each (kubectl port-forward), and give --url for each.
    """
    from kzn.top.document import document
    from kzn.top.history import History
    from kzn.top.reading import take_reading

    servers, history = server.clients(), History(window)
    if not as_json:
        _show(servers, history, sort, None if once else interval)
        return
    history.add(take_reading(servers))
    click.echo(json.dumps(document(history, sort)))
    while not once:
        time.sleep(interval)
        history.add(take_reading(servers))
        click.echo(json.dumps(document(history, sort)))


def _show(
    servers: "Sequence[ApiClient]", history: "History", sort: "SortKey", interval: float | None
) -> None:
    """A live screen; one page of text without an interval or without a terminal."""
    from rich.console import Console

    from kzn.top.reading import take_reading
    from kzn.top.screen import Size, page, shown
    from kzn.top.trends import take_trends
    from kzn.top.view import View

    console = Console()
    if interval is not None and console.is_terminal:
        from kzn.top.live import watch

        watch(servers, history, interval, sort, console)
        return
    history.add(take_reading(servers))
    size, trends = Size(console.width, None), take_trends(servers)
    console.print(page(history, View(sort), size, shown(servers), trends=trends))
