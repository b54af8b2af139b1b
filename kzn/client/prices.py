"""The answer of /api/v1/prices as values: what applies between the zones of a cluster.

In: a book and places, or a JSON answer. Out: a `PriceTable`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from kzn.pricing.book import PriceBook
from kzn.pricing.table import Place, rows
from kzn.pricing.traffic import Quote, Unpriced

MAX_PLACES = 32
"""Most zones and entries that are compared with each other."""


@dataclass(frozen=True, slots=True)
class UsedList:
    """The price list of a provider that counts now; days are YYYY-MM-DD.

    ``discount`` is a share; ``rate`` converts ``list_currency`` into ``currency``, 1 without.
    """

    name: str
    provider: str
    currency: str
    list_currency: str
    rate: float
    gb_bytes: int
    discount: float
    valid_from: str
    valid_until: str
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Price:
    """What a byte between two places costs; the zone "outside" is what no provider here has.

    ``sender`` and ``receiver`` are for a byte in ``currency``, None without a price: then
    ``unpriced`` is the reason and ``detail`` says more. ``src_name`` and ``dst_name`` are entries
    of the static topology, with their price class, if they have one.
    """

    class_: str
    src_provider: str
    src_region: str
    src_zone: str
    src_name: str
    src_price_class: str
    dst_provider: str
    dst_region: str
    dst_zone: str
    dst_name: str
    dst_price_class: str
    sender: float | None
    receiver: float | None
    currency: str
    list: str
    rule: str
    source: str
    date: str
    unpriced: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        """The object of the answer."""
        return {key.removesuffix("_"): value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, row: Any) -> "Price":
        """Read one object of the answer."""
        values = {"class_" if key == "class" else key: value for key, value in row.items()}
        found = cls(**{name: values[name] for name in cls.__slots__})
        for price in (found.sender, found.receiver):
            if price is not None:
                float(price)
        return found


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Lists in use and prices as of ``time`` (RFC 3339); ``lists`` and ``prices`` are empty when
    prices are off (``is_off``).

    ``places`` is the number of zones and entries; at most `MAX_PLACES` of them are compared.
    """

    time: str
    is_off: bool
    places: int
    lists: tuple[UsedList, ...]
    prices: tuple[Price, ...]

    def to_json(self) -> dict[str, Any]:
        """The answer."""
        return {
            "time": self.time,
            "off": self.is_off,
            "places": self.places,
            "lists": [asdict(one) for one in self.lists],
            "prices": [price.to_json() for price in self.prices],
        }

    @classmethod
    def from_json(cls, answer: Any) -> "PriceTable":
        """Read an answer."""
        return cls(
            time=str(answer["time"]),
            is_off=bool(answer["off"]),
            places=int(answer["places"]),
            lists=tuple(
                UsedList(**{name: one[name] for name in UsedList.__slots__})
                for one in answer["lists"]
            ),
            prices=tuple(map(Price.from_json, answer["prices"])),
        )


def price_table(book: PriceBook | None, places: Iterable[Place], at: datetime) -> PriceTable:
    """What ``book`` says between ``places`` at ``at``; None: prices are off."""
    known = sorted(set(places), key=_importance)
    time = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    if book is None:
        return PriceTable(time, is_off=True, places=len(known), lists=(), prices=())
    return PriceTable(
        time=time,
        is_off=False,
        places=len(known),
        lists=tuple(used_lists(book, known, at)),
        prices=tuple(
            _price(row.cls, row.src, row.dst, row.answer)
            for row in rows(book, known[:MAX_PLACES], at)
        ),
    )


def _importance(place: Place) -> tuple[bool, bool, Place]:
    """Zones first, then entries with a price class."""
    return bool(place.name), not place.price_class, place


def used_lists(book: PriceBook, places: Iterable[Place], at: datetime) -> Iterator[UsedList]:
    """The list that counts at ``at`` for each provider of ``places``."""
    for provider in sorted({place.provider for place in places} - {""}):
        found = book.list_for(provider, at)
        if isinstance(found, Unpriced):
            continue
        yield UsedList(
            name=found.name,
            provider=provider,
            currency=found.shown_currency,
            list_currency=found.currency,
            rate=found.conversion.rate if found.conversion else 1.0,
            gb_bytes=found.gb_bytes,
            discount=found.discount,
            valid_from=str(found.valid_from),
            valid_until=str(found.valid_until or ""),
            source=found.source,
            date=str(found.date),
        )


def _price(cls: str, src: Place, dst: Place, answer: Quote | Unpriced) -> Price:
    quote = answer if isinstance(answer, Quote) else None
    why = answer if isinstance(answer, Unpriced) else None
    return Price(
        class_=cls,
        src_provider=src.provider,
        src_region=src.region,
        src_zone=src.zone,
        src_name=src.name,
        src_price_class=src.price_class,
        dst_provider=dst.provider,
        dst_region=dst.region,
        dst_zone=dst.zone,
        dst_name=dst.name,
        dst_price_class=dst.price_class,
        sender=quote.sender if quote else None,
        receiver=quote.receiver if quote else None,
        currency=quote.currency if quote else "",
        list=quote.list if quote else "",
        rule=quote.rule if quote else "",
        source=quote.source if quote else "",
        date=str(quote.date) if quote else "",
        unpriced=why.reason if why else "",
        detail=why.detail if why else "",
    )
