"""What changed between two windows: load and crossing apart.

In: questions to a history, two windows. Out: a `Diff`. All rates are those of an hour, so that
windows of different length compare.

What crosses is the load times the share that crosses. From before to after it changes by
``(load' - load) * share``, what the load did, and ``load' * (share' - share)``, what the routing
did; both add up to the change.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kzn.client.advice import Proposed, compared, filters, servers
from kzn.client.explain import timestamp
from kzn.client.past_traffic import Ask, Cost, Money, PastTraffic, PriceUsed, prices_note
from kzn.errors import KznError
from kzn.history.query import MAX_LIMIT, TrafficQuery
from kzn.reports.amounts import CROSSING, UNRESOLVED, Where, printable
from kzn.reports.comparison.rolled_out import AskRollouts, RolledOut, named, rolled_out
from kzn.reports.comparison.window import Window
from kzn.reports.extent import hint_of_windows
from kzn.reports.forecast import LATE_SECONDS
from kzn.reports.gaps import gap_notes

HOUR = 3600
MONTH_HOURS = 730
"""Hours of a month, as clouds and `kzn top` have it."""
GROUPINGS = {
    "workload": ("cause_namespace", "cause_workload"),
    "pair": ("src_namespace", "src_workload", "dst_namespace", "dst_workload"),
    "zones": ("src_zone", "dst_zone"),
    "port": ("dst_namespace", "dst_workload", "port"),
}


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one window: bytes an hour, those that cross, and money a month by currency."""

    bytes: float = 0.0
    crossed: float = 0.0
    cost: Money | None = None
    unpriced: float = 0.0

    @property
    def share(self) -> float:
        """The share that crosses; 0 of nothing."""
        return self.crossed / self.bytes if self.bytes else 0.0

    def money(self, currency: str) -> float:
        """The cost a month in one currency."""
        return (self.cost or {}).get(currency, 0.0)


@dataclass(frozen=True, slots=True)
class Change:
    """A group, or the total, before and after."""

    name: str
    before: Rate
    after: Rate

    @property
    def crossed(self) -> float:
        """How much more crosses an hour; negative for less."""
        return self.after.crossed - self.before.crossed

    @property
    def by_load(self) -> float:
        """What of `crossed` comes from more or less load."""
        if not self.before.bytes:
            return self.crossed
        return (self.after.bytes - self.before.bytes) * self.before.share

    @property
    def by_routing(self) -> float:
        """What of `crossed` comes from another share that crosses."""
        return self.crossed - self.by_load


@dataclass(frozen=True, slots=True)
class Pods:
    """How many pods received traffic in each zone, before and after."""

    before: Mapping[str, int]
    after: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Diff:
    """``changes`` by how much more or less crosses; ``other`` is the rest of ``total``."""

    before: Window
    after: Window
    by: str
    currency: str
    changes: tuple[Change, ...]
    other: Change | None
    total: Change
    pods: Pods | None
    notes: tuple[str, ...]
    proposal: Proposed | None = None
    rolled_out: RolledOut | None = None
    prices: tuple[PriceUsed, ...] = ()


@dataclass(frozen=True, slots=True)
class _Half:
    """One window: rates by group, of all, and the answer."""

    window: Window
    groups: Mapping[str, Rate]
    total: Rate
    answer: PastTraffic


