"""The first page: the server, the zones, the workloads and pairs that send most across zones.

In: readings, a `View`, the size of the terminal. Out: renderables that fit it, from 60 columns on.
Columns that do not fit are left out, the least important first; then pairs, then the matrix.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kzn.client.api import Status
from kzn.client.http import ApiClient
from kzn.top.history import Amount, History, MonthlyCost, ordered
from kzn.top.reading import CROSS, Pair, Workload
from kzn.top.tables import GAP, Column, needed, table
from kzn.top.text import (
    NONE,
    cost_title,
    currency_of,
    free_words,
    human,
    money,
    month,
    one_line,
    owner,
    rate,
    short_zones,
    sparkline,
)
from kzn.top.trends import Trends
from kzn.top.view import HELP, View, position

OUTSIDE = "(none)"
PRINTED = 20
"""Rows of each list where there is no terminal."""
TREND = 15
"""Characters of a sparkline."""
_NARROW = 90
_KEYS = "up/down select  Enter open  / filter  r rate  t total  c cost  n name  ? help  q quit"
_SHORT_KEYS = "Enter open  / filter  r t c n sort  ? help  q quit"


class Size(NamedTuple):
    """Columns and lines; ``height`` is None where there is no terminal, hence no keys."""

    width: int
    height: int | None


def page(
    history: History,
    view: View,
    size: Size,
    url: str,
    note: str = "",
    trends: Trends | None = None,
) -> Group:
    """The page; ``note`` is an error since the newest reading."""
    matrix, lines = _matrix(history, view, size.width)
    names, pairs = listed(history, view), _listed_pairs(history, view)
    top: list[RenderableType] = [
        _head(history, url),
        _sum(history, size.width, trends),
        one_line(note, "bold red") if note else _legend(history, view, size.width),
    ]
    if size.height is None:
        rows, pair_rows = PRINTED, PRINTED
        top += [Text(), matrix]
    else:
        left = size.height - len(top) - 1  # the line of keys
        if left - lines - 1 >= 7:
            left -= lines + 1
            top += [Text(), matrix]
        rows, pair_rows = _divided(left, len(names), len(pairs))
    first = _first(position(view, names), rows, len(names)) if size.height is not None else 0
    shown = names[first : first + rows]
    parts: list[RenderableType] = [
        *top,
        Text(),
        _title(history, view, names),
        _workloads(history, view, size, shown, trends),
    ]
    if pair_rows:
        parts += [Text(), _pair_title(history, view, pairs)]
        parts.append(pair_table(history, pairs[:pair_rows], size.width))
    if size.height is not None:
        used = len(top) + (lines - 1 if matrix in top else 0) + 3 + len(shown)
        used += pair_rows + 3 if pair_rows else 0
        parts += [Text("\n" * (size.height - used - 2))] if size.height - used >= 2 else []
        parts.append(keys_line(view, size.width))
    return Group(*parts)


def _divided(lines: int, names: int, pairs: int) -> tuple[int, int]:
    """Rows of both lists; each has an empty line, a title and a line of columns, too."""
    if lines < 16 or not pairs:
        return max(1, lines - 3), 0
    pair_rows = min(pairs, max(lines // 3, lines - 3 - names) - 3)
    return max(1, lines - 3 - pair_rows - 3), pair_rows


def help_page() -> Group:
    """What each key does."""
    keys_table = Table(box=None, pad_edge=False, show_header=False)
    for keys, text in HELP:
        keys_table.add_row(Text(keys, style="bold"), Text(text))
    head, end = Text("Keys of kzn top", style="bold"), Text("Escape goes back", style="dim")
    return Group(head, Text(), keys_table, Text(), end)


def keys_line(view: View, width: int) -> Text:
    """The last line: the filter while it is typed, otherwise keys."""
    if view.editing:
        return one_line(f"filter: {view.filter}█  (Enter keeps it, Escape removes it)")
    keys = _KEYS if width >= len(_KEYS) else _SHORT_KEYS
    return one_line(keys, "dim")


def shown(servers: Sequence[ApiClient]) -> str:
    """The servers of a page, in a few words."""
    return servers[0].url if len(servers) == 1 else f"{len(servers)} servers"


def listed(history: History, view: View) -> list[Workload]:
    """The workloads in the order of the page, those that the filter leaves."""
    found = history.listed_workloads(view.sort)
    zones = _zones_of(history) if view.filter else {}
    return [
        name
        for name, _ in ordered(found, view.sort)
        if view.matches(*name, *zones.get((name.namespace, name.name), ()))
    ]


def _zones_of(history: History) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for pair in history.last.pairs:
        found.setdefault((pair.src_namespace, pair.src), set()).add(pair.src_zone)
    return found


def _listed_pairs(history: History, view: View) -> list[tuple[Pair, Amount]]:
    return [row for row in ordered(history.pairs(), view.sort) if view.matches(*row[0])]


def _first(at: int, rows: int, count: int) -> int:
    """The first row to show so that the cursor is among ``rows`` of them."""
    return max(0, min(at - rows + 1 + rows // 3, count - rows)) if at >= rows else 0


def _more(history: History, view: View) -> str:
    """What else the list of workloads has, and what it lacks."""
    others = len(history.listed_workloads(view.sort)) - len(history.workloads("sent"))
    cut = history.last.cut
    more = f"; {others} more by the cost of other traffic" if others else ""
    return more + (f", {cut:,} of their series left out by the server" if cut else "")


def _title(history: History, view: View, names: Sequence[Workload]) -> Text:
    owners = len(history.workloads("sent"))
    found = f", {len(names)} match {view.filter!r}" if view.filter else ""
    return one_line(f"Across zones: {owners} workloads{found}{_more(history, view)}")


def _pair_title(history: History, view: View, pairs: Sequence[tuple[Pair, Amount]]) -> Text:
    found = f", {len(pairs)} match" if view.filter else ""
    return one_line(f"Across zones: {len(history.pairs())} pairs{found}")


def _head(history: History, url: str) -> Text:
    status = history.last.status
    ready = "" if not status.why_not_ready else f", not ready: {status.why_not_ready}"
    text = one_line(f"kzn {status.version} at {url}")
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


def _sum(history: History, width: int, trends: Trends | None) -> Text:
    """What crosses zones, its share of all, and what it costs."""
    across = [a for key, a in history.zones().items() if key.traffic_class in CROSS]
    every = list(history.zones().values())
    crossing, total = sum(a.total for a in across), sum(a.total for a in every)
    rates = [a.rate for a in across if a.rate is not None]
    text = Text("across zones ", no_wrap=True, overflow="ellipsis")
    text.append(f"{human(sum(rates))}/s" if rates else human(crossing), style="bold yellow")
    text.append(f", {100 * crossing / total:.0f} % of all" if total else "")
    if history.last.status.prices:
        cost = _cost_of(across)
        text.append("  ")
        text.append(month(Amount(crossing, None, cost), free_words(history)), style="bold green")
        text.append(" a month" if cost.month is not None and any(cost.total.values()) else "")
    trend = trends.total if trends else history.crossing_rates()
    if (advice := _advice(history.last.status)) and text.cell_len + len(advice) + 2 <= width:
        text.append(f"  {advice}")
    if len(trend) > 1 and width >= _NARROW:
        text.append("  ").append_text(sparkline(trend, min(TREND, len(trend))))
        text.append(f" {_span(history, trends)}", style="dim")
    return text


def _advice(status: Status) -> str:
    """How many proposals there are, and what they save; empty without one."""
    if not status.proposals:
        return ""
    saving = [f"{money(amount)} {name}" for name, amount in status.saving_per_month.items()]
    words = "1 proposal" if status.proposals == 1 else f"{status.proposals} proposals"
    return words + (f": {' + '.join(saving)} a month" if saving else "") + " (kzn advise)"


def _cost_of(amounts: Iterable[Amount]) -> MonthlyCost:
    """The costs of several amounts added up by currency."""
    months: dict[str, float] = {}
    totals: dict[str, float] = {}
    has_months, unpriced = True, False
    for cost in (amount.cost for amount in amounts):
        if cost is None:
            continue
        unpriced |= cost.unpriced
        has_months &= cost.month is not None
        for sums, found in ((months, cost.month or {}), (totals, cost.total)):
            for currency, value in found.items():
                sums[currency] = sums.get(currency, 0.0) + value
    return MonthlyCost(months if has_months else None, totals, unpriced)


def _span(history: History, trends: Trends | None) -> str:
    if trends is None:
        return f"{history.seconds:.0f} s"
    return f"{trends.step * len(trends.total) / 60:.0f} min"


def _legend(history: History, view: View, width: int) -> Text:
    """What the numbers are; with less width without the parts that matter least, the last."""
    prices = history.last.status.prices
    parts = [f"by {view.sort}"]
    parts += [f"{one.list} prices of {one.date}, {one.currency}" for one in prices]
    last = history.last
    costs = [*last.zone_costs.values(), *last.workload_costs.values(), *last.pair_costs.values()]
    if prices and any(cost.unpriced and cost.by_currency for cost in costs):
        parts.append("* some unpriced")
    parts.append(f"rates over {history.seconds:.0f} s" if history.seconds > 0 else "no rates yet")
    parts.append("totals since the server began")
    parts += ["a month is 730 h", "kzn prices says why bytes are unpriced"] if prices else []
    while len(parts) > 1 and len("; ".join(parts)) > width:
        parts.pop()
    return one_line("; ".join(parts), "dim")


def _matrix(history: History, view: View, width: int) -> tuple[RenderableType, int]:
    """Source zones as rows, destination zones as columns; and the number of lines.

    Where the columns do not fit: the zone pairs that have most.
    """
    cells: dict[tuple[str, str], list[Amount]] = {}
    for key, amount in history.zones().items():
        cells.setdefault((key.src, key.dst), []).append(amount)
    sources = _names(src for src, _ in cells)
    targets = _names(dst for _, dst in cells)
    texts = {
        (src, dst): _cell(src, dst, cells.get((src, dst), []), view, free_words(history))
        for src in sources
        for dst in targets
    }
    widths = [
        GAP + max(len(dst or OUTSIDE), *(texts[src, dst].cell_len for src in sources))
        for dst in targets
    ]
    first = max(len("from zone / to"), *map(len, sources), 0)
    if first + sum(widths) > width:
        return _zone_list(cells, texts, width)
    columns = [Column("from zone / to", [Text(src or OUTSIDE) for src in sources])]
    columns += [
        Column(dst or OUTSIDE, [texts[src, dst] for src in sources], right=True) for dst in targets
    ]
    return table(columns, width), len(sources) + 1


ZONE_ROWS = 6


def _zone_list(
    cells: dict[tuple[str, str], list[Amount]], texts: dict[tuple[str, str], Text], width: int
) -> tuple[Table, int]:
    across = [key for key in cells if key[0] != key[1] and all(key)]
    largest = sorted(across, key=lambda key: (-sum(a.rate or a.total for a in cells[key]), key))
    first, more = largest[:ZONE_ROWS], len(largest) - ZONE_ROWS
    columns = [
        Column("from zone", [Text(src) for src, _ in first], is_name=True),
        Column("to zone", [Text(dst) for _, dst in first], is_name=True),
        Column(f"{more} pairs more" if more > 0 else "", [texts[key] for key in first], right=True),
    ]
    return table(columns, width), 1 + len(first)


def _names(zones: Iterable[str]) -> list[str]:
    return sorted(set(zones), key=lambda zone: (not zone, zone))


def _cell(src: str, dst: str, amounts: list[Amount], view: View, free: str) -> Text:
    """A rate if there is one, unless the page is sorted by total."""
    style = "yellow" if src and dst and src != dst else "dim"
    if not amounts:
        return Text("·", style="dim")
    if view.sort == "cost" and any(amount.cost for amount in amounts):
        text = ", ".join(month(amount, free) for amount in amounts if amount.cost)
        return Text(text, style=style)
    rates = [amount.rate for amount in amounts if amount.rate is not None]
    if rates and view.sort != "total":
        return Text(f"{human(sum(rates))}/s", style=style)
    return Text(human(sum(amount.total for amount in amounts)), style=style)


def _workloads(
    history: History, view: View, size: Size, names: Sequence[Workload], trends: Trends | None
) -> Table:
    sent, received = history.listed_workloads(view.sort), history.workloads("received")
    inside, free = history.workloads("egress_same_zone"), free_words(history)
    amounts = [sent[name] for name in names]
    back = [received.get(name, NONE) for name in names]
    shares = [
        _share_of(amount, inside.get(name, NONE))
        for name, amount in zip(names, amounts, strict=True)
    ]
    by_total = view.sort == "total" or history.seconds <= 0
    columns = [
        Column("workload", [owner(name) for name in names], is_name=True),
        Column("kind", [Text(name.kind) for name in names], 4),
        _numbers("sent/s", map(rate, amounts), 5 if by_total else 0),
        _numbers("sent", (human(a.total) for a in amounts), 0 if by_total else 6),
        _numbers("received/s", map(rate, back), 3),
        _numbers("received", (human(a.total) for a in back), 7),
        _numbers("crosses", shares, 2),
    ]
    if trends is not None or history.seconds > 0:
        bars = [_trend(history, name, trends) for name in names]
        columns.append(Column(f"last {_span(history, trends)}", bars, 1))
    if history.last.status.prices:
        costs = (month(a, free, currency_of(history)) for a in amounts)
        columns.append(_numbers(cost_title(history), costs))
    cursor = None
    if size.height is not None and (order := listed(history, view)):
        under = order[position(view, order)]
        cursor = names.index(under) if under in names else None
    return table(columns, size.width, cursor)


def _numbers(title: str, texts: Iterable[str], rank: int = 0) -> Column:
    return Column(title, [Text(text) for text in texts], rank, right=True)


def _share_of(amount: Amount, inside: Amount) -> str:
    """The share of what a workload sends in the cluster that crosses zones."""
    total = amount.total + inside.total
    return f"{100 * amount.total / total:.0f} %" if total else "-"


def _trend(history: History, name: Workload, trends: Trends | None) -> Text:
    if trends is not None:
        return sparkline(trends.workloads.get(name, (0,) * len(trends.total)), TREND)
    return sparkline(history.sent_rates(name), TREND)


def pair_table(history: History, pairs: Sequence[tuple[Pair, Amount]], width: int) -> Table:
    """From, to, their zones, rate, bytes and cost; with less width in fewer columns."""
    amounts = [amount for _, amount in pairs]
    src = [owner(Workload(pair.src_namespace, "", pair.src)) for pair, _ in pairs]
    dst = [owner(Workload(pair.dst_namespace, "", pair.dst)) for pair, _ in pairs]
    numbers = [
        _numbers("rate", map(rate, amounts), 0 if history.seconds > 0 else 2),
        _numbers("bytes", (human(a.total) for a in amounts), 1 if history.seconds > 0 else 0),
    ]
    if history.last.status.prices:
        free, currency = free_words(history), currency_of(history)
        numbers.append(_numbers(cost_title(history), (month(a, free, currency) for a in amounts)))
    columns = [
        Column("from", src, is_name=True),
        Column("zone", [Text(pair.src_zone) for pair, _ in pairs]),
        Column("to", dst, is_name=True),
        Column("zone", [Text(pair.dst_zone) for pair, _ in pairs]),
        *numbers,
    ]
    if needed(columns, whole=True) > width:
        zones = zone_column(history, [(pair.src_zone, pair.dst_zone) for pair, _ in pairs])
        columns = [columns[0], columns[2], zones, *numbers]
    return table(columns, width)


def zone_column(history: History, pairs: Iterable[tuple[str, str]]) -> Column:
    """Both zones in one column, without what all names begin with."""
    short = short_zones(zone for key in history.last.zones for zone in (key.src, key.dst))
    return Column(
        "zones", [Text(f"{short.get(src, src)} > {short.get(dst, dst)}") for src, dst in pairs]
    )
