"""The flows of a snapshot as a table that fits the width of the terminal. Pure.

An address is never wrapped: less important columns are left out first, then the destination moves
below its source.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kzn.agent.inspect.document import device_name, value_hex
from kzn.agent.inspect.rows import FlowRow
from kzn.agent.inspect.snapshot import Snapshot
from kzn.agent.maps.columns import by_lower_port
from kzn.client.api import AddressOwner

GAP = 2
OPTIONAL = ("opened by", "packets", "protocol", "zones")
"""Columns left out if there is not enough room, the first one first."""
NUMBERS = ("bytes", "packets", "bytes/s")

Cells = dict[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """The first ``top`` of ``rows``, 0 for all; ``of`` is the number of flows before the filter."""

    rows: Sequence[FlowRow]
    of: int
    top: int
    owners: Mapping[str, AddressOwner] | None = None
    raw: bool = False


def section(snapshot: Snapshot, page: Page, width: int) -> RenderableType:
    """One set of maps: its links, the totals of its buffers, its flows."""
    links = [f"{link.family} at {link.priority}" for link in snapshot.links]
    links += [f"on {device_name(index)}" for index in snapshot.devices]
    shown = page.rows[: page.top] if page.top else page.rows
    cells = [_cells(row, page.owners) for row in shown]
    parts: list[RenderableType] = [
        Text(f"{snapshot.name}: {', '.join(links) or 'not attached'}; epoch {snapshot.epoch:016x}"),
        *map(Text, totals_lines(snapshot)),
        Text(""),
        _entries(snapshot, shown, cells) if page.raw else _table(cells, width),
    ]
    more = len(page.rows) - len(shown)
    if more:
        parts.append(Text(f"... and {more} more flows (--top 0 shows all)"))
    if page.of > len(page.rows):
        parts.append(Text(f"{len(page.rows)} of {page.of} flows match the filter"))
    return Group(*parts)


def totals_lines(snapshot: Snapshot) -> Iterator[str]:
    """A line for each buffer that is not empty: seen = accounted + missed + ignored.

    "lower port" is what of it has the lower port taken for its service's.
    """
    for buffer in snapshot.buffers:
        if buffer.state == "empty":
            continue
        totals = buffer.totals
        lower = sum(counts.bytes for counts in by_lower_port(buffer.flows).values())
        accounted = f"accounted {totals.accounted.bytes:,}"
        accounted += f" (lower port {lower:,})" if lower else ""
        parts = [f"seen {totals.seen.bytes:,} bytes", accounted]
        parts += [f"missed ({why}) {c.bytes:,}" for why, c in totals.missed.items()]
        parts += [f"ignored ({why}) {c.bytes:,}" for why, c in totals.ignored.items()]
        entries = buffer.entries
        flows = f"{len(buffer.flows)} flows in {entries.in_rows}/{snapshot.row_capacity} rows"
        flows += f" and {entries.in_hash}/{snapshot.capacity} of the hash"
        yield f"{buffer.state}, {buffer.seconds:.1f} s, {flows}: " + ", ".join(parts)


def _cells(row: FlowRow, owners: Mapping[str, AddressOwner] | None) -> Cells:
    flow = row.id
    src, dst = (owners or {}).get(flow.src), (owners or {}).get(flow.dst)
    cells = {
        "source": (src.label if src else "") or flow.src,
        "destination": (dst.label if dst else "") or flow.dst,
        "protocol": f"{flow.protocol} encrypted" if flow.encrypted else flow.protocol,
        "port": ">".join(str(port) for port in (flow.src_port, flow.dst_port) if port),
        "opened by": flow.initiator,
        "bytes": f"{row.counts.bytes:,}",
        "packets": f"{row.counts.packets:,}",
        "bytes/s": f"{row.rate:,.0f}",
    }
    if owners is not None:
        zones = [(owner.zone if owner else "") or "?" for owner in (src, dst)]
        cells["zones"] = ">".join(zones) if any(zone != "?" for zone in zones) else ""
    return cells


def _table(cells: Sequence[Cells], width: int) -> Table:
    columns = ["source", "destination", *(["zones"] if cells and "zones" in cells[0] else [])]
    columns += ["protocol", "port", "opened by", "bytes", "packets", "bytes/s"]
    stacked, kept = _layout(cells, columns, width)
    rows = list(_stack(cells)) if stacked else cells
    natural = _width(rows, kept)
    table = Table(box=None, pad_edge=False, width=natural if natural > width else None)
    for name in kept:
        is_number = name in NUMBERS
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(row[name]) for name in kept))
    return table


def _layout(cells: Sequence[Cells], columns: list[str], width: int) -> tuple[bool, list[str]]:
    """Whether the destination goes below its source, and the columns that fit."""
    stack = list(_stack(cells))
    last: tuple[bool, list[str]] = False, columns
    for stacked in (False, True):
        rows = stack if stacked else cells
        kept = [name for name in columns if not (stacked and name == "destination")]
        for left_out in (None, *OPTIONAL):
            if left_out in kept:
                kept = [name for name in kept if name != left_out]
            last = stacked, kept
            if _width(rows, kept) <= width:
                return last
            if not stacked and left_out == "packets":
                break
    return last


def _stack(cells: Sequence[Cells]) -> Iterator[Cells]:
    for row in cells:
        yield row | {"source": f"{row['source']}\n> {row['destination']}"}


def _width(cells: Sequence[Cells], columns: Sequence[str]) -> int:
    def widest(name: str) -> int:
        lines = (line for row in cells for line in row[name].split("\n"))
        return max(len(name), *map(len, lines), 0)

    return sum(map(widest, columns)) + GAP * (len(columns) - 1)


def _entries(snapshot: Snapshot, rows: Sequence[FlowRow], cells: Sequence[Cells]) -> Group:
    """Each flow as the kernel has it: the bytes of the key, and of the value on each CPU."""
    lines = []
    for row, cell in zip(rows, cells, strict=True):
        port = f" port {cell['port']}" if cell["port"] else ""
        lines.append(f"{cell['source']} > {cell['destination']} {cell['protocol']}{port}")
        lines.append(f"  {cell['bytes']} bytes, {cell['packets']} packets")
        for part in row.parts:
            buffer = snapshot.buffers[part.buffer]
            key = buffer.entries.keys[part.entry].tobytes()
            lines.append(f"  flows_{buffer.number} ({buffer.state})")
            lines += [
                f"    {name:<6} {some.hex(' ', 4)}"
                for name, some in (("src", key[:16]), ("dst", key[16:32]), ("rest", key[32:]))
            ]
            for cpu, packets, size in buffer.entries.per_cpu(part.entry):
                counted = f"{size:,} bytes, {packets:,} packets"
                lines.append(f"    cpu {cpu:<3}{value_hex(packets, size)}  {counted}")
    return Group(*map(Text, lines))