def make_diff(
    ask: Ask,
    before: Window,
    after: Window,
    *,
    by: str,
    where: Where = (),
    limit: int = 20,
    proposal: Proposed | None = None,
    ask_rollouts: AskRollouts | None = None,
) -> Diff:
    """Ask for both windows; KznError if one of them has no data.

    With a ``proposal`` its flows alone are compared. ``ask_rollouts`` is for a span.
    """
    wheres = (where,) if proposal is None else tuple(filters(proposal.pairs))
    if not wheres:
        raise KznError(f"the proposal {proposal.id if proposal else ''} has measured no flow")
    then, now = (
        _joined([_half(ask, window, by, one) for one in wheres]) for window in (before, after)
    )
    for half in (then, now):
        if not half.answer.total.bytes and not half.answer.known_seconds():
            raise KznError(
                f"the history has nothing from {timestamp(half.window.begin)} to"
                f" {timestamp(half.window.end)}",
                hint=hint_of_windows(half.answer),
            )
    names = {*then.groups, *now.groups}
    changes = [
        Change(name, then.groups.get(name, Rate()), now.groups.get(name, Rate())) for name in names
    ]
    changes.sort(key=lambda one: (-abs(one.crossed), -one.after.bytes, one.name))
    total = Change("total", then.total, now.total)
    money = {**(then.total.cost or {}), **(now.total.cost or {})}
    return Diff(
        before=then.window,
        after=now.window,
        by=by,
        currency=max(money, key=lambda name: (money[name], name), default=""),
        changes=tuple(changes[:limit]),
        other=_rest(total, changes[:limit]),
        total=total,
        pods=_pods(ask, before, after, where if proposal is None else servers(proposal)),
        notes=(*_notes(then, now, before, after), *_notes_of(proposal)),
        proposal=proposal,
        prices=tuple(sorted({*then.answer.prices, *now.answer.prices})),
        rolled_out=None
        if ask_rollouts is None
        else rolled_out(
            ask_rollouts(then.window.begin, now.window.end),
            named(where, proposal, [change.name for change in changes[:limit]], by),
        ),
    )


def _joined(halves: list[_Half]) -> _Half:
    """One window of several questions that have no flow in common."""
    groups: dict[str, Rate] = {}
    total = Rate()
    for half in halves:
        total = _plus(total, half.total)
        for name, rate in half.groups.items():
            groups[name] = _plus(groups.get(name, Rate()), rate)
    known = [half for half in halves if half.answer.total.bytes] or halves
    return _Half(known[0].window, groups, total, known[0].answer)


def _notes_of(proposal: Proposed | None) -> Iterator[str]:
    if proposal is None:
        return
    if proposal.is_made:
        yield "The proposal is still made: its change may not have been made yet."
    left = proposal.all_pairs - compared(proposal.pairs)
    if left > 0:
        yield (
            f"{left} of the {proposal.all_pairs} pairs of the proposal are not compared: those with"
            " the fewest bytes, or with the fewest that can be asked for together."
        )


def verdict(change: Change) -> str:
    """One sentence on a change: what of it is load, and what is routing."""
    then, now = change.before, change.after
    if not then.bytes and not now.bytes:
        return "There was no traffic in either window."
    shares = f"{100 * then.share:.1f} % of the bytes crossed before, {100 * now.share:.1f} % after"
    if not then.bytes:
        return f"There was no traffic before; {100 * now.share:.1f} % of the bytes cross after."
    if not now.bytes:
        return f"There is no traffic after; {100 * then.share:.1f} % of the bytes crossed before."
    load = now.bytes / then.bytes - 1.0
    word = "load is the same" if abs(load) < 0.005 else f"load is {100 * load:+.1f} %"
    return f"{shares}; {word}."


def _half(ask: Ask, window: Window, by: str, where: Where) -> _Half:
    names = GROUPINGS[by]
    found = ask(_query(window, (*names, "class"), where))
    whole = ask(_query(window, ("class",), where))
    # Something without any time that is known: it is of some part of the window.
    seconds = whole.known_seconds() or whole.end - whole.begin
    groups: dict[str, Rate] = {}
    for values, sums in found.rows.items():
        *name, cls = map(str, values)
        label = _label(by, name)
        rate = _rate(cls, sums.bytes, sums.cost, seconds)
        groups[label] = _plus(groups.get(label, Rate()), rate)
    total = Rate()
    for values, sums in whole.rows.items():
        total = _plus(total, _rate(str(values[0]), sums.bytes, sums.cost, seconds))
    return _Half(Window(whole.begin, whole.end), groups, total, whole)


def _pods(ask: Ask, before: Window, after: Window, where: Where) -> Pods | None:
    """Receiving pods by zone, if a workload was asked for and pods are kept.

    Filters of either end hold for the receiving one here.
    """
    names = {name for name, _ in where}
    if not names & {"workload", "dst_workload"}:
        return None
    receiving = tuple(
        (f"dst_{name}" if name in ("workload", "namespace") else name, values)
        for name, values in where
    )
    found, is_whole = [], True
    for window in (before, after):
        answer = ask(_query(window, ("dst_zone", "dst_pod"), receiving))
        is_whole &= answer.of <= len(answer.rows)
        zones: dict[str, int] = {}
        for values in answer.rows:
            zone, pod = map(str, values)
            if pod:
                zones[zone] = zones.get(zone, 0) + 1
        found.append(zones)
    return Pods(*found) if all(found) and is_whole else None


