"""What the groups of an answer about past traffic cost, at the prices that were valid then.

In: an answer, the price lists, the places of zones and static entries, and a store to ask.
Out: for each group and the total: money at both ends by currency, and bytes without price.
Never: a group whose cost and unpriced bytes are of other bytes than the group's.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from kzn.history.query import MAX_LIMIT, Answer, TrafficQuery, Value
from kzn.pricing.book import PriceBook
from kzn.pricing.table import Place
from kzn.pricing.traffic import CLASSES, NO_RULE, Quote, Traffic, Unpriced

_ROUTE = ("class", "src_zone", "dst_zone")
_ENTRIES = ("src_kind", "src_workload", "dst_kind", "dst_workload")
_STATIC = "Static"
_MOST_PERIODS = 12
_UNKNOWN = Place("", "", "")
AMBIGUOUS = Place("", "", "", name="ambiguous")
"""The place of a zone name that two regions or providers have, and of entries added up."""
_ADDED_UP = "other"

Costs = tuple[dict[tuple[Value, ...], "Cost"], "Cost"]
"""The cost of each row by its values, and of the total."""
Ask = Callable[[TrafficQuery], Awaitable[Answer]]


@dataclass(slots=True)
class Cost:
    """What bytes cost by currency, and how many have no price."""

    by_currency: dict[str, float] = field(default_factory=dict)
    unpriced: int = 0

    def add(self, other: "Cost") -> None:
        """Add the costs of other bytes."""
        for currency, amount in other.by_currency.items():
            self.by_currency[currency] = self.by_currency.get(currency, 0.0) + amount
        self.unpriced += other.unpriced

    def to_json(self) -> dict[str, object]:
        """The keys that a row has in addition."""
        return {"cost": self.by_currency, "unpriced_bytes": self.unpriced}


class Places:
    """Provider and region of each zone, and the price classes of static entries, by name."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._zones: dict[str, Place] = {}
        self._entries: dict[str, Place] = {}
        for place in places:
            if place.price_class:
                self._entries[place.name] = place
            else:
                known = self._zones.setdefault(place.zone, place)
                if (known.provider, known.region) != (place.provider, place.region):
                    self._zones[place.zone] = AMBIGUOUS

    @property
    def has_entries(self) -> bool:
        """Whether an entry has a price class."""
        return bool(self._entries)

    def of(self, zone: str, kind: str, workload: str) -> Place:
        """The place of an end."""
        if kind == _STATIC and workload == _ADDED_UP and self._entries:
            return AMBIGUOUS
        entry = self._entries.get(workload) if kind == _STATIC else None
        return entry or self._zones.get(zone, _UNKNOWN)


async def costs_of(answer: Answer, ask: Ask, book: PriceBook, places: Places) -> Costs:
    """The cost of each row of an answer by its values, and of the total.

    Asks once for each period of the lists' validity; raises what ``ask`` raises.
    """
    query = answer.query
    added = _ROUTE + (_ENTRIES if places.has_entries else ())
    by = query.by + tuple(name for name in added if name not in query.by)
    rows = {row.values: Cost() for row in answer.rows}
    total, known = Cost(), 0
    prices: dict[tuple[object, ...], Quote | Unpriced] = {}
    seen = dict.fromkeys(rows, 0)
    for begin, end in _periods(query, book):
        found = await ask(
            replace(query, begin=begin, end=end, by=by, limit=MAX_LIMIT, points=0, compare=False)
        )
        for row in found.rows:
            values = dict(zip(by, row.values, strict=True))
            route = _route(values, places)
            if (price := prices.get((begin, *route))) is None:
                price = prices[(begin, *route)] = _price(*route, book, begin)
            cost = _cost(price, row.measure.bytes)
            total.add(cost)
            known += row.measure.bytes
            group = row.values[: len(query.by)]
            if group in rows:
                rows[group].add(cost)
                seen[group] += row.measure.bytes
    # What is beyond the limit of groups, or arrived between two questions, has no price.
    total.unpriced += max(0, answer.total.bytes - known)
    for row in answer.rows:
        rows[row.values].unpriced += max(0, row.measure.bytes - seen[row.values])
    return rows, total


def rest(total: Cost, rows: Iterable[Cost]) -> Cost:
    """The cost of what is not among the rows."""
    found = Cost(dict(total.by_currency), total.unpriced)
    for row in rows:
        for currency, amount in row.by_currency.items():
            found.by_currency[currency] = max(0.0, found.by_currency.get(currency, 0.0) - amount)
        found.unpriced = max(0, found.unpriced - row.unpriced)
    return found


def _periods(query: TrafficQuery, book: PriceBook) -> list[tuple[int, int]]:
    """The span, divided where a price list begins or ends; the last ones stay together."""
    found: list[tuple[int, int]] = []
    begin = query.begin
    while len(found) < _MOST_PERIODS:
        change = book.changes_after(datetime.fromtimestamp(begin, UTC))
        end = int(change.timestamp()) if change is not None else query.end
        if end >= query.end:
            break
        found.append((begin, end))
        begin = end
    return [*found, (begin, query.end)]


def _route(values: dict[str, Value], places: Places) -> tuple[str, Place, Place]:
    src, dst = (
        places.of(*(str(values.get(f"{side}_{name}", "")) for name in ("zone", "kind", "workload")))
        for side in ("src", "dst")
    )
    return str(values["class"]), src, dst


def _price(cls: str, src: Place, dst: Place, book: PriceBook, at: int) -> Quote | Unpriced:
    if cls not in CLASSES:
        return Unpriced(NO_RULE, f"{cls} traffic has no price")
    if AMBIGUOUS in (src, dst):
        return Unpriced(NO_RULE, "what was added up has no single price")
    return book.quote(
        Traffic(
            cls,
            src.provider,
            src.region,
            dst.provider,
            dst.region,
            src.price_class,
            dst.price_class,
        ),
        datetime.fromtimestamp(at, UTC),
    )


def _cost(price: Quote | Unpriced, size: int) -> Cost:
    if isinstance(price, Unpriced):
        return Cost(unpriced=size)
    return Cost({price.currency: price.both * size})
