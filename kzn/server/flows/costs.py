"""What each flow of the flow log costs at both ends, by the price lists in use.

In: flows with the owners of both ends, a price book. Out: columns of costs, currencies and reasons.
Never: a flow without a price as 0. Used by the thread of the flow log.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np

from kzn.columns.arrays import F64, I64
from kzn.model.endpoint import Endpoint
from kzn.pricing.book import PriceBook
from kzn.pricing.traffic import Quote, Traffic
from kzn.server.flows.records import FlowRecords
from kzn.server.resolve import verdict as v

_MOST_QUOTES = 1 << 14
_Place = tuple[str, str, str]
_Price = tuple[float, str, str]
_NOWHERE: _Place = ("", "", "")


@dataclass(frozen=True, slots=True, eq=False)
class PricedFlows:
    """Of each of n flows: the ``cost`` (n,), and the number (n,) of its row in ``rows``.

    A row is a currency and the reason why there is no price; one of both is empty, and both are of
    flows that are not attributed.
    """

    cost: F64
    row: I64
    rows: list[tuple[str, str]]


class FlowPrices:
    """Quotes of the book that ``book`` returns, kept while it and the day stay the same.

    ``provider_of`` tells who bills an endpoint, as the cost meter has it (`LabelCodes`).
    """

    def __init__(self, book: Callable[[], PriceBook | None]) -> None:
        self._book = book
        self.provider_of: Callable[[Endpoint], str] = lambda owner: owner.provider
        self._used: tuple[PriceBook | None, date] | None = None
        self._quotes: dict[tuple[int, _Place, _Place], _Price] = {}

    def price(self, records: FlowRecords) -> PricedFlows:
        """The costs of all flows, at the prices of the end of their interval."""
        at = datetime.fromtimestamp(records.closed, UTC)
        book = self._book()
        if self._used != (book, at.date()) or len(self._quotes) > _MOST_QUOTES:
            self._used = book, at.date()
            self._quotes.clear()
        of_owners = [self._place(owner) for owner in records.owners]
        places = list(dict.fromkeys(of_owners))
        number = {place: at for at, place in enumerate(places)}
        of_owner = np.array([number[place] for place in of_owners], np.int64)
        src, dst = (of_owner.take(rows) for rows in records.charged())
        size = len(places)
        routes, row = np.unique(
            (records.verdict.astype(np.int64) * size + src) * size + dst, return_inverse=True
        )
        found = []
        for route in routes.tolist():
            rest, far = divmod(route, size)
            cls, near = divmod(rest, size)
            found.append(self._quote(book, at, cls, places[near], places[far]))
        prices = np.array([price for price, *_ in found], np.float64)
        cost = records.flows.bytes.astype(np.float64) * prices.take(row)
        return PricedFlows(cost, row, [(currency, reason) for _, currency, reason in found])

    def _quote(
        self, book: PriceBook | None, at: datetime, cls: int, src: _Place, dst: _Place
    ) -> _Price:
        if cls >= len(v.CLASSES) or book is None:
            return 0.0, "", ""
        key = cls, src, dst
        price = self._quotes.get(key)
        if price is None:
            asked = Traffic(v.CLASSES[cls], src[0], src[1], dst[0], dst[1], src[2], dst[2])
            quote = book.quote(asked, at)
            if isinstance(quote, Quote):
                price = quote.both, quote.currency, ""
            else:
                price = 0.0, "", quote.reason
            self._quotes[key] = price
        return price

    def _place(self, owner: Endpoint | int) -> _Place:
        if isinstance(owner, int):
            return _NOWHERE
        return self.provider_of(owner), owner.region, owner.price_class
