"""The demo's live table and report for a terminal, drawn by rich. Pure except for the console.

In: rows of the report. Out: renderables. Never: reads a counter.
"""

from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from kzn.demo.cost import PROVIDERS
from kzn.demo.report import PairRow, Report

PLAIN_WIDTH = 120


def console(*, plain: bool = False) -> Console:
    """A console on stdout; PLAIN_WIDTH columns if stdout is a file or a pipe."""
    found = Console(highlight=False)
    return found if found.is_terminal and not plain else Console(width=PLAIN_WIDTH, highlight=False)


def live(rows: Iterable[PairRow], elapsed: float, seconds: float | None) -> RenderableType:
    """Bytes carried and counted so far, IPv4 and IPv6 added up.

    The counts of kzn lag by up to the agents' interval.
    """
    table = Table(title="L3 bytes so far", title_justify="left", box=None)
    for name in ("from", "to", "protocol"):
        table.add_column(name)
    for name in ("payload sent", "uplink carried", "kzn counted"):
        table.add_column(name, justify="right")
    sums: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    for row in rows:
        ends = (*_ends(row), row.protocol.removesuffix("v6"))
        sent, wire, counted = sums.get(ends, (0, 0, 0))
        sums[ends] = sent + row.sent_bytes, wire + row.wire_bytes, counted + row.counted_bytes
    for ends, amounts in sorted(sums.items()):
        table.add_row(*ends, *(f"{amount:,}" for amount in amounts))
    return Group(table, Text(""), Text(_progress(elapsed, seconds)))


def report(found: Report) -> RenderableType:
    """Bytes sent, carried and counted, and the result."""
    table = Table(title="L3 bytes per pair and protocol", title_justify="left", box=None)
    for name in ("from", "to", "protocol"):
        table.add_column(name)
    for name in ("payload sent", "computed", "uplink carried", "kzn counted", "difference"):
        table.add_column(name, justify="right")
    for row in found.pairs:
        computed = "" if row.computed_bytes is None else f"{row.computed_bytes:,}"
        table.add_row(
            *_ends(row),
            f"{row.protocol.removesuffix('v6')}/IPv{row.family}",
            f"{row.sent_bytes:,}",
            computed,
            f"{row.wire_bytes:,}",
            f"{row.counted_bytes:,}",
            f"{row.difference:+,}" if row.difference else "0",
            style=None if row.exact else "red",
        )
    parts: list[RenderableType] = [table, _uplinks(found), _own(found), _result(found)]
    parts += [_months(found)] if found.months else []
    spaced = [line for part in parts for line in (part, Text(""))]
    return Group(*spaced[:-1])


def _uplinks(found: Report) -> RenderableType:
    table = Table(title="Wire counters and device counters", title_justify="left", box=None)
    table.add_column("node")
    for name in ("device: L3 bytes", "packets", "carried: L3 bytes", "packets"):
        table.add_column(name, justify="right")
    for row in found.uplinks:
        table.add_row(
            row.node,
            f"{row.device_bytes:,}",
            f"{row.device_packets:,}",
            f"{row.carried_bytes:,}",
            f"{row.carried_packets:,}",
            style=None if row.exact else "red",
        )
    return table


def _own(found: Report) -> Text:
    wire = sum(row.wire_bytes for row in found.own)
    counted = sum(row.counted_bytes for row in found.own)
    left = sum(row.left_bytes for row in found.own)
    return Text(
        f"kzn's own batches: {wire:,} bytes on the wire, {counted:,} counted, {left:,} still in the"
        " kernel, since the last batch cannot contain its own packets"
    )


def _result(found: Report) -> Text:
    wire = sum(row.wire_bytes for row in found.pairs)
    counted = sum(row.counted_bytes for row in found.pairs)
    across = sum(row.wire_bytes for row in found.pairs if row.src_zone != row.dst_zone)
    if found.exact:
        words = f"exact: {counted:,} bytes counted of {wire:,}, {across:,} of them across zones"
        return Text(words, style="green")
    return Text(f"NOT exact: {counted:,} bytes counted of {wire:,}", style="red")


def _months(found: Report) -> RenderableType:
    size = found.months[0].bytes
    title = f"A month at this rate, {size / 1e12:,.1f} TB across zones, by public list prices"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("on")
    for name in ("sender's side", "receiver's side", "both"):
        table.add_column(name, justify="right")
    table.add_column("prices of")
    for row in found.months:
        both = f"{row.both:,.2f} {row.currency}" if row.both else "free"
        table.add_row(
            PROVIDERS.get(row.provider, row.provider),
            f"{row.sender:,.2f}",
            f"{row.receiver:,.2f}",
            both,
            row.date,
        )
    return table


def _ends(row: PairRow) -> tuple[str, str]:
    return f"{row.src} ({row.src_zone})", f"{row.dst} ({row.dst_zone})"


def _progress(elapsed: float, seconds: float | None) -> str:
    if seconds is None:
        return f"{elapsed:.0f} s; Ctrl-C stops and prints the report"
    done = min(20, int(20 * elapsed / seconds)) if seconds else 20
    return f"[{'#' * done}{'.' * (20 - done)}] {min(elapsed, seconds):.0f} of {seconds:.0f} s"
