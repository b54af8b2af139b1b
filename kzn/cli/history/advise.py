"""``kzn advise``: what would end traffic between zones, and what that saves a month."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from kzn.cli.params import json_option, server_options
from kzn.reports.numbers import size

if TYPE_CHECKING:
    from kzn.client.find import ServerOptions

_SURE_SECONDS = 86_400
"""A window with fewer seconds of data has not seen the hours of a day."""
_HEADER = ("saving/month", "stays/month", "verdict", "sure", "rule", "what")


@click.command()
@click.option(
    "--since",
    metavar="DURATION",
    allow_from_autoenv=False,
    help="What was measured: the last 24h, 7d, ...  [default: 7d, or what is kept]",
)
@click.option(
    "--service",
    "of_service",
    metavar="NAMESPACE/NAME",
    allow_from_autoenv=False,
    help="Only what concerns this Service, with all that is known of it.",
)
@click.option(
    "--min-saving",
    type=click.FloatRange(min=0),
    metavar="AMOUNT",
    allow_from_autoenv=False,
    help="Only proposals that save so much money a month.",
)
@server_options(service_option="--server-service")
@json_option
def advise(
    *,
    since: str | None,
    of_service: str | None,
    min_saving: float | None,
    server: "ServerOptions",
    as_json: bool,
) -> None:
    """Proposals, the largest saving first: a change, what it saves a month, its risks.

    With --service all of each proposal. Nothing is changed: a proposal has the command to do so.
    """
    from kzn.reports.amounts import printable

    found = server.client().fetch("advice", _checked, question(since, of_service, min_saving))
    if as_json:
        click.echo(json.dumps(found))
        return
    lines = text_of(found, is_long=of_service is not None)
    click.echo("\n".join(map(printable, lines)))


def question(
    since: str | None, of_service: str | None, min_saving: float | None
) -> list[tuple[str, str]]:
    """The parameters of the API, each amount with all its digits."""
    given = {"since": since, "service": of_service, "min_saving": min_saving}
    return [(name, str(value)) for name, value in given.items() if value is not None]


def text_of(found: Any, *, is_long: bool) -> Iterator[str]:
    """The answer for people: a table, or all of each proposal."""
    from kzn.client.explain import timestamp

    window = found["window"]
    yield (
        f"{timestamp(window['from'])} to {timestamp(window['to'])},"
        f" {_measured(window['seconds'])} of it measured; a month is 730 h"
    )
    if window["seconds"] < _SURE_SECONDS:
        yield "less than a day was measured: amounts of a month are only as good as that"
    yield from found["notes"]
    yield ""
    if not found["proposals"]:
        yield "no proposal"
        return
    if is_long:
        for one in found["proposals"]:
            yield from _long(one)
    else:
        yield from _table(found["proposals"])
    if found["of"] > len(found["proposals"]):
        yield f"and {found['of'] - len(found['proposals'])} more"
    yield (
        f"total: {money(found['saving_per_month'])} and {size(found['saved_bytes_per_month'])} a"
        " month; what two proposals save is counted once"
    )


def _measured(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _table(proposals: list[Any]) -> Iterator[str]:
    rows = [
        _HEADER,
        *(
            (
                _saving(one),
                size(one["saved_bytes_per_month"]),
                one["verdict"],
                one["confidence"],
                one["rule"],
                one["title"],
            )
            for one in proposals
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if number < 2 else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _long(one: Any) -> Iterator[str]:
    measured, change = one["measured"], one["change"]
    yield f"{one['title']}  [{one['id']}]"
    yield (
        f"  {one['verdict']}, confidence {one['confidence']}, effort {one['effort']}:"
        f" {one['effort_text']}"
    )
    yield (
        f"  measured: {size(measured['bytes'])}, {size(measured['crossing_bytes'])} between zones,"
        f" {money(measured['cost'])}"
    )
    yield f"  saves {_saving(one)} and {size(one['saved_bytes_per_month'])} a month"
    for price in one["prices"]:
        yield (
            f"    {price['src_zone']} → {price['dst_zone']}: {price['both_per_gib']:.4g}"
            f" {price['currency']}/GiB at both ends ({price['list']}, {price['date']})"
        )
    yield f"  change: {change['summary']}"
    yield from (f"    {line}" for line in (*change["commands"], *change["yaml"].splitlines()))
    for zone in one["zones"]:
        yield (
            f"  {zone['zone']}: {zone['client_share']:.0%} of the clients, endpoints"
            f" {zone['endpoints_before']} → {zone['endpoints_after']}, load of each"
            f" {_load(zone['load_before'])} → {_load(zone['load_after'])}"
        )
    for name, text in (("risks", "risk"), ("why", "why"), ("unknown", "not known")):
        yield from (f"  {text}: {line}" for line in one[name])
    if one["overlaps"]:
        yield f"  saves the same bytes as {', '.join(one['overlaps'])}"
    yield f"  afterwards: {one['verify']}"
    yield ""


def _saving(one: Any) -> str:
    """What a proposal saves; a dash for what saves no byte, and so has no price to lack."""
    return money(one["saving_per_month"]) if one["saved_bytes_per_month"] else "-"


def money(amounts: dict[str, float]) -> str:
    """Amounts by currency; "unpriced" without any."""
    return ", ".join(f"{amount:,.2f} {name}" for name, amount in amounts.items()) or "unpriced"


def _load(load: float | None) -> str:
    return "-" if load is None else f"{load:.2f}"


def _checked(found: Any) -> Any:
    """The answer if it has the keys that are shown."""
    for name in ("window", "notes", "proposals", "of", "saving_per_month", "saved_bytes_per_month"):
        found[name]
    return found
