"""A report on a month, a year or another span: whom it cost what, and what it will have cost.

In: questions to a history. Out: a `Report`. Never: a figure of a period of which a part is missing
without a note that says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from kzn.client.explain import timestamp
from kzn.client.past_traffic import Ask, Missing, PriceUsed, prices_note
from kzn.errors import KznError
from kzn.reports import forecast
from kzn.reports.amounts import Amount, Amounts, Charge, Name, Where, amounts, label
from kzn.reports.extent import hint_of_period
from kzn.reports.gaps import gap_notes
from kzn.reports.period import Period, before

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Line:
    """A group, or the total: its amounts, those of the period before, and the forecast.

    ``share`` is of the total's cost, without prices of its crossed bytes. ``change`` is that of the
    mean of a day of what is known, without the time of gaps: 0.5 is half more; None if one of the
    two is unknown or there was nothing before.
    Forecasts are None for periods that have ended, or if too little is known.
    """

    name: str
    amount: Amount
    before: Amount | None
    share: float
    change: float | None
    forecast_crossed: float | None
    forecast_cost: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """``currency`` is the one with most money, empty without prices; ``notes`` are sentences.

    ``begin`` and ``end`` are what the history answered. ``lines`` and ``other`` add up to the
    total.
    """

    period: str
    begin: int
    end: int
    before: str
    by: str
    charge: Charge
    currency: str
    lines: tuple[Line, ...]
    other: Line | None
    total: Line
    notes: tuple[str, ...]
    prices: tuple[PriceUsed, ...] = ()


@dataclass(frozen=True, slots=True)
class _Spans:
    """The three spans that a report compares."""

    current: Amounts
    previous: Amounts | None
    recent: Amounts | None
    growth: forecast.Forecast | None

    @property
    def elapsed(self) -> float:
        """How long what is known of the period is, in what is known of the one before."""
        if self.previous is None:
            return 0.0
        return self.current.known_seconds / self.previous.known_seconds

    def parts(self, name: Name | None) -> tuple[Amount, Amount | None, Amount | None]:
        """The amounts of a group, or of all."""

        def of(found: Amounts | None) -> Amount | None:
            if found is None:
                return None
            return found.total if name is None else found.of(name)

        return of(self.current) or Amount(), of(self.previous), of(self.recent)


def make_report(
    ask: Ask,
    period: Period,
    *,
    by: str,
    charge: Charge,
    now: float,
    limit: int,
    where: Where = (),
) -> Report:
    """Ask for what a report needs; KznError if the period has not begun or nothing is known."""
    if period.begin >= now:
        raise KznError(f"{period.name} has not begun")
    until = min(period.end, int(now))
    clock = int(now)
    current = amounts(ask, period.begin, until, by, charge, where, now=clock)
    if not current.total.bytes and not current.known_seconds:
        raise KznError(
            "the history has nothing of that time",
            hint=hint_of_period(current.whole),
        )
    last = before(period)
    previous: Amounts | None = amounts(ask, last.begin, last.end, by, charge, where, now=clock)
    if previous is not None and not (previous.is_complete and previous.known_seconds):
        previous = None
    recent = growth = None
    is_running = period.end > now
    known_until = current.known_until
    if is_running and (span := forecast.recent_span(known_until, current.complete_from)):
        recent = amounts(ask, *span, by, charge, where, now=clock)
        growth = forecast.forecast(period.end, known_until, recent.known_seconds)
    spans = _Spans(current, previous, recent, growth)
    currency = _currency(current.total)
    named = sorted(current.groups, key=lambda name: _order(current.of(name), currency, name))
    shown = named[:limit]
    lines = tuple(_line(label(name), spans.parts(name), spans, currency) for name in shown)
    total = _line("total", spans.parts(None), spans, currency)
    return Report(
        period=period.name,
        begin=current.begin,
        end=min(current.end, until) if is_running else current.end,
        before=last.name,
        by=by,
        charge=charge,
        currency=currency,
        lines=lines,
        other=_rest(spans, shown, currency),
        total=total,
        notes=tuple(_notes(spans, period, last, until, currency)),
        prices=current.prices,
    )


def _line(
    name: str,
    parts: tuple[Amount, Amount | None, Amount | None],
    spans: _Spans,
    currency: str,
) -> Line:
    amount, previous, recent = parts
    total, elapsed = spans.current.total, spans.elapsed
    if currency and total.money(currency):
        share = amount.money(currency) / total.money(currency)
    else:
        share = amount.crossed / total.crossed if total.crossed else 0.0
    change = None
    if previous is not None and elapsed > 0:
        now, then = amount.crossed, previous.crossed * elapsed
        if currency and previous.cost is not None:
            now, then = amount.money(currency), previous.money(currency) * elapsed  # type: ignore[assignment] # money
        change = now / then - 1.0 if then else None
    crossed = cost = None
    if recent is not None and spans.growth is not None:
        crossed = spans.growth.of(amount.crossed, recent.crossed)
        if currency:
            cost = spans.growth.of(amount.money(currency), recent.money(currency))
    return Line(name, amount, previous, share, change, crossed, cost)


def _rest(spans: _Spans, shown: list[Name], currency: str) -> Line | None:
    """What is left of the total without the groups that are shown; None if that is nothing."""
    rest = list(spans.parts(None))
    for name in shown:
        for place, part in enumerate(spans.parts(name)):
            whole = rest[place]
            if whole is not None and part is not None:
                rest[place] = whole.minus(part)
    now, before, recent = rest
    total = spans.current.total.cost or {}
    money = any(left > _ROUNDING * total[name] for name, left in ((now and now.cost) or {}).items())
    if now is None or not (now.bytes or money):
        return None
    return _line("(other)", (now, before, recent), spans, currency)


def _notes(spans: _Spans, period: Period, last: Period, until: int, currency: str) -> Iterator[str]:
    yield from _notes_of_spans(spans, period, last, until)
    yield from _notes_of_amounts(spans.current, currency)
    if until < period.end:
        yield _note_of_forecast(spans, until)


def _notes_of_spans(spans: _Spans, period: Period, last: Period, until: int) -> Iterator[str]:
    """What the history lacks of the spans that are compared."""
    current = spans.current
    if not current.is_complete:
        first = current.complete_from
        since = f"only since {timestamp(first)}" if first else "in parts alone"
        yield f"The history has {period.name} {since}."
    if current.known_until < until - (forecast.LATE_SECONDS if until < period.end else 0):
        yield f"The history has {period.name} only until {timestamp(current.known_until)}."
    noted: set[Missing] = set()
    names = (period.name, last.name, "the seven days of the forecast")
    for found, name in zip((current, spans.previous, spans.recent), names, strict=True):
        if found is None:
            continue
        yield from gap_notes([gap for gap in found.gaps if gap not in noted], name)
        noted.update(found.gaps)
        if found.left_out and not (found is spans.recent and current.left_out):
            yield (
                "There are more groups than a history answers:"
                f" {_percent(found.left_out, found.total.bytes)} of the bytes of {name} are in"
                " (other), also where a row has the group."
            )
    if noted:
        yield "Changes and forecasts are those of the time without gaps."
    if spans.previous is None:
        yield f"The history does not have all of {last.name}, so there is no change to show."


def _notes_of_amounts(current: Amounts, currency: str) -> Iterator[str]:
    """What is unresolved, and what has no price."""
    total = current.total
    if total.unresolved:
        yield (
            f"{_percent(total.unresolved, total.bytes)} of all bytes are unresolved: whether they"
            " crossed is not known, and they have no price."
        )
    lost = sum(group.unpriced for group in current.groups.values()) - total.unpriced
    if total.cost is not None and lost > 0:
        yield (
            f"There are too many groups to price each: the cost of {_percent(lost, total.bytes)} of"
            " all bytes is in the total and in (other), and in no row."
        )
    if total.cost is not None and total.unpriced:
        yield f"{_percent(total.unpriced, total.bytes)} of all bytes have no price (kzn prices)."
    if total.cost is None:
        yield "The server has no prices, or does not price so many groups."
    yield from prices_note(current.prices)
    if total.cost is not None and len(total.cost) > 1:
        others = ", ".join(sorted(set(total.cost) - {currency}))
        yield f"Costs are in {currency}; those in {others} are beside it in the JSON."


def _note_of_forecast(spans: _Spans, until: int) -> str:
    if spans.growth is None:
        return "There is no forecast: it needs a day of history."
    known_until = spans.current.known_until
    if known_until < until - forecast.LATE_SECONDS:
        return (
            f"The forecast adds what follows {timestamp(known_until)} at the mean rate of the seven"
            " days before."
        )
    return "The forecast adds the rest of the period at the mean rate of the last seven days."


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"


def _currency(total: Amount) -> str:
    cost = total.cost or {}
    return max(cost, key=lambda name: (cost[name], name), default="")


def _order(amount: Amount, currency: str, name: Name) -> tuple[float, int, Name]:
    return -amount.money(currency), -amount.crossed, name
