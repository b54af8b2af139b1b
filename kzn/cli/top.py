"""``kzn top``: a live table of what crosses zones, read from a server."""

import json
import time
from typing import TYPE_CHECKING

import click

from kzn.cli.params import DURATION

if TYPE_CHECKING:
    from kzn.client.http import Client
    from kzn.top.look import History, SortKey


@click.command(short_help="Live table of what crosses zones.")
@click.option(
    "--server",
    default="http://127.0.0.1:8080",
    show_default=True,
    envvar="KZN_URL",  # KZN_SERVER is where agents send batches
    metavar="URL",
    help="HTTP address of kzn server.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document a look, on a line.")
@click.option("--once", is_flag=True, help="One look: totals, no rates.")
@click.option(
    "--sort",
    type=click.Choice(["rate", "total", "name"]),
    default="rate",
    show_default=True,
    help="What the lists are sorted by.",
)
@click.option(
    "--interval", type=DURATION, default="2s", show_default=True, help="Time between two looks."
)
@click.option(
    "--window",
    type=DURATION,
    default="60s",
    show_default=True,
    help="Rates are over this time; agents report every ten seconds.",
)
def top(
    *,
    server: str,
    as_json: bool,
    once: bool,
    sort: "SortKey",
    interval: float,
    window: float,
) -> None:
    """Show what crosses zones: from zone to zone, the top workloads and the top pairs.

    Totals are since the server began, rates over the last minute. In a cluster first run
    kubectl -n kzn port-forward svc/kzn-server 8080.
    """
    from kzn.client.http import Client
    from kzn.top.document import document
    from kzn.top.look import History

    client = Client(server)
    if not as_json:
        _show(client, History(window), sort, None if once else interval)
        return
    history = History(window)
    history.add(client.look())
    click.echo(json.dumps(document(history, sort)))
    while not once:
        time.sleep(interval)
        history.add(client.look())
        click.echo(json.dumps(document(history, sort)))


def _show(client: "Client", history: "History", sort: "SortKey", interval: float | None) -> None:
    """The screen; without an interval, or where there is no terminal, one page of text."""
    from rich.console import Console

    from kzn.top.screen import page

    console = Console()
    if interval is not None and console.is_terminal:
        from kzn.top.live import watch

        watch(client, history, interval, sort, console)
        return
    history.add(client.look())
    console.print(page(history, sort, None, client.url))
