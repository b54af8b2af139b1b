"""The view as text: a line about the server, the zones, the top workloads and the top pairs."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kzn.client.api import Status
from kzn.client.http import ApiClient
from kzn.top.history import Amount, History, SortKey, ordered
from kzn.top.reading import Pair, Workload

OUTSIDE = "(none)"
FIXED_LINES = 11
"""Lines that are not rows of a list: the head, titles and empty lines."""
PRINTED = 20
KEYS = "keys: r rate  t total  n name  q quit"
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_NONE = Amount(0, None)


def page(history: History, sort: SortKey, height: int | None, url: str, note: str = "") -> Group:
    """The page within ``height`` lines; None: `PRINTED` rows of each list.

    ``note`` is an error since the newest reading.
    """
    matrix, lines = _matrix(history, sort)
    left = 2 * PRINTED if height is None else max(4, height - FIXED_LINES - lines)
    workloads = max(2, left // 2)
    owners, pairs = history.workloads("sent"), history.pairs()
    parts: list[RenderableType] = [
        _head(history, url),
        Text(note, style="bold red")
        if note
        else _legend(history, sort, has_keys=height is not None),
        Text(),
        matrix,
        Text(),
        Text(f"Across zones: {len(owners)} workloads{_cut(history)}", style="bold"),
        _workloads(history, sort, workloads),
        Text(),
        Text(f"Across zones: {len(pairs)} pairs", style="bold"),
        _pairs(pairs, sort, max(2, left - workloads)),
    ]
    return Group(*parts)


def shown(servers: Sequence[ApiClient]) -> str:
    """The servers of a page, in a few words."""
    return servers[0].url if len(servers) == 1 else f"{len(servers)} servers"


def human(count: float) -> str:
    """``12.3 MB``: three figures and a decimal unit."""
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1000
    figures = f"{count:.0f}" if unit == "B" or count >= 99.95 else f"{count:.1f}"
    return f"{figures} {unit}"


def _cut(history: History) -> str:
    cut = history.last.cut
    return f", {cut:,} of their series left out by the server" if cut else ""


def _head(history: History, url: str) -> Text:
    status = history.last.status
    ready = "" if not status.why_not_ready else f", not ready: {status.why_not_ready}"
    text = Text(f"kzn {status.version} at {url}", style="bold", no_wrap=True, overflow="ellipsis")
    text.append(f"  {status.agents} agents, {_nodes(status)}{ready}", style="not bold")
    text.append(f"  {_share(status)}", style="not bold")
    return text


def _nodes(status: Status) -> str:
    if status.nodes_reporting >= status.nodes_known:
        return f"{status.nodes} nodes"
    return f"{status.nodes_reporting} of {status.nodes_known} nodes report"


def _share(status: Status) -> str:
    sums = status.bytes
    if not sums.seen:
        return "nothing seen yet"
    parts = [f"seen {human(sums.seen)}"]
    for name, count in (("unresolved", sums.unresolved), ("missed", sums.missed)):
        parts.append(f"{name} {100 * count / sums.seen:.2g} %")
    return ", ".join(parts)


def _legend(history: History, sort: SortKey, *, has_keys: bool) -> Text:
    over = f"rates over {history.seconds:.0f} s" if history.seconds > 0 else "no rates yet"
    keys = f"; {KEYS}" if has_keys else ""
    line = f"by {sort}; {over}; totals since the server began{keys}"
    return Text(line, style="dim", no_wrap=True, overflow="ellipsis")


def _rate(amount: Amount) -> str:
    return "-" if amount.rate is None else f"{human(amount.rate)}/s"


def _matrix(history: History, sort: SortKey) -> tuple[Table, int]:
    """Source zones as rows, destination zones as columns; and the number of lines."""
    cells: dict[tuple[str, str], list[Amount]] = {}
    for key, amount in history.zones().items():
        cells.setdefault((key.src, key.dst), []).append(amount)
    sources = _names(src for src, _ in cells)
    targets = _names(dst for _, dst in cells)
    table = Table(box=None, pad_edge=False)
    table.add_column("from zone / to", no_wrap=True)
    for dst in targets:
        table.add_column(Text(dst or OUTSIDE), justify="right", no_wrap=True)
    for src in sources:
        row = [_cell(src, dst, cells.get((src, dst), []), sort) for dst in targets]
        table.add_row(Text(src or OUTSIDE), *row)
    return table, len(sources) + 1


def _names(zones: Iterable[str]) -> list[str]:
    return sorted(set(zones), key=lambda zone: (not zone, zone))


def _cell(src: str, dst: str, amounts: list[Amount], sort: SortKey) -> Text:
    """A rate if there is one, unless the page is sorted by total."""
    if not amounts:
        return Text("·", style="dim")
    rates = [amount.rate for amount in amounts if amount.rate is not None]
    if rates and sort != "total":
        text = f"{human(sum(rates))}/s"
    else:
        text = human(sum(amount.total for amount in amounts))
    return Text(text, style="yellow" if src and dst and src != dst else "dim")


def _workloads(history: History, sort: SortKey, limit: int) -> RenderableType:
    sent, received = history.workloads("sent"), history.workloads("received")
    inside = history.workloads("egress_same_zone")
    shown = ordered(sent, sort)[:limit]
    table = _table("workload", "kind")
    for title in ("sent/s", "sent", "received/s", "received", "crosses"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, amount in shown:
        back = received.get(name, _NONE)
        total = amount.total + inside.get(name, _NONE).total
        share = f"{100 * amount.total / total:.0f} %" if total else "-"
        numbers = [_rate(amount), human(amount.total), _rate(back), human(back.total), share]
        table.add_row(_owner(name), Text(name.kind), *numbers)
    return table


def _pairs(amounts: dict[Pair, Amount], sort: SortKey, limit: int) -> RenderableType:
    table = _table("from", "zone", "to", "zone")
    for title in ("rate", "bytes"):
        table.add_column(title, justify="right", no_wrap=True)
    for pair, amount in ordered(amounts, sort)[:limit]:
        src = Workload(pair.src_namespace, "", pair.src)
        dst = Workload(pair.dst_namespace, "", pair.dst)
        places = (_owner(src), Text(pair.src_zone), _owner(dst), Text(pair.dst_zone))
        table.add_row(*places, _rate(amount), human(amount.total))
    return table


def _table(*titles: Any) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    return table


def _owner(name: Workload) -> Text:
    return Text(f"{name.namespace}/{name.name}" if name.namespace else name.name)
