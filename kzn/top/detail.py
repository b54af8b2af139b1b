"""The page of one workload: what it sends and receives, its peers, and who opened the connections.

In: readings, the workload, its peers from the server's history if it has one. Out: renderables.
"""

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kzn.top.history import Amount, History, ordered
from kzn.top.reading import Workload
from kzn.top.screen import Size, pair_table, zone_column
from kzn.top.tables import Column, table
from kzn.top.text import NONE, free_words, human, month, one_line, owner, rate, sparkline
from kzn.top.trends import MINUTES, Peer, Trends
from kzn.top.view import View

_COLUMNS = (
    ("sent", "to other zones"),
    ("egress_same_zone", "to its own zones"),
    ("egress_external", "to the outside"),
    ("received", "from other zones"),
    ("ingress_same_zone", "from its own zones"),
    ("ingress_external", "from the outside"),
)
_OPENED = {"source": "sender", "destination": "receiver", "unknown": "unknown"}


def detail_page(
    history: History,
    name: Workload,
    view: View,
    size: Size,
    note: str = "",
    trends: Trends | None = None,
    peers: Sequence[tuple[Peer, int]] | None = None,
) -> Group:
    """The page of a workload, within ``size``."""
    sums = [(words, history.workloads(column).get(name)) for column, words in _COLUMNS]
    known = [(words, amount) for words, amount in sums if amount is not None]
    parts: list[RenderableType] = [_head(history, name), one_line(note, "bold red"), _sums(known)]
    series = trends.workloads.get(name, ()) if trends else history.sent_rates(name)
    if len(series) > 1:
        parts += [Text(), _trend(history, series, trends, size.width)]
    rows = [
        row
        for row in ordered(history.pairs(), view.sort)
        if (name.namespace, name.name)
        in {(row[0].src_namespace, row[0].src), (row[0].dst_namespace, row[0].dst)}
    ]
    # A list has an empty line, a title and a line of columns, too; the keys have two lines.
    left = (size.height or 60) - 3 - len(known) - (2 if len(series) > 1 else 0) - 2
    asked = min(len(peers), max(1, left // 2 - 3, left - 6 - len(rows))) if peers else 0
    shown = min(len(rows), max(1, left - 3 - (asked + 3 if asked else 2)))
    left -= 3 + shown + (asked + 3 if asked else 2)
    kinds = [one for one in history.last.workloads if one._replace(kind=name.kind) == name]
    words = ", of all kinds of this name" if len(kinds) > 1 else ""  # pairs have no kinds
    parts += [Text(), one_line(f"Across zones, {_of(shown, len(rows))} pairs now{words}")]
    parts.append(pair_table(history, rows[:shown], size.width))
    if peers:
        title = f"Who opened the connections, last {MINUTES} min, {_of(asked, len(peers))} rows"
        parts += [Text(), one_line(title)]
        parts.append(_peers(history, peers[:asked], size.width))
    else:
        words = "Who opened the connections: no minutes of it yet, or the server keeps none"
        parts += [Text(), one_line(words, "dim")]
    parts += [Text("\n" * left) if left > 0 else Text()]
    parts.append(one_line("Escape back  r t c n sort  ? help  q quit", "dim"))
    return Group(*parts)


def _trend(history: History, series: Sequence[float], trends: Trends | None, width: int) -> Text:
    step = trends.step if trends else 1.0
    span = f"{trends.step * len(series) / 60:.0f} min" if trends else f"{history.seconds:.0f} s"
    line = Text("to other zones  ", no_wrap=True, overflow="ellipsis")
    line.append_text(sparkline(series, min(len(series), max(10, width - 50))))
    line.append(f"  last {span}, at most {human(max(series) / step)}/s", style="dim")
    return line


def _of(shown: int, count: int) -> str:
    return f"{shown} of {count}" if shown < count else f"{count}"


def _head(history: History, name: Workload) -> Text:
    text = owner(name)
    text.no_wrap, text.overflow = True, "ellipsis"
    text.stylize("bold")
    text.append(f"  {name.kind}")
    amount = history.listed_workloads("cost").get(name, NONE)
    if history.last.status.prices:
        text.append("  ")
        text.append(month(amount, free_words(history)), style="bold green")
        cost = amount.cost
        if cost is not None and cost.month is not None and any(cost.total.values()):
            text.append(" a month, its side")
    return text


def _sums(rows: Sequence[tuple[str, Amount]]) -> Table:
    drawn = Table(box=None, pad_edge=False)
    drawn.add_column("", no_wrap=True)
    for title in ("rate", "bytes"):
        drawn.add_column(title, justify="right", no_wrap=True)
    for words, amount in rows:
        drawn.add_row(words, rate(amount), human(amount.total))
    return drawn


def _peers(history: History, peers: Sequence[tuple[Peer, int]], width: int) -> Table:
    src = [owner(Workload(peer.src_namespace, "", peer.src)) for peer, _ in peers]
    dst = [owner(Workload(peer.dst_namespace, "", peer.dst)) for peer, _ in peers]
    columns = [
        Column("from", src, is_name=True),
        Column("to", dst, is_name=True),
        Column("port", [Text(peer.port) for peer, _ in peers], rank=1),
        replace(zone_column(history, [(p.src_zone, p.dst_zone) for p, _ in peers]), rank=1),
        Column("opened by", [Text(_OPENED.get(peer.initiator, "?")) for peer, _ in peers]),
        Column("bytes", [Text(human(size)) for _, size in peers], right=True),
    ]
    return table(columns, width)
