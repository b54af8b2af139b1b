"""``kzn prices``: what a GB costs between the zones of a cluster; importers of price lists."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kzn.cli.params import FILE, json_option, server_options

if TYPE_CHECKING:
    from kzn.client.find import ServerOptions
    from kzn.client.prices import Price, PriceTable, UsedList

TB = 10**12


@click.group(invoke_without_command=True)
@server_options()
@click.option(
    "--provider",
    metavar="NAME",
    help="Ask no server: show what a provider's list says, such as aws, gcp or azure.",
)
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="REGION",
    help="With --provider: a region, each with two zones. May be repeated.",
)
@click.option(
    "--price-list",
    "files",
    type=FILE,
    multiple=True,
    help="With --provider: a price list as a YAML file, before the installed ones. May be"
    " repeated.",
)
@json_option
@click.pass_context
def prices(
    ctx: click.Context,
    *,
    server: "ServerOptions",
    provider: str | None,
    regions: tuple[str, ...],
    files: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Without a command it asks a server what applies between its zones: both ends' price, per GB
    and for 1 TB (10^12 bytes), with list and date, and what has no price and why.

    kzn prices export NAME prints an installed list as YAML, as a start for one of your own. kzn
    prices import aws|gcp|azure FILE... makes a list of the cloud's own offer files.
    """
    if ctx.invoked_subcommand is not None:
        return
    if provider is None and (regions or files):
        raise click.UsageError("--region and --price-list need --provider")
    if provider is not None:
        table = _offline(provider, regions, files)
    else:
        from kzn.client.prices import PriceTable

        table = server.client().fetch("prices", PriceTable.from_json)
    if as_json:
        click.echo(json.dumps(table.to_json()))
        return
    _show(table)


@prices.command("export")
@click.argument("name")
def export(name: str) -> None:
    """Print an installed price list as YAML."""
    from kzn.pricing.registry import find, installed
    from kzn.pricing.text import yaml_of

    click.echo(yaml_of(find(name, installed())), nl=False)


@prices.command("import")
@click.argument("provider", type=click.Choice(["aws", "gcp", "azure"]))
@click.argument("files", type=FILE, nargs=-1, required=True)
def import_(provider: str, files: tuple[Path, ...]) -> None:
    """Make a price list of a cloud's own offer files, and print it as YAML.

    aws: the offer AWSDataTransfer, a JSON file for each region. gcp: pages of SKUs of Compute
    Engine. azure: pages of retail prices of the service Bandwidth. Several files make one list.
    """
    from kzn.pricing.offers.aws import import_aws
    from kzn.pricing.offers.azure import import_azure
    from kzn.pricing.offers.gcp import import_gcp
    from kzn.pricing.text import yaml_of

    read = datetime.now(UTC).date()
    importers = {"aws": import_aws, "gcp": import_gcp, "azure": import_azure}
    found = importers[provider](files, read)
    comment = f"Made by kzn prices import {provider} on {read} of {len(files)} files."
    click.echo(yaml_of(found.prices, (comment,), found.extends), nl=False)
    click.echo(
        f"kzn: {found.used} prices made {len(found.prices.rules)} rules; {found.ignored} of other"
        " traffic and products were ignored",
        err=True,
    )
    if found.missing:
        kinds = ", ".join(map(str, found.missing))
        click.echo(
            f"kzn: no price in {found.prices.currency}, so unpriced in this list unless you write"
            f" one: {kinds}",
            err=True,
        )


