"""What a byte costs on each route: its class, and the places where it is sent and received.

In: routes as keys, a price book, places, a time. Out: prices in columns. Never: a quote asked twice
for one route while the book, the places and the day's prices stay the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from kzn.columns.arrays import BOOL, F64, I64
from kzn.columns.hash_table import KeyTable
from kzn.columns.key_layout import KeyLayout
from kzn.columns.sort_order import distinct
from kzn.pricing.book import PriceBook
from kzn.pricing.traffic import Quote, Traffic, Unpriced
from kzn.server.ledger.family import TOO_MANY_PLACES, UNPRICED_REASONS
from kzn.server.ledger.labels import LabelCodes
from kzn.server.ledger.places import NONE, OTHER, PLACE_BITS, TOO_MANY, Place
from kzn.server.ledger.prices_in_use import PriceListInUse
from kzn.server.resolve.verdict import CLASSES, CROSSES

ROUTE = KeyLayout(3, PLACE_BITS, PLACE_BITS)
"""Class, place of the sender, place of the receiver."""
PRICED = -1
"""The reason of a route with a price."""
_UNKNOWN = Place("", "", "", "")


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """Of each of n routes: money per byte, (n,). ``currency`` is a code, `NONE` without a price.

    ``reason`` is an index into UNPRICED_REASONS, or PRICED.
    """

    sender: F64
    receiver: F64
    currency: I64
    reason: I64

    @property
    def both(self) -> F64:
        """What both ends pay for a byte."""
        return self.sender + self.receiver

    def take(self, rows: I64) -> "Prices":
        """The prices of some routes."""
        return Prices(
            self.sender.take(rows),
            self.receiver.take(rows),
            self.currency.take(rows),
            self.reason.take(rows),
        )

    def plus(self, more: "Prices") -> "Prices":
        """These and the prices of further routes."""
        return Prices(
            np.append(self.sender, more.sender),
            np.append(self.receiver, more.receiver),
            np.append(self.currency, more.currency),
            np.append(self.reason, more.reason),
        )


class RoutePrices:
    """The prices of all routes asked for, as ``book`` has them ``at`` a time (Unix seconds)."""

    def __init__(self, book: PriceBook, codes: LabelCodes, at: float) -> None:
        self.book = book
        self._codes = codes
        self._at = datetime.fromtimestamp(at, UTC)
        self._index = KeyTable()
        self._prices = _columns([])
        self._classes = np.zeros(0, np.int64)
        self._lists: dict[PriceListInUse, None] = {}
        following = book.changes_after(self._at)
        self.valid_until = following.timestamp() if following is not None else np.inf
        """When an answer can be another one, in Unix seconds."""
        self.places_version = codes.places.version

    @property
    def lists(self) -> tuple[PriceListInUse, ...]:
        """The lists that priced a route."""
        return tuple(self._lists)

    def __len__(self) -> int:
        return self._index.size

    @property
    def prices(self) -> Prices:
        """The prices by row."""
        return self._prices

    @property
    def classes(self) -> I64:
        """The class by row."""
        return self._classes

    def crosses(self) -> BOOL:
        """By row: whether the class of the route crosses zones."""
        return CROSSES.take(self._classes)

    def rows(self, routes: I64) -> I64:
        """The row of each route, which may repeat."""
        rows = self._index.find(routes)
        if (new := rows < 0).any():
            different = distinct(routes[new])
            self._index.insert(different)
            cls, *places = ROUTE.unpack(different)
            columns = (cls.tolist(), *(column.tolist() for column in places))
            found = _columns([self._quote(*one) for one in zip(*columns, strict=True)])
            self._prices = self._prices.plus(found)
            self._classes = np.append(self._classes, cls)
            rows[new] = self._index.find(routes[new])
        return rows

    def _quote(self, cls: int, src: int, dst: int) -> tuple[float, float, int, int]:
        ends = self._codes.places.place(src), self._codes.places.place(dst)
        if TOO_MANY in (src, dst) or OTHER in (src, dst):
            return _unpriced(TOO_MANY_PLACES)
        sender, receiver = (end or _UNKNOWN for end in ends)
        quote = self.book.quote(
            Traffic(
                CLASSES[cls],
                sender.provider,
                sender.region,
                receiver.provider,
                receiver.region,
                sender.price_class,
                receiver.price_class,
            ),
            self._at,
        )
        if isinstance(quote, Unpriced):
            return _unpriced(quote.reason)
        currency = self._codes.currencies.code((quote.currency,), None)
        if currency in (NONE, OTHER):
            return _unpriced(TOO_MANY_PLACES)
        self._lists[_list_of(quote)] = None
        return quote.sender, quote.receiver, currency, PRICED


def _list_of(quote: Quote) -> PriceListInUse:
    return PriceListInUse(quote.list, quote.provider, quote.currency, quote.valid_from, quote.date)


def _unpriced(reason: str) -> tuple[float, float, int, int]:
    return 0.0, 0.0, NONE, UNPRICED_REASONS.index(reason)


def _columns(rows: Sequence[tuple[float, float, int, int]]) -> Prices:
    sender, receiver, currency, reason = zip(*rows, strict=True) if rows else ((),) * 4
    return Prices(
        np.array(sender, np.float64),
        np.array(receiver, np.float64),
        np.array(currency, np.int64),
        np.array(reason, np.int64),
    )
