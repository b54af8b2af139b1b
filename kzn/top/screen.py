"""The view as text: a line about the server, the zones, the top workloads and the top pairs."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kzn.client.api import Status
from kzn.client.http import ApiClient
from kzn.top.history import Amount, History, SortKey, ordered
from kzn.top.reading import Workload

OUTSIDE = "(none)"
FIXED_LINES = 11
"""Lines that are not rows of a list: the head, titles and empty lines."""
PRINTED = 20
KEYS = "keys: r rate  t total  c cost  n name  q quit"
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
        _pairs(history, sort, max(2, left - workloads)),
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
    prices = "; ".join(
        f"{one.list} prices of {one.date}, {one.currency}" for one in history.last.status.prices
    )
    prices = (
        f"; a month is 730 h; {prices}; kzn prices says why bytes are unpriced" if prices else ""
    )
    line = f"by {sort}; {over}; totals since the server began{prices}{keys}"
    return Text(line, style="dim", no_wrap=True, overflow="ellipsis")


def _rate(amount: Amount) -> str:
    return "-" if amount.rate is None else f"{human(amount.rate)}/s"


def month(amount: Amount, free: str = "free") -> str:
    """Money a month at the present rate; before the first rate, so far.

    ``free`` says that what has a price costs nothing.
    """
    cost = amount.cost
    if cost is None:
        return "-"
    by_currency = cost.total if cost.month is None else cost.month
    if not by_currency:
        return "unpriced" if cost.unpriced else "-"
    partly = "+ unpriced" if cost.unpriced else ""
    if not any(cost.total.values()):
        return " ".join((free, partly)).strip()
    suffix = " so far" if cost.month is None else ""
    text = " + ".join(f"{money(value)} {name}" for name, value in by_currency.items())
    return " ".join((text + suffix, partly)).strip()


def _cost_title(history: History) -> tuple[str, ...]:
    """The title of the column of costs, if the server has priced any traffic."""
    return ("cost/month",) if history.last.status.prices else ()


def _free(history: History) -> str:
    """What to say of traffic that costs nothing."""
    providers = {one.provider for one in history.last.status.prices}
    return f"free here ({', '.join(sorted(providers))})" if len(providers) == 1 else "free"


def money(value: float) -> str:
    """Two decimals, more for less than a cent, none from a thousand on."""
    if not value or 0.01 <= value < 1000:
        return f"{value:.2f}"
    return f"{value:.2g}" if value < 0.01 else f"{value:,.0f}"


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
        row = [_cell(src, dst, cells.get((src, dst), []), sort, _free(history)) for dst in targets]
        table.add_row(Text(src or OUTSIDE), *row)
    return table, len(sources) + 1


def _names(zones: Iterable[str]) -> list[str]:
    return sorted(set(zones), key=lambda zone: (not zone, zone))


def _cell(src: str, dst: str, amounts: list[Amount], sort: SortKey, free: str) -> Text:
    """A rate if there is one, unless the page is sorted by total."""
    if not amounts:
        return Text("·", style="dim")
    if sort == "cost" and any(amount.cost for amount in amounts):
        text = ", ".join(month(amount, free) for amount in amounts if amount.cost)
        return Text(text, style="yellow" if src and dst and src != dst else "dim")
    rates = [amount.rate for amount in amounts if amount.rate is not None]
    if rates and sort != "total":
        text = f"{human(sum(rates))}/s"
    else:
        text = human(sum(amount.total for amount in amounts))
    return Text(text, style="yellow" if src and dst and src != dst else "dim")


def _workloads(history: History, sort: SortKey, limit: int) -> RenderableType:
    sent, received = history.workloads("sent"), history.workloads("received")
    inside, free = history.workloads("egress_same_zone"), _free(history)
    shown = ordered(sent, sort)[:limit]
    table = _table("workload", "kind")
    for title in ("sent/s", "sent", "received/s", "received", "crosses", *_cost_title(history)):
        table.add_column(title, justify="right", no_wrap=True)
    for name, amount in shown:
        back = received.get(name, _NONE)
        total = amount.total + inside.get(name, _NONE).total
        share = f"{100 * amount.total / total:.0f} %" if total else "-"
        numbers = [_rate(amount), human(amount.total), _rate(back), human(back.total), share]
        if history.last.status.prices:
            numbers.append(month(amount, free))
        table.add_row(_owner(name), Text(name.kind), *numbers)
    return table


def _pairs(history: History, sort: SortKey, limit: int) -> RenderableType:
    has_costs, free = bool(history.last.status.prices), _free(history)
    table = _table("from", "zone", "to", "zone")
    for title in ("rate", "bytes", *_cost_title(history)):
        table.add_column(title, justify="right", no_wrap=True)
    for pair, amount in ordered(history.pairs(), sort)[:limit]:
        src = Workload(pair.src_namespace, "", pair.src)
        dst = Workload(pair.dst_namespace, "", pair.dst)
        places = (_owner(src), Text(pair.src_zone), _owner(dst), Text(pair.dst_zone))
        table.add_row(
            *places,
            _rate(amount),
            human(amount.total),
            *([month(amount, free)] if has_costs else []),
        )
    return table


def _table(*titles: Any) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    return table


def _owner(name: Workload) -> Text:
    return Text(f"{name.namespace}/{name.name}" if name.namespace else name.name)
