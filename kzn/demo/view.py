"""The demo's live table and report for a terminal, drawn by rich. Pure except for the console.

In: rows of the report. Out: renderables. Never: reads a counter.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from kzn.demo.cost import PROVIDERS
from kzn.demo.report import PairRow, Report

PLAIN_WIDTH = 120
SHOWN = 16
"""Groups that have a line of their own."""


class _Sums(NamedTuple):
    """Rows added up. ``off`` is the sum of their differences without signs."""

    sent: int
    wire: int
    counted: int
    off: int
    is_exact: bool


_Ends = tuple[str, str]


def console(*, plain: bool = False) -> Console:
    """A console on stdout; PLAIN_WIDTH columns if stdout is a file or a pipe."""
    found = Console(highlight=False)
    return found if found.is_terminal and not plain else Console(width=PLAIN_WIDTH, highlight=False)


def live(rows: Iterable[PairRow], elapsed: float, seconds: float | None) -> RenderableType:
    """Bytes carried and counted so far, of the largest groups.

    The counts of kzn lag by up to the agents' interval.
    """
    table = _table("L3 bytes so far", "payload sent", "uplink carried", "kzn counted")
    groups = _groups(rows)
    for ends, group in groups[:SHOWN]:
        table.add_row(*ends, *(f"{amount:,}" for amount in group[:3]))
    if rest := groups[SHOWN:]:
        table.add_row(*_rest(rest), *(f"{amount:,}" for amount in _sum(rest)[:3]))
    return Group(table, Text(""), Text(_progress(elapsed, seconds)))


def report(found: Report) -> RenderableType:
    """Bytes sent, carried and counted, and the result.

    Rows are added up by workload and zone; the largest have a line, and each that is not exact.
    """
    columns = ("payload sent", "uplink carried", "kzn counted", "difference")
    table = _table("L3 bytes from workload to workload", *columns)
    groups = _groups(found.pairs)
    small = [one for one in groups[SHOWN:] if one[1].is_exact]
    for ends, group in groups:
        if (ends, group) not in small:
            table.add_row(*ends, *_amounts(group), style=None if group.is_exact else "red")
    if small:
        table.add_row(*_rest(small), *_amounts(_sum(small)))
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
    across = sum(row.wire_bytes for row in found.pairs if row.crosses)
    if found.exact:
        words = (
            f"exact: {counted:,} bytes counted of {wire:,}, {across:,} of them across zones;"
            f" no difference in {len(found.pairs)} rows by pod, protocol and IP version"
        )
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


def _table(title: str, *numbers: str) -> Table:
    table = Table(title=title, title_justify="left", box=None)
    for name in ("from", "to"):
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _groups(rows: Iterable[PairRow]) -> list[tuple[_Ends, _Sums]]:
    """Sums by workload and zone of both ends, largest first."""
    found: dict[_Ends, list[_Sums]] = {}
    for row in rows:
        one = _Sums(
            row.sent_bytes, row.wire_bytes, row.counted_bytes, abs(row.difference), row.exact
        )
        found.setdefault(_ends(row), []).append(one)
    sums = {ends: _added(parts) for ends, parts in found.items()}
    return sorted(sums.items(), key=lambda item: (-item[1].wire, item[0]))


def _added(parts: Sequence[_Sums]) -> _Sums:
    sent, wire, counted, off = (sum(column) for column in list(zip(*parts, strict=True))[:4])
    return _Sums(sent, wire, counted, off, all(part.is_exact for part in parts))


def _sum(groups: Sequence[tuple[_Ends, _Sums]]) -> _Sums:
    return _added([sums for _, sums in groups])


def _rest(groups: Sequence[tuple[_Ends, _Sums]]) -> _Ends:
    return f"{len(groups)} more", ""


def _amounts(sums: _Sums) -> list[str]:
    difference = sums.counted - sums.wire
    shown = (
        f"{difference:+,}" if abs(difference) == sums.off else f"{difference:+,} (±{sums.off:,})"
    )
    return [*(f"{amount:,}" for amount in sums[:3]), shown if sums.off else "0"]


def _ends(row: PairRow) -> _Ends:
    dst = f"{row.dst_workload} ({row.dst_zone})" if row.dst_zone else row.dst_workload
    return f"{row.src_workload} ({row.src_zone})", dst


def _progress(elapsed: float, seconds: float | None) -> str:
    if seconds is None:
        return f"{elapsed:.0f} s; Ctrl-C stops and prints the report"
    done = min(20, int(20 * elapsed / seconds)) if seconds else 20
    return f"[{'#' * done}{'.' * (20 - done)}] {min(elapsed, seconds):.0f} of {seconds:.0f} s"
