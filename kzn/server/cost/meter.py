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
from kzn.server.ledger.places import NONE
from kzn.server.ledger.postings import BilledApart, Posting
from kzn.server.ledger.prices_in_use import PricesInUse
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
        rows = [self._routes.rows(items.routes) for items in (zones, sides, pairs)]
        _Settlement(self._ledger, self._routes, now).add(zones, sides, pairs, rows)

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
        return RoutePrices(self._book(), self._codes, self._wall())

    def _zones(self, overflow: list[Posting], apart: BilledApart | None) -> Items:
        def routes(keys: I64) -> I64:
            src, dst, cls = ZONE.layout.unpack(keys)
            return ROUTE.pack(cls, src, dst)

        table = self._ledger.table(ZONE.name)
        new = table.unsettled()
        parts = [of_rows(new, routes(new.keys))]
        if overflow:
            keys = np.concatenate([one.keys for one in overflow])
            parts.append(of_other(overflow, table.find(keys), routes(keys)))
        if apart is not None:
            keys = ZONE.layout.pack(apart.src_zone, apart.dst_zone, apart.cls)
            amounts = apart.bytes.astype(np.int64)
            both = routes(keys), _own_route(apart)
            parts.append(moved(keys, table.find(keys), both, amounts, np.zeros_like(amounts)))
        return netted(parts)

    def _sides(self, overflow: list[Posting], apart: BilledApart | None) -> Items:
        def routes(keys: I64) -> I64:
            _, _, cls, src, dst = WORKLOAD.layout.unpack(keys)
            return ROUTE.pack(cls, src, dst)

        table = self._ledger.table(WORKLOAD.name)
        new = table.unsettled()
        parts = [of_rows(new, routes(new.keys))]
        if overflow:
            keys = np.concatenate([one.keys for one in overflow])
            parts.append(of_other(overflow, table.find(keys), routes(keys)))
        if apart is not None:
            by_dst = apart.initiator == INITIATOR_DESTINATION
            for direction, workload, has_caused in (
                (EGRESS, apart.src_workload, ~by_dst),
                (INGRESS, apart.dst_workload, by_dst),
            ):
                named = np.flatnonzero(workload != NONE)
                keys = WORKLOAD.layout.pack(
                    workload, direction, apart.cls, apart.src_zone, apart.dst_zone
                ).take(named)
                amounts = apart.bytes.astype(np.int64).take(named)
                both = routes(keys), _own_route(apart).take(named)
                caused = amounts * has_caused.take(named)
                parts.append(moved(keys, table.find(keys), both, amounts, caused))
        return netted(parts)

    def _pairs(self, apart: BilledApart | None) -> Items:
        regions = self._region_of_zone()

        def routes(keys: I64) -> I64:
            _, src, _, dst, _ = PAIR.layout.unpack(keys)
            ends = regions.take(src), regions.take(dst)
            crosses_region = (ends[0] > 0) & (ends[1] > 0) & (ends[0] != ends[1])
            return ROUTE.pack(np.where(crosses_region, CROSS_REGION, CROSS_ZONE), src, dst)

        table = self._ledger.table(PAIR.name)
        new = table.unsettled()
        parts = [of_rows(new, routes(new.keys))]
        if apart is not None:
            keys = PAIR.layout.pack(
                apart.src_owner, apart.src_zone, apart.dst_owner, apart.dst_zone, apart.initiator
            )
            rows = table.find(keys)
            chosen = np.flatnonzero(CROSSES.take(apart.cls) & (rows >= 0))
            keys, amounts = keys.take(chosen), apart.bytes.astype(np.int64).take(chosen)
            both = routes(keys), _own_route(apart).take(chosen)
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

    def add(self, zones: Items, sides: Items, pairs: Items, rows: list[I64]) -> None:
        """Add all; ``rows`` are the routes' rows of each of the three."""
        self._add_zones(zones, rows[0])
        self._add_sides(sides, rows[1])
        size = len(self.routes)
        by_route = int_sums(rows[0], zones.bytes, size)
        self._add_rest(by_route, sides, rows[1])
        self._add_pairs(by_route, pairs, rows[2])
        self._count_bytes(by_route)

    def _add_zones(self, items: Items, rows: I64) -> None:
        prices = self.routes.prices.take(rows)
        cost = _cost(items.bytes, prices.both)
        src, dst, cls = ZONE.layout.unpack(items.keys)
        keys = ZONE_COST.layout.pack(src, dst, cls, prices.currency)
        self._add(ZONE_COST, keys, cost, _shown(prices, cls, prices.both))
        self._add_to_rows(ZONE, items, cost, prices)

    def _add_sides(self, items: Items, rows: I64) -> None:
        prices = self.routes.prices.take(rows)
        name, direction, cls, _, _ = WORKLOAD.layout.unpack(items.keys)
        price = np.where(direction == EGRESS, prices.sender, prices.receiver)
        keys = WORKLOAD_COST.layout.pack(name, direction, cls, prices.currency)
        cost = _cost(items.bytes, price)
        self._add(WORKLOAD_COST, keys, cost, _shown(prices, cls, price))
        keys = CAUSED_COST.layout.pack(name, cls, prices.currency)
        shown = _shown(prices, cls, prices.both) & (items.caused > 0)
        self._add(CAUSED_COST, keys, _cost(items.caused, prices.both), shown)
        self._add_to_rows(WORKLOAD, items, cost, prices)

    def _add_rest(self, by_route: I64, sides: Items, rows: I64) -> None:
        """Give what no workload has to `OUTSIDE`: ends without a name."""
        size, prices = len(by_route), self.routes.prices
        _, direction, *_ = WORKLOAD.layout.unpack(sides.keys)
        priced = prices.reason == PRICED
        outside = self.ledger.label_codes.workloads.code(OUTSIDE, None)
        for side, price in enumerate((prices.sender, prices.receiver)):
            rest = by_route - int_sums(rows, sides.bytes * (direction == side), size)
            keys = WORKLOAD_COST.layout.pack(outside, side, EXTERNAL_CLASS, prices.currency)
            cost = _cost(rest, price)
            self._add(WORKLOAD_COST, keys, cost, priced & (cost > 0))
        rest = by_route - int_sums(rows, sides.caused, size)
        keys = CAUSED_COST.layout.pack(outside, EXTERNAL_CLASS, prices.currency)
        cost = _cost(rest, prices.both)
        self._add(CAUSED_COST, keys, cost, priced & (cost > 0))

    def _add_pairs(self, by_route: I64, items: Items, rows: I64) -> None:
        """Add to the rows of pairs; the series other has the rest of what crosses zones."""
        prices = self.routes.prices
        cost = _cost(items.bytes, prices.both.take(rows))
        self._add_to_rows(PAIR, items, cost, prices.take(rows))
        if not self.ledger.limits.shows(PAIR.name):
            return
        rest = (by_route - int_sums(rows, items.bytes, len(by_route))) * self.routes.crosses()
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

    def _add_to_rows(self, family: Family, items: Items, cost: F64, prices: Prices) -> None:
        """Add to the rows of the family's table, and to its series other."""
        table = self.ledger.table(family.name)
        priced = items.bytes * (prices.reason == PRICED)
        known = items.rows >= 0
        if not known.all():
            beyond = np.flatnonzero(~known)
            self._add_to_other(
                family, items.bytes.take(beyond), cost.take(beyond), prices.take(beyond)
            )
        rows = items.rows[known]
        if len(rows) and not (rows[1:] > rows[:-1]).all():  # a row on two routes
            rows, at = np.unique(rows, return_inverse=True)
            sums: F64 = np.bincount(at, cost[known], len(rows)).astype(np.float64)
            currency = np.zeros(len(rows), np.int64)
            np.maximum.at(currency, at, prices.currency[known])
            table.add_costs(rows, sums, int_sums(at, priced[known], len(rows)), currency)
            return
        table.add_costs(rows, cost[known], priced[known], prices.currency[known])

    def _add_to_other(self, family: Family, amounts: I64, cost: F64, prices: Prices) -> None:
        table = self.ledger.table(family.name)
        for currency in np.unique(prices.currency[(prices.reason == PRICED) & (amounts > 0)]):
            chosen = prices.currency == currency
            money, sizes = float(cost[chosen].sum()), int(amounts[chosen].sum())
            table.add_costs_of_other(money, sizes, int(currency))


def _cost(amounts: I64, price: F64) -> F64:
    found: F64 = amounts * price
    return found


def _own_route(apart: BilledApart) -> I64:
    return ROUTE.pack(apart.cls, apart.src_place, apart.dst_place)


def _shown(prices: Prices, cls: I64, price: F64) -> BOOL:
    """Whether there is a series of cost: a price is known, and not that same-zone is free."""
    found: BOOL = (prices.reason == PRICED) & ((cls != SAME_ZONE) | (price > 0))
    return found
