"""The cost meter: what new bytes of the ledger cost is added to what bytes before did.

In: bytes that came to the series of workloads, zones and pairs since the last settlement. Out:
money in the families of cost, and the cost of each row. Never: a batch delayed, a byte priced
twice, a cost that decreases when a price does.

Each byte is settled in one call in three views that add up to the same: at the side that pays, at
the end that caused it, and by its two zones. What a book changes counts from the tick on at which
it is seen; bytes until then have the old price.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import BOOL, F64, I64
from kzn.model.flows import INITIATOR_DESTINATION
from kzn.pricing.book import PriceBook
from kzn.server.cost.items import Items, int_sums, joined, moved, netted, of_other, of_rows
from kzn.server.cost.route_prices import PRICED, ROUTE, Prices, RoutePrices
from kzn.server.ledger.family import (
    BEFORE_PRICES,
    CAUSED_COST,
    EGRESS,
    INGRESS,
    PAIR,
    UNPRICED,
    UNPRICED_REASONS,
    WORKLOAD,
    WORKLOAD_COST,
    ZONE,
    ZONE_COST,
    Family,
)
from kzn.server.ledger.family import PRICED as PRICED_FAMILY
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.places import NONE, OTHER
from kzn.server.ledger.postings import BilledApart, Posting
from kzn.server.ledger.prices_in_use import PricesInUse
from kzn.server.ledger.series import SeriesTable
from kzn.server.resolve.verdict import CROSS_REGION, CROSS_ZONE, CROSSES, EXTERNAL_CLASS, SAME_ZONE

SETTLE_SECONDS = 5.0
"""Longest time between two settlements without a scrape or a commit."""
MAX_UNSETTLED = 200_000
"""Rows that wait for a settlement beside the tables, some 20 MB."""
OUTSIDE = ("", "External", "external")
"""The workload labels of all addresses outside the cluster, which have none in other families."""


class CostMeter:
    """Settles a ledger with prices; ``book`` returns the current price book.

    ``wall`` is the time in Unix seconds, by which prices are valid.
    """

    def __init__(
        self, ledger: Ledger, book: Callable[[], PriceBook], wall: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._wall = wall
        self._codes = ledger.label_codes
        self._routes = self._new_routes()
        self._next = -np.inf

    def begin(self, now: float) -> None:
        """Count what was loaded and is neither priced nor unpriced as `BEFORE_PRICES`."""
        counted, *settled = (
            table.bytes.sum().item() + table.other.bytes
            for table in map(self._ledger.table, (ZONE.name, PRICED_FAMILY.name, UNPRICED.name))
        )
        if (before := counted - sum(settled)) > 0:
            key = np.array([UNPRICED_REASONS.index(BEFORE_PRICES)], np.int64)
            table = self._ledger.table(UNPRICED.name)
            exposed, created = np.ones(1, np.bool_), np.zeros(1)
            table.load(key, np.array([before], np.uint64), exposed, created, now)

    def tick(self, now: float) -> None:
        """Settle if it is time, and use other prices from now on if there are others."""
        routes = self._routes
        if routes.places_version != self._codes.places.version:
            self._routes = routes = self._new_routes()  # first: its bytes had no known provider
        if routes.book is not self._book() or self._wall() >= routes.valid_until:
            self.settle(now)
            self._routes = self._new_routes()
        if now >= self._next or self._ledger.unsettled > MAX_UNSETTLED:
            self.settle(now)

    def settle(self, now: float) -> None:
        """Price all bytes that came since the last call."""
        self._next = now + SETTLE_SECONDS
        if self._routes.places_version != self._codes.places.version:
            self._routes = self._new_routes()
        flows = self._ledger.take_apart()
        apart = joined(flows) if flows else None
        overflow = self._ledger.take_overflow()
        zones = self._zones(overflow[ZONE.name], apart)
        if not len(zones.keys):
            return
        sides = self._sides(overflow[WORKLOAD.name], apart)
        pairs = self._pairs(apart)
        _Settlement(self._ledger, self._routes, now).add(zones, sides, pairs)

    def prices(self) -> PricesInUse:
        """The prices of the zone pairs that have series."""
        keys = self._ledger.table(ZONE.name).keys
        src, dst, cls = ZONE.layout.unpack(keys)
        known = np.array([self._codes.places.place(code) is not None for code in range(1 << 10)])
        keys = keys[known[src] & known[dst]]
        src, dst, cls = ZONE.layout.unpack(keys)
        rows = self._routes.rows(ROUTE.pack(cls, src, dst))
        prices = self._routes.prices.take(rows)
        priced = prices.reason == PRICED
        return PricesInUse(
            keys[priced],
            prices.sender[priced],
            prices.receiver[priced],
            prices.currency[priced].astype(np.uint8),
            self._routes.lists,
        )

    def _new_routes(self) -> RoutePrices:
        for name in (ZONE.name, WORKLOAD.name, PAIR.name):
            self._ledger.table(name).forget_routes()
        return RoutePrices(self._book(), self._codes, self._wall())

    def _new(self, table: SeriesTable, routes: Callable[[I64], I64]) -> Items:
        """The new bytes of a table; ``routes`` tells the routes of keys."""
        new = table.unsettled()
        found, unknown = new.routes, np.flatnonzero(new.routes < 0)
        if unknown.size:
            found[unknown] = routes(new.keys.take(unknown))
            table.note_routes(new.rows.take(unknown), found.take(unknown))
        return of_rows(new, found)

    def _own_route(self, apart: BilledApart) -> I64:
        return self._routes.rows(ROUTE.pack(apart.cls, apart.src_place, apart.dst_place))

    def _zones(self, overflow: list[Posting], apart: BilledApart | None) -> Items:
        def routes(keys: I64) -> I64:
            src, dst, cls = ZONE.layout.unpack(keys)
            return self._routes.rows(ROUTE.pack(cls, src, dst))

        table = self._ledger.table(ZONE.name)
        parts = [self._new(table, routes)]
        if overflow:
            keys = np.concatenate([one.keys for one in overflow])
            parts.append(of_other(overflow, table.find(keys), routes(keys)))
        if apart is not None:
            keys = ZONE.layout.pack(apart.src_zone, apart.dst_zone, apart.cls)
            amounts = apart.bytes.astype(np.int64)
            both = routes(keys), self._own_route(apart)
            parts.append(moved(keys, table.find(keys), both, amounts, np.zeros_like(amounts)))
        return netted(parts)

    def _sides(self, overflow: list[Posting], apart: BilledApart | None) -> Items:
        def routes(keys: I64) -> I64:
            _, _, cls, src, dst = WORKLOAD.layout.unpack(keys)
            return self._routes.rows(ROUTE.pack(cls, src, dst))

        table = self._ledger.table(WORKLOAD.name)
        parts = [self._new(table, routes)]
        if overflow:
            keys = np.concatenate([one.keys for one in overflow])
            parts.append(of_other(overflow, table.find(keys), routes(keys)))
        if apart is not None:
            by_dst, own_route = apart.initiator == INITIATOR_DESTINATION, self._own_route(apart)
            for direction, workload, has_caused in (
                (EGRESS, apart.src_workload, ~by_dst),
                (INGRESS, apart.dst_workload, by_dst),
            ):
                named = np.flatnonzero(workload != NONE)
                keys = WORKLOAD.layout.pack(
                    workload, direction, apart.cls, apart.src_zone, apart.dst_zone
                ).take(named)
                amounts = apart.bytes.astype(np.int64).take(named)
                both = routes(keys), own_route.take(named)
                caused = amounts * has_caused.take(named)
                parts.append(moved(keys, table.find(keys), both, amounts, caused))
        return netted(parts)

    def _pairs(self, apart: BilledApart | None) -> Items:
        def routes(keys: I64) -> I64:
            regions = self._region_of_zone()
            _, src, _, dst, _ = PAIR.layout.unpack(keys)
            ends = regions.take(src), regions.take(dst)
            crosses_region = (ends[0] > 0) & (ends[1] > 0) & (ends[0] != ends[1])
            cls = np.where(crosses_region, CROSS_REGION, CROSS_ZONE)
            return self._routes.rows(ROUTE.pack(cls, src, dst))

        table = self._ledger.table(PAIR.name)
        parts = [self._new(table, routes)]
        if apart is not None:
            keys = PAIR.layout.pack(
                apart.src_owner, apart.src_zone, apart.dst_owner, apart.dst_zone, apart.initiator
            )
            rows = table.find(keys)
            chosen = np.flatnonzero(CROSSES.take(apart.cls) & (rows >= 0))
            keys, amounts = keys.take(chosen), apart.bytes.astype(np.int64).take(chosen)
            both = routes(keys), self._own_route(apart).take(chosen)
            parts.append(moved(keys, rows.take(chosen), both, amounts, np.zeros_like(amounts)))
        return netted(parts)

    def _region_of_zone(self) -> I64:
        """A number of the region of each zone's code, 0 where it is unknown."""
        numbers = {"": 0}
        found = np.zeros(1 << 10, np.int64)
        for region, zone, _ in self._codes.zones.rows():
            found[self._codes.zones.code(region, zone)] = numbers.setdefault(region, len(numbers))
        return found


