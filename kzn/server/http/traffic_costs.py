"""What the groups of an answer about past traffic cost, at the prices that were valid then.

In: an answer, the price lists, the places of past ends, and a store to ask.
Out: for each group and the total: money at both ends by currency, and bytes without price.
Never: a group whose cost and unpriced bytes are of other bytes than the group's.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import itemgetter
from typing import NamedTuple, TypeVar

from kzn.errors import UsageError
from kzn.history.query import MAX_LIMIT, MAX_VALUES, Answer, Row, TrafficQuery, Value
from kzn.model.provider import provider_of
from kzn.pricing.book import PriceBook
from kzn.pricing.places import price_between
from kzn.pricing.traffic import Quote, Unpriced
from kzn.server.http.past_places import PastEnd, PastPlaces

_T = TypeVar("_T")
_SIDES = ("src", "dst")
ROWS_A_PIECE = 512
"""Rows that are priced between two turns of the event loop: about a millisecond."""
_MOST_PERIODS = 60
"""Each is a question to the store; what follows the last of them has no price."""

Costs = tuple[dict[tuple[Value, ...], "Cost"], "Cost"]
"""The cost of each row by its values, and of the total."""
Ask = Callable[[TrafficQuery], Awaitable[Answer]]


Money = dict[str, float]
"""An amount for each currency."""


@dataclass(slots=True)
class Cost:
    """What bytes cost the ends that send and receive them, and how many have no price."""

    sender: Money = field(default_factory=dict)
    receiver: Money = field(default_factory=dict)
    unpriced: int = 0
    lists: set[tuple[str, str, dt.date]] = field(default_factory=set, compare=False)
    """Of a total: list, currency and date of each price."""

    @property
    def both(self) -> Money:
        """What both ends pay."""
        return {one: self.sender[one] + self.receiver.get(one, 0.0) for one in self.sender}

    def add(self, other: "Cost") -> None:
        """Add the costs of other bytes."""
        for mine, others in ((self.sender, other.sender), (self.receiver, other.receiver)):
            for currency, amount in others.items():
                mine[currency] = mine.get(currency, 0.0) + amount
        self.unpriced += other.unpriced

    def to_json(self) -> dict[str, object]:
        """The keys that a row has in addition."""
        return {
            "cost": self.both,
            "sender_cost": self.sender,
            "receiver_cost": self.receiver,
            "unpriced_bytes": self.unpriced,
        }


class _Route(NamedTuple):
    cls: str
    src: PastEnd
    dst: PastEnd

    @staticmethod
    def of(values: Mapping[str, Value]) -> "_Route":
        """The route of a row."""
        src, dst = (
            PastEnd(*(str(values.get(f"{side}_{name}", "")) for name in PastEnd._fields))
            for side in _SIDES
        )
        return _Route(str(values["class"]), src, dst)


async def costs_of(answer: Answer, ask: Ask, book: PriceBook, places: PastPlaces) -> Costs:
    """The cost of each row of an answer by its values, and of the total.

    Asks once for each period of the lists' validity, and for the providers of zones whose nodes are
    gone, which ``places`` learns; raises what ``ask`` raises.
    """
    query = answer.query
    added = ("class", *(f"{side}_{name}" for name in places.dimensions for side in _SIDES))
    by = query.by + tuple(name for name in added if name not in query.by)
    periods: list[tuple[int, list[tuple[Row, _Route]]]] = []
    places_of = itemgetter(*(by.index(name) for name in added))
    known_routes: dict[tuple[Value, ...], _Route] = {}
    for begin, end in _periods(query, book):
        found = await ask(
            replace(query, begin=begin, end=end, by=by, limit=MAX_LIMIT, points=0, compare=False)
        )
        flows: list[tuple[Row, _Route]] = []
        async for row in _in_pieces(found.rows):
            key = places_of(row.values)
            if (route := known_routes.get(key)) is None:
                route = known_routes[key] = _Route.of(dict(zip(added, key, strict=True)))
            flows.append((row, route))
        periods.append((begin, flows))
    await _learn_providers(query, ask, places, known_routes.values())
    rows = {row.values: Cost() for row in answer.rows}
    total, known = Cost(), 0
    prices: dict[tuple[int, _Route], Quote | Unpriced] = {}
    seen = dict.fromkeys(rows, 0)
    for begin, flows in periods:
        async for row, route in _in_pieces(flows):
            if (price := prices.get((begin, route))) is None:
                at = datetime.fromtimestamp(begin, UTC)
                ends = places.of(route.src), places.of(route.dst)
                price = prices[begin, route] = price_between(route.cls, *ends, book, at)
            cost = _cost(price, row.measure.bytes)
            total.add(cost)
            if isinstance(price, Quote):
                total.lists.add((price.list, price.currency, price.date))
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


async def _in_pieces(rows: Sequence[_T]) -> AsyncIterator[_T]:
    """The rows, with turns of the event loop between pieces of them."""
    for first in range(0, len(rows), ROWS_A_PIECE):
        for row in rows[first : first + ROWS_A_PIECE]:
            yield row
        await asyncio.sleep(0)


def rest(total: Cost, rows: Iterable[Cost]) -> Cost:
    """The cost of what is not among the rows."""
    found = Cost(dict(total.sender), dict(total.receiver), total.unpriced)
    for row in rows:
        for left, taken in ((found.sender, row.sender), (found.receiver, row.receiver)):
            for currency, amount in taken.items():
                left[currency] = max(0.0, left.get(currency, 0.0) - amount)
        found.unpriced = max(0, found.unpriced - row.unpriced)
    return found


def _periods(query: TrafficQuery, book: PriceBook) -> list[tuple[int, int]]:
    """The span, divided where a price list begins or ends: at most `_MOST_PERIODS`, the first."""
    found: list[tuple[int, int]] = []
    begin = query.begin
    while len(found) < _MOST_PERIODS:
        change = book.changes_after(datetime.fromtimestamp(begin, UTC))
        end = int(change.timestamp()) if change is not None else query.end
        found.append((begin, min(end, query.end)))
        if end >= query.end:
            break
        begin = end
    return found


async def _learn_providers(
    query: TrafficQuery, ask: Ask, places: PastPlaces, routes: Iterable[_Route]
) -> None:
    """Learn from the ids of nodes of that time which provider the zones without nodes were of."""
    lacking = {
        (end.region, end.zone)
        for route in routes
        for end in (route.src, route.dst)
        if places.lacks(end, route.cls)
    }
    names = tuple(sorted({zone for _, zone in lacking}))[:MAX_VALUES]
    for side in _SIDES if names else ():
        by = tuple(f"{side}_{name}" for name in ("region", "zone", "provider_id"))
        where = ((f"{side}_zone", names),)
        try:
            found = await ask(TrafficQuery(query.begin, query.end, by, where, MAX_LIMIT))
        except UsageError:  # this store keeps no nodes
            return
        for row in found.rows:
            region, zone, provider_id = map(str, row.values)
            if provider_id and (region, zone) in lacking:
                places.learn((region, zone), provider_of(provider_id))


def _cost(price: Quote | Unpriced, size: int) -> Cost:
    if isinstance(price, Unpriced):
        return Cost(unpriced=size)
    return Cost({price.currency: price.sender * size}, {price.currency: price.receiver * size})
