"""Figures of a report as short text. Pure."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_SMALL = 0.005


def size(count: float) -> str:
    """Bytes with three digits and a decimal unit."""
    unit = 0
    while abs(count) >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} B" if not unit else f"{count:.3g} {_UNITS[unit]}"


def money(amount: float) -> str:
    """Money with two decimals; what rounds to nothing and is something is below a cent."""
    if 0 < abs(amount) < _SMALL:
        return "<0.01" if amount > 0 else "-<0.01"
    return f"{amount:,.2f}"


def share(part: float) -> str:
    """A share in percent."""
    return f"{100 * part:.1f} %"


def change(by: float | None) -> str:
    """A change in percent with its sign; a dash if it is not known."""
    if by is None:
        return "-"
    percent = 100 * by
    return f"{percent:+,.0f} %" if abs(percent) >= 10 else f"{percent:+.1f} %"