def _offline(provider: str, regions: Sequence[str], files: Sequence[Path]) -> "PriceTable":
    from kzn.client.prices import price_table
    from kzn.model.provider import spelled
    from kzn.pricing.book import PriceBook
    from kzn.pricing.registry import installed, usable
    from kzn.pricing.table import Place

    provider = spelled(provider)
    if not provider:
        raise click.UsageError("--provider needs a name, such as aws")
    shipped = usable(installed())
    lists = []
    if files:
        from kzn.pricing.file import load_list

        lists = [load_list(path, shipped) for path in files]
    places = [Place(provider, region, zone) for region in regions or ("",) for zone in "ab"]
    return price_table(PriceBook(lists, shipped), places, datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class _Line:
    src: str
    arrow: str
    dst: str
    price: "Price"


def _show(table: "PriceTable") -> None:
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo("\n".join(text_of(table, columns)))


_HEADER = ("from", "", "to", "class", "sender/GB", "receiver/GB", "both/GB", "1 TB", "by")
_RIGHT = range(4, 8)


def text_of(table: "PriceTable", columns: int | None = None) -> Iterator[str]:
    """The table for people: prices, then lists, then what has no price.

    On a terminal of fewer ``columns`` than the table needs, each price has two lines.
    """
    if table.is_off:
        yield f"prices are off (kzn server --prices off), as of {table.time}"
        return
    lists = {one.provider: one for one in table.lists}
    lines = list(lines_of(table.prices))
    found = [*_rows(lines, lists)] if lines else []
    if columns is not None and max(map(len, found), default=0) > columns:
        found = [line for x in lines for line in _two_lines(x, lists)]
    found += [*_about_lists(table), *_about_unpriced(lines), *_about_limits(table)]
    for line in found:
        if columns is None or len(line) <= columns:
            yield line
        else:
            indent = line[: len(line) - len(line.lstrip())] or "  "
            yield from textwrap.wrap(
                line, max(columns, 20), subsequent_indent=indent, break_long_words=False
            )


def _two_lines(line: _Line, lists: dict[str, "UsedList"]) -> Iterator[str]:
    """The two ends and the class, and below what a byte between them costs."""
    sender, receiver, _, terabyte, by = cells(line.price, lists)
    yield " ".join(filter(None, (line.src, line.arrow if line.dst else "", line.dst))) + (
        f": {line.price.class_}"
    )
    if terabyte == "unpriced":
        yield f"  unpriced: {by}"
    elif terabyte == "free":
        yield f"  free; {by}"
    else:
        yield f"  per GB {sender} sender, {receiver} receiver; 1 TB {terabyte}; {by}"


def _rows(lines: Sequence[_Line], lists: dict[str, "UsedList"]) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [_HEADER]
    rows += [(x.src, x.arrow, x.dst, x.price.class_, *cells(x.price, lists)) for x in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (
            cell.rjust(width) if number in _RIGHT else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(padded).rstrip()


def lines_of(found: Sequence["Price"]) -> Iterator[_Line]:
    """The prices, a line each: both directions where they are the same, zones to themselves, and
    regions where zones do not matter.
    """
    by_ends = {(_end(price, "src"), _end(price, "dst"), price.class_): price for price in found}
    within: set[tuple[str, str, float | None]] = set()
    for (src, dst, cls), price in by_ends.items():
        from_, to = src[0], dst[0]
        if src == dst:
            key = price.src_provider, price.src_region, price.sender
            if key not in within:
                within.add(key)
                yield _Line(
                    f"a zone of {price.src_region or price.src_provider or 'no provider'}",
                    "=",
                    "",
                    price,
                )
            continue
        back = by_ends.get((dst, src, cls))
        if back is None or _answer(back) != _answer(price):
            yield _Line(from_, "→", to, price)
        elif src < dst:
            yield _Line(from_, "↔", to, price)


def cells(price: "Price", lists: dict[str, "UsedList"]) -> tuple[str, ...]:
    """Sender, receiver and both per GB of the list, 1 TB, and by whom."""
    if price.sender is None or price.receiver is None:
        return "", "", "", "unpriced", price.unpriced
    gb = lists[price.src_provider or price.dst_provider].gb_bytes
    both = price.sender + price.receiver
    ends = tuple(f"{part * gb:.6g}" for part in (price.sender, price.receiver, both))
    if not both:
        return *ends, "free", f"{price.list}, {price.date}"
    return *ends, f"{both * TB:,.2f} {price.currency}", f"{price.list}, {price.date}"


def _answer(price: "Price") -> tuple[object, ...]:
    """What the price says, without its ends and the words of its rule."""
    amounts = price.sender, price.receiver, price.currency
    return *amounts, price.list, price.source, price.date, price.unpriced


def _end(price: "Price", end: str) -> tuple[str, str]:
    """Label and provider of an end: zones of two providers may have one name."""
    zone, region = getattr(price, f"{end}_zone"), getattr(price, f"{end}_region")
    name, provider = getattr(price, f"{end}_name"), getattr(price, f"{end}_provider")
    if name:
        price_class = getattr(price, f"{end}_price_class")
        return name + f" ({price_class})" * bool(price_class), provider
    if region and price.class_ in ("cross_region", "external"):
        zone = region
    elif region and not zone.startswith(region):
        zone = f"{region}/{zone}"
    has_none = not provider and zone != "outside"
    return zone + " (no provider)" * has_none, provider


def _about_lists(table: "PriceTable") -> Iterator[str]:
    yield ""
    yield f"as of {table.time}; 1 TB is 10^12 bytes"
    for one in table.lists:
        gb = {1 << 30: "2^30", 10**9: "10^9"}.get(one.gb_bytes, str(one.gb_bytes))
        until = f" until {one.valid_until}" if one.valid_until else ""
        discount = f", discount {one.discount * 100:.4g} %" if one.discount else ""
        rate = f", {one.list_currency} at {one.rate:g}" if one.rate != 1 else ""
        yield (
            f"{one.name} ({one.provider}): {one.currency}{rate}{discount}, a GB is {gb} bytes,"
            f" valid from {one.valid_from}{until}, read {one.date}: {one.source}"
        )


def _about_unpriced(lines: Sequence[_Line]) -> Iterator[str]:
    for detail in dict.fromkeys(
        f"{line.price.unpriced}: {line.price.detail}" for line in lines if line.price.unpriced
    ):
        yield f"unpriced, {detail}"


def _about_limits(table: "PriceTable") -> Iterator[str]:
    from kzn.client.prices import MAX_PLACES

    if not table.places:
        yield "the topology has no node with a zone"
    if table.places > MAX_PLACES:
        yield f"{table.places} zones and entries; the first {MAX_PLACES} are shown"
