"""``kzn inspect-map``: the node's live counters from the pinned maps, as a table or JSON."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Group

    from kzn.agent.snapshot import Snapshot


@click.command("inspect-map", short_help="This node's live counters.")
@click.option(
    "--pin-dir",
    type=click.Path(path_type=Path),
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
    help="Rows of the table, largest first; 0 for all. JSON always has all.",
)
def inspect_map(pin_dir: Path, *, as_json: bool, watch: bool, top: int) -> None:
    """Show what this node has counted and no server has acknowledged yet.

    Both buffers are read, the active one and the one in flight. Reading takes nothing away from
    the agent. The rate is that of the active buffer over its age.
    """
    from kzn.agent.snapshot import take

    if as_json:
        click.echo(json.dumps([_document(snapshot) for snapshot in take(pin_dir)]))
        while watch:
            time.sleep(1)
            click.echo(json.dumps([_document(snapshot) for snapshot in take(pin_dir)]))
        return
    from rich.console import Console
    from rich.live import Live

    if not watch:
        Console().print(_page(take(pin_dir), top))
        return
    with Live(_page(take(pin_dir), top), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(1)
            live.update(_page(take(pin_dir), top), refresh=True)


def _flows(snapshot: "Snapshot") -> list[dict[str, Any]]:
    """Both buffers as one list of flows, most bytes first."""
    from kzn.agent.show import initiator, protocol_name
    from kzn.model import ip

    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for buffer in snapshot.buffers:
        flows, rate = buffer.flows, buffer.state == "active" and buffer.seconds > 0
        texts = [ip.text(row.tobytes()) for row in flows.addresses]
        for row in range(len(flows)):
            names = {
                "src": texts[flows.src[row]],
                "dst": texts[flows.dst[row]],
                "protocol": protocol_name(int(flows.protocol[row])),
                "src_port": int(flows.src_port[row]),
                "dst_port": int(flows.dst_port[row]),
                "initiator": initiator(int(flows.flags[row])),
            }
            zero = {"bytes": 0, "packets": 0, "bytes_per_second": 0.0}
            entry = merged.setdefault(tuple(names.values()), names | zero)
            entry["bytes"] += int(flows.bytes[row])
            entry["packets"] += int(flows.packets[row])
            if rate:
                entry["bytes_per_second"] += round(int(flows.bytes[row]) / buffer.seconds, 1)
    return sorted(merged.values(), key=lambda entry: entry["bytes"], reverse=True)


def _document(snapshot: "Snapshot") -> dict[str, Any]:
    return {
        "probe": snapshot.name,
        "epoch": f"{snapshot.epoch:016x}",
        "sequence": snapshot.sequence,
        "capacity": snapshot.capacity,
        "links": [
            {"family": link.family, "priority": link.priority, "program_id": link.program_id}
            for link in snapshot.links
        ],
        "buffers": [
            {
                "state": buffer.state,
                "seconds": round(buffer.seconds, 3),
                "flows": len(buffer.flows),
                "seen": buffer.totals.seen._asdict(),
                "accounted": buffer.totals.accounted._asdict(),
                "missed": {k: v._asdict() for k, v in buffer.totals.missed.items()},
                "ignored": {k: v._asdict() for k, v in buffer.totals.ignored.items()},
            }
            for buffer in snapshot.buffers
        ],
        "flows": _flows(snapshot),
    }


def _page(snapshots: "list[Snapshot]", top: int) -> "Group":
    from rich.console import Group

    return Group(*(part for snapshot in snapshots for part in _section(snapshot, top)))


def _section(snapshot: "Snapshot", top: int) -> list[Any]:
    from rich.table import Table

    links = ", ".join(f"{link.family} at {link.priority}" for link in snapshot.links)
    head = f"{snapshot.name}: {links or 'not attached'}; epoch {snapshot.epoch:016x}"
    rows = _flows(snapshot)
    shown = rows[:top] if top else rows
    table = Table(box=None, pad_edge=False)
    for title in ("source", "destination", "protocol", "port", "opened by"):
        table.add_column(title, no_wrap=True)
    for title in ("bytes", "packets", "bytes/s"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in shown:
        ports = [str(row[name]) for name in ("src_port", "dst_port") if row[name]]
        table.add_row(
            row["src"],
            row["dst"],
            row["protocol"],
            ">".join(ports),
            row["initiator"],
            f"{row['bytes']:,}",
            f"{row['packets']:,}",
            f"{row['bytes_per_second']:,.0f}",
        )
    more = len(rows) - len(shown)
    tail = [f"... and {more} flows more (--top 0 shows all)"] if more else []
    return [head, *_books(snapshot), "", table, *tail, ""]


def _books(snapshot: "Snapshot") -> list[str]:
    """A line for each buffer that holds something: seen = accounted + missed + ignored."""
    lines = []
    for buffer in snapshot.buffers:
        if buffer.state == "empty":
            continue
        totals = buffer.totals
        parts = [f"seen {totals.seen.bytes:,} bytes", f"accounted {totals.accounted.bytes:,}"]
        parts += [f"missed ({why}) {c.bytes:,}" for why, c in totals.missed.items()]
        parts += [f"ignored ({why}) {c.bytes:,}" for why, c in totals.ignored.items()]
        flows = f"{len(buffer.flows)}/{snapshot.capacity} flows"
        lines.append(f"{buffer.state}, {buffer.seconds:.1f} s, {flows}: " + ", ".join(parts))
    return lines
