"""How numbers, names and small charts of the view read. Pure."""

from collections.abc import Iterable, Sequence

from rich.text import Text

from kzn.top.history import Amount, History
from kzn.top.reading import Workload

NONE = Amount(0, None)
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_BARS = "▁▂▃▄▅▆▇"
"""Without the full block, with which the charts of two rows would touch."""


def human(count: float) -> str:
    """``12.3 MB``: three figures and a decimal unit."""
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1000
    figures = f"{count:.0f}" if unit == "B" or count >= 99.95 else f"{count:.1f}"
    return f"{figures} {unit}"


def rate(amount: Amount) -> str:
    """Bytes a second, ``-`` before the second reading."""
    return "-" if amount.rate is None else f"{human(amount.rate)}/s"


def month(amount: Amount, free: str = "free", currency: str = "") -> str:
    """Money a month at the present rate; before the first rate, so far.

    ``free`` says that what has a price costs nothing. ``currency`` is the one that the title of
    the column names. A star: there are bytes without a price, too.
    """
    cost = amount.cost
    if cost is None:
        return "-"
    by_currency = cost.total if cost.month is None else cost.month
    if not by_currency:
        return "unpriced" if cost.unpriced else "-"
    star = " *" if cost.unpriced else ""
    if not any(cost.total.values()):
        return free + star
    suffix = " so far" if cost.month is None else ""
    parts = [
        money(value) if name == currency else f"{money(value)} {name}"
        for name, value in by_currency.items()
    ]
    return " + ".join(parts) + suffix + star


def currency_of(history: History) -> str:
    """The currency of all price lists; empty if there are several, or none."""
    found = {one.currency for one in history.last.status.prices}
    return found.pop() if len(found) == 1 else ""


def cost_title(history: History) -> str:
    """The title of a column of costs."""
    return f"{currency_of(history) or 'cost'}/month"


def money(value: float) -> str:
    """Two decimals, more for less than a cent, none from a thousand on."""
    if not value or 0.01 <= value < 1000:
        return f"{value:.2f}"
    return f"{value:.2g}" if value < 0.01 else f"{value:,.0f}"


def free_words(history: History) -> str:
    """What to say of traffic that costs nothing."""
    providers = {one.provider for one in history.last.status.prices}
    return f"free here ({', '.join(sorted(providers))})" if len(providers) == 1 else "free"


def owner(name: Workload) -> Text:
    """``namespace/name``, or a node's name."""
    return Text(f"{name.namespace}/{name.name}" if name.namespace else name.name)


def one_line(words: str, style: str = "bold") -> Text:
    """Words that are cut off where they do not fit: the pages count their lines."""
    return Text(words, style=style, no_wrap=True, overflow="ellipsis")


def sparkline(values: Sequence[float], width: int) -> Text:
    """The last ``width`` values as bars from 0 to the largest; blanks where there are none."""
    shown = [max(0.0, value) for value in values[-width:]]
    top = max(shown, default=0.0)
    bars = "".join(_BARS[min(6, int(7 * value / top))] if top else _BARS[0] for value in shown)
    return Text(bars.rjust(width), style="cyan")


def short_zones(zones: Iterable[str]) -> dict[str, str]:
    """Names without what all of them begin with: ``eu-west-1a`` is ``1a``, ``zone-a`` is ``a``."""
    names = sorted({zone for zone in zones if zone})
    cut = 0
    if len(names) > 1:
        first, last = names[0], names[-1]
        while cut < min(len(first), len(last)) and first[cut] == last[cut]:
            cut += 1
        while cut and (first[cut - 1].isdigit() or any(len(name) <= cut for name in names)):
            cut -= 1
    return {name: name[cut:] for name in names} | {"": ""}
