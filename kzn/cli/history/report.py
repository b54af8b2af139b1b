"""``kzn report``: what a month, a year or another span cost, and whom."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kzn.cli.history.asking import HistoryPlace, asker, history_options
from kzn.cli.params import server_options

if TYPE_CHECKING:
    from kzn.client.find import ServerOptions
    from kzn.reports.period import Period
    from kzn.reports.report import Report

FORMATS = ("table", "csv", "json", "md", "html")


@click.command()
@click.option(
    "--month",
    metavar="YYYY-MM",
    allow_from_autoenv=False,
    help="A month, in UTC.  [default: the present one]",
)
@click.option("--year", metavar="YYYY", allow_from_autoenv=False, help="A year, in UTC.")
@click.option(
    "--last",
    metavar="DURATION",
    allow_from_autoenv=False,
    help="The days until now, such as 7d or 4w.",
)
@click.option(
    "--previous",
    is_flag=True,
    allow_from_autoenv=False,
    help="The month that ended last, as for a report on the first of a month.",
)
@click.option(
    "--by",
    type=click.Choice(["namespace", "workload", "group"]),
    default="namespace",
    show_default=True,
    allow_from_autoenv=False,
    help="What a row is. Groups need a server with --group-label.",
)
@click.option(
    "--charge",
    type=click.Choice(["cause", "sides"]),
    default="cause",
    show_default=True,
    allow_from_autoenv=False,
    help="Who pays for a byte: the end that opened its connection, or sender and receiver each"
    " its own price.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="DIMENSION=VALUE",
    allow_from_autoenv=False,
    help="Only these flows, as namespace=shop (either end). May be repeated.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    allow_from_autoenv=False,
    help="Most rows; the rest is one.",
)
@click.option(
    "--format",
    "style",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    allow_from_autoenv=False,
    help="html is one file that needs nothing else.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    allow_from_autoenv=False,
    help="Write a file in place of standard output; {period} in its name is that of the report.",
)
@click.option(
    "--post-to",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    allow_from_autoenv=False,
    help="Also post a summary to the webhook whose URL is in this file.",
)
@click.option(
    "--post-as",
    type=click.Choice(["slack", "teams"]),
    default="slack",
    show_default=True,
    allow_from_autoenv=False,
    help="What the webhook takes.",
)
@history_options
@server_options()
def report(
    *,
    month: str | None,
    year: str | None,
    last: str | None,
    previous: bool,
    by: str,
    charge: str,
    where: tuple[str, ...],
    limit: int,
    style: str,
    output: Path | None,
    post_to: Path | None,
    post_as: str,
    history: HistoryPlace,
    server: "ServerOptions",
) -> None:
    """Groups by cost, without prices by what they sent between zones and regions: their share, the
    change against the period before, and for a period that runs what it will have been.

    The sums are those of the history, to the byte. It needs a server with --history.
    """
    from kzn.client.past_traffic import PastTraffic
    from kzn.client.traffic import parse_where
    from kzn.reports.report import make_report

    if output is not None and not output.parent.is_dir():
        raise click.UsageError(f"the directory of {output} does not exist")
    now = time.time()
    found = make_report(
        asker(history, server, PastTraffic.from_json),
        _period(month, year, last, now, previous=previous),
        by=by,
        charge="sides" if charge == "sides" else "cause",
        now=now,
        limit=limit,
        where=parse_where(where),
    )
    text = _formatted(found, style)
    if output is None:
        click.echo(text)
    else:
        _write(output.with_name(output.name.replace("{period}", found.period)), text + "\n")
    if post_to is not None:
        from kzn.reports.post import post, read_url

        post(read_url(post_to), post_as, found)


def _period(
    month: str | None, year: str | None, last: str | None, now: float, *, previous: bool
) -> "Period":
    from kzn.client.traffic import parse_since
    from kzn.reports import period

    if sum((month is not None, year is not None, last is not None, previous)) > 1:
        raise click.UsageError("--month, --year, --last and --previous exclude each other")
    if month is not None:
        return period.month(month)
    if year is not None:
        return period.year(year)
    if last is not None:
        end = int(now) // 60 * 60
        return period.Period(f"the last {last}", end - parse_since(last), end)
    present = period.month_of(now)
    return period.before(present) if previous else present


def _formatted(found: "Report", style: str) -> str:
    import json

    from kzn.reports import document, html, table

    if style == "json":
        return json.dumps(document.report_document(found))
    if style == "html":
        return html.as_html(found)
    return {"table": table.as_text, "csv": table.as_csv, "md": table.as_markdown}[style](found)


def _write(path: Path, text: str) -> None:
    """Write a file as a whole: readers see the old one or the new one."""
    from kzn.errors import KznError

    half = path.with_name(f".{path.name}.half")
    try:
        half.write_text(text, "utf-8")
        half.replace(path)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise KznError(f"{path}: {error.strerror}") from error
