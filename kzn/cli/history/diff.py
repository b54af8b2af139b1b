"""``kzn diff``: two windows of the past beside each other, load and crossing apart."""

import json
import time
from typing import TYPE_CHECKING

import click

from kzn.cli.history.asking import HistoryPlace, asker, history_options
from kzn.cli.params import json_option, server_options
from kzn.errors import UsageError

if TYPE_CHECKING:
    from kzn.client.find import ServerOptions


@click.command()
@click.option(
    "--before",
    metavar="WINDOW",
    allow_from_autoenv=False,
    help="FROM..TO, or FROM.. for as long as --after; times are how long ago (10m, 7d), Unix"
    " seconds or RFC 3339.  [default: as --after, whole weeks earlier]",
)
@click.option(
    "--after",
    metavar="WINDOW",
    allow_from_autoenv=False,
    help="FROM..TO, FROM.. until now, or a duration until now, such as 6h.  [default: as long as"
    " FROM..TO of --before, else 1d, until now]",
)
@click.option(
    "--by",
    type=click.Choice(["workload", "pair", "zones", "port"]),
    default="workload",
    show_default=True,
    allow_from_autoenv=False,
    help="What a row is; a workload has what it caused.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="DIMENSION=VALUE",
    allow_from_autoenv=False,
    help="Only these flows, as dst_workload=shop/cart. May be repeated.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    allow_from_autoenv=False,
    help="Most rows; the rest is one.",
)
@click.option(
    "--advice",
    "advice_id",
    metavar="ID",
    allow_from_autoenv=False,
    help="Only the flows of this proposal of `kzn advise --json`, and what it predicted. Without"
    " windows: those that it was measured in, and since then.",
)
@history_options
@server_options()
@json_option
def diff(
    *,
    before: str | None,
    after: str | None,
    by: str,
    where: tuple[str, ...],
    limit: int,
    advice_id: str | None,
    history: HistoryPlace,
    server: "ServerOptions",
    as_json: bool,
) -> None:
    """Bytes an hour, the share that crosses zones or regions, and cost a month, before and after.

    "by load" is what crosses more or less because there is more or less traffic, "by routing"
    because another share of it crosses. Rows with the largest change come first.
    """
    from kzn.cli.history.proposal import ask_rollouts, fetch_proposal, windows_of
    from kzn.client.past_traffic import PastTraffic
    from kzn.client.traffic import parse_where
    from kzn.reports.comparison.diff import make_diff
    from kzn.reports.comparison.diff_text import as_text, document
    from kzn.reports.comparison.window import windows

    if advice_id is not None and (where or not history.is_of_server):
        raise UsageError("--advice goes without --where and --history, --history-store")
    clock = time.time()
    client = server.client() if history.is_of_server else None
    proposal = None
    if advice_id is not None and client is not None:
        proposal = fetch_proposal(client, advice_id)
        then, now = windows_of(proposal, before, after, clock)
    else:
        then, now = windows(before, after, clock)
    found = make_diff(
        asker(history, server, PastTraffic.from_json),
        then,
        now,
        by=by,
        where=parse_where(where),
        limit=limit,
        proposal=proposal,
        ask_rollouts=ask_rollouts(client) if client is not None else None,
    )
    click.echo(json.dumps(document(found)) if as_json else as_text(found))