@dataclass(frozen=True, slots=True)
class _Settlement:
    """One settlement: items of the three tables, priced and added to the families of cost."""

    ledger: Ledger
    routes: RoutePrices
    now: float

    def add(self, zones: Items, sides: Items, pairs: Items) -> None:
        """Add all."""
        self._add_zones(zones)
        self._add_sides(sides)
        by_route = int_sums(zones.routes, zones.bytes, len(self.routes))
        self._add_rest(by_route, sides)
        self._add_pairs(by_route, pairs)
        self._count_bytes(by_route)

    def _add_zones(self, items: Items) -> None:
        prices = self.routes.prices.take(items.routes)
        cost = _cost(items.bytes, prices.both)
        src, dst, cls = ZONE.layout.unpack(items.keys)
        keys = ZONE_COST.layout.pack(src, dst, cls, prices.currency)
        self._add(ZONE_COST, keys, cost, _shown(prices, cls, prices.both))
        self._add_to_rows(ZONE, items, cost)

    def _add_sides(self, items: Items) -> None:
        """Add to both families of workloads.

        What a series' labels, price and existence have of its route is worked out for each route
        and not for each item, of which there are a thousand times as many.
        """
        prices, cls, size = self.routes.prices, self.routes.classes, len(self.routes)
        name, direction = (WORKLOAD.layout.column(items.keys, number) for number in range(2))
        at = direction * size + items.routes
        price = np.concatenate([prices.sender, prices.receiver])  # in the order of directions
        cost = _cost(items.bytes, price.take(at))
        shown = np.concatenate(
            [_shown(prices, cls, one) for one in (prices.sender, prices.receiver)]
        )
        labels = np.concatenate(
            [WORKLOAD_COST.layout.pack(0, side, cls, prices.currency) for side in (EGRESS, INGRESS)]
        )
        chosen = np.flatnonzero(shown.take(at))
        keys = WORKLOAD_COST.layout.pack(name.take(chosen), 0, 0, 0) | labels.take(at.take(chosen))
        self.ledger.add_costs(WORKLOAD_COST.name, keys, cost.take(chosen), self.now)
        self._add_to_rows(WORKLOAD, items, cost)

        shown = _shown(prices, cls, prices.both)
        chosen = np.flatnonzero(shown.take(items.routes) & (items.caused > 0))
        labels, routes = CAUSED_COST.layout.pack(0, cls, prices.currency), items.routes.take(chosen)
        keys = CAUSED_COST.layout.pack(name.take(chosen), 0, 0) | labels.take(routes)
        cost = _cost(items.caused.take(chosen), prices.both.take(routes))
        self.ledger.add_costs(CAUSED_COST.name, keys, cost, self.now)

    def _add_rest(self, by_route: I64, sides: Items) -> None:
        """Give what no workload has to `OUTSIDE`: ends without a name."""
        size, prices = len(by_route), self.routes.prices
        direction = WORKLOAD.layout.column(sides.keys, 1)
        named = int_sums(direction * size + sides.routes, sides.bytes, 2 * size)
        priced = prices.reason == PRICED
        outside = self.ledger.label_codes.workloads.code(OUTSIDE, None)
        for side, price in enumerate((prices.sender, prices.receiver)):
            rest = by_route - named[side * size : (side + 1) * size]
            keys = WORKLOAD_COST.layout.pack(outside, side, EXTERNAL_CLASS, prices.currency)
            cost = _cost(rest, price)
            self._add(WORKLOAD_COST, keys, cost, priced & (cost > 0))
        rest = by_route - int_sums(sides.routes, sides.caused, size)
        keys = CAUSED_COST.layout.pack(outside, EXTERNAL_CLASS, prices.currency)
        cost = _cost(rest, prices.both)
        self._add(CAUSED_COST, keys, cost, priced & (cost > 0))

    def _add_pairs(self, by_route: I64, items: Items) -> None:
        """Add to the rows of pairs; the series other has the rest of what crosses zones."""
        prices = self.routes.prices
        cost = _cost(items.bytes, prices.both.take(items.routes))
        self._add_to_rows(PAIR, items, cost)
        if not self.ledger.limits.shows(PAIR.name):
            return
        size = len(by_route)
        rest = (by_route - int_sums(items.routes, items.bytes, size)) * self.routes.crosses()
        self._add_to_other(PAIR, rest, _cost(rest, prices.both), prices)

    def _count_bytes(self, by_route: I64) -> None:
        prices = self.routes.prices
        for family, codes in ((PRICED_FAMILY, prices.currency), (UNPRICED, prices.reason)):
            chosen = np.flatnonzero((prices.reason == PRICED) == (family is PRICED_FAMILY))
            chosen = chosen[by_route.take(chosen) > 0]
            if chosen.size:
                amounts = by_route.take(chosen).astype(np.uint64)
                self.ledger.table(family.name).add(codes.take(chosen), amounts, self.now)

    def _add(self, family: Family, keys: I64, cost: F64, chosen: BOOL) -> None:
        rows = np.flatnonzero(chosen)
        if rows.size:
            self.ledger.add_costs(family.name, keys.take(rows), cost.take(rows), self.now)

    def _add_to_rows(self, family: Family, items: Items, cost: F64) -> None:
        """Add to the rows of the family's table, and to its series other."""
        prices, table = self.routes.prices, self.ledger.table(family.name)
        priced = items.bytes * (prices.reason == PRICED).take(items.routes)
        currency, rows = prices.currency.take(items.routes), items.rows
        if not (known := rows >= 0).all():
            beyond = np.flatnonzero(~known)
            of_beyond = prices.take(items.routes.take(beyond))
            self._add_to_other(family, items.bytes.take(beyond), cost.take(beyond), of_beyond)
            rows, cost, priced, currency = rows[known], cost[known], priced[known], currency[known]
        if not (rows[1:] > rows[:-1]).all():  # a row on two routes
            rows, at = np.unique(rows, return_inverse=True)
            cost = np.bincount(at, cost, len(rows)).astype(np.float64)
            priced = int_sums(at, priced, len(rows))
            currency = _currency_of_rows(at, currency, len(rows))
        table.add_costs(rows, cost, priced, currency)

    def _add_to_other(self, family: Family, amounts: I64, cost: F64, prices: Prices) -> None:
        table = self.ledger.table(family.name)
        for currency in np.unique(prices.currency[(prices.reason == PRICED) & (amounts > 0)]):
            chosen = prices.currency == currency
            money, sizes = float(cost[chosen].sum()), int(amounts[chosen].sum())
            table.add_costs_of_other(money, sizes, int(currency))


def _cost(amounts: I64, price: F64) -> F64:
    found: F64 = amounts * price
    return found


def _currency_of_rows(rows: I64, currency: I64, size: int) -> I64:
    """The currency of each row below ``size``: `OTHER` for several, `NONE` without one."""
    last, first = np.zeros(size, np.int64), np.full(size, np.iinfo(np.int64).max)
    has_one = currency != NONE
    np.maximum.at(last, rows[has_one], currency[has_one])
    np.minimum.at(first, rows[has_one], currency[has_one])
    found: I64 = np.where((last != NONE) & (first != last), OTHER, last)
    return found


def _shown(prices: Prices, cls: I64, price: F64) -> BOOL:
    """Whether there is a series of cost: a price is known, and not that same-zone is free."""
    found: BOOL = (prices.reason == PRICED) & ((cls != SAME_ZONE) | (price > 0))
    return found