def _notes(then: _Half, now: _Half, before: Window, after: Window) -> Iterator[str]:
    yield from prices_note((*then.answer.prices, *now.answer.prices))
    for half, asked, word in ((then, before, "before"), (now, after, "after")):
        first = half.answer.complete_from
        if first is None or first > half.window.begin:
            since = timestamp(first) if first is not None else "nothing"
            yield (
                f"The history is too short: of the window {word} it has only what is since {since}."
            )
        if half.answer.known[1] < min(half.window.end, asked.end) - LATE_SECONDS:
            yield (
                f"The history has the window {word} only until {timestamp(half.answer.known[1])}."
            )
        yield from gap_notes(half.answer.gaps, f"the window {word}")
        if half.window != asked:
            yield (
                f"The window {word} was widened to {timestamp(half.window.begin)} to"
                f" {timestamp(half.window.end)}: older data is kept by the {_unit(half)}."
            )
        if half.total.unpriced:
            part = 100 * half.total.unpriced / half.total.bytes
            yield f"{part:.1f} % of the bytes of the window {word} have no price."
    if then.answer.gaps or now.answer.gaps:
        yield "Rates are those of the time without gaps."
    weekdays = (after.begin - before.begin) % (7 * 24 * HOUR) == 0
    if not (weekdays and before.seconds == after.seconds):
        yield "The windows have different weekdays or hours, whose load may differ by itself."


def _unit(half: _Half) -> str:
    return {"hours": "hour", "days": "day"}.get(half.answer.source, "minute")


def _query(window: Window, by: tuple[str, ...], where: Where) -> TrafficQuery:
    return TrafficQuery(window.begin, window.end, by, where, limit=MAX_LIMIT)


def _rate(cls: str, size: int, cost: Cost | None, seconds: int) -> Rate:
    hours = max(seconds, 60) / HOUR
    month: dict[str, float] | None = None
    if cost is not None:
        month = {name: amount / hours * MONTH_HOURS for name, amount in cost.both.items()}
    return Rate(
        size / hours,
        size / hours if cls in CROSSING else 0.0,
        month,
        (cost.unpriced if cost is not None and cls != UNRESOLVED else 0) / hours,
    )


def _plus(one: Rate, other: Rate) -> Rate:
    cost = one.cost if other.cost is None else other.cost
    if one.cost is not None and other.cost is not None:
        names = {**one.cost, **other.cost}
        cost = {name: one.cost.get(name, 0.0) + other.cost.get(name, 0.0) for name in names}
    return Rate(
        one.bytes + other.bytes,
        one.crossed + other.crossed,
        cost,
        one.unpriced + other.unpriced,
    )


def _rest(total: Change, shown: list[Change]) -> Change | None:
    """What is left of the total; None if that is nothing."""
    before, after = total.before, total.after
    for change in shown:
        before, after = _minus(before, change.before), _minus(after, change.after)
    if not (before.bytes or after.bytes):
        return None
    return Change("(other)", before, after)


def _minus(one: Rate, other: Rate) -> Rate:
    cost = one.cost
    if cost is not None:
        taken = other.cost or {}
        cost = {name: max(0.0, cost[name] - taken.get(name, 0.0)) for name in cost}
    return Rate(
        _left(one.bytes, other.bytes),
        _left(one.crossed, other.crossed),
        cost,
        _left(one.unpriced, other.unpriced),
    )


def _left(whole: float, part: float) -> float:
    """What is left of a rate; 0 where that is rounding alone."""
    left = whole - part
    return left if left > 1e-9 * whole else 0.0


def _label(by: str, name: list[str]) -> str:
    name = [printable(part) for part in name]

    def one(namespace: str, workload: str) -> str:
        return f"{namespace}/{workload}" if namespace else workload or "(none)"

    if by == "pair":
        return f"{one(*name[:2])} > {one(*name[2:])}"
    if by == "zones":
        return " > ".join(zone or "(none)" for zone in name)
    if by == "port":
        return f"{one(*name[:2])}:{name[2]}"
    return one(*name)
