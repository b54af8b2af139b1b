"""What applies between the places of a cluster, row by row: pure.

In: a book, and places (zones of nodes, entries with a price class). Out: rows, with a quote or why
there is none. Never: a pair of places whose class is not known.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache

from kzn.pricing.book import PriceBook
from kzn.pricing.traffic import OUTSIDE, Quote, Traffic, Unpriced


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A zone of a provider, or an entry ``name`` of the static topology.

    ``is_counted``: of a network nothing is counted, of a node and of a pod what they send is.
    """

    provider: str
    region: str
    zone: str
    price_class: str = ""
    name: str = ""
    is_counted: bool = False


OUTSIDE_PLACE = Place("", "", OUTSIDE)
"""The far end of external traffic."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a byte from ``src`` to ``dst`` costs."""

    src: Place
    dst: Place
    cls: str
    answer: Quote | Unpriced


def rows(book: PriceBook, places: Iterable[Place], at: date) -> Iterator[Row]:
    """From each place to each, to the outside and back, in the order of the places.

    Not from a network to a network: the bytes between them pass no node.
    """
    known = sorted(set(places))
    ask = cache(lambda traffic: book.quote(traffic, at))  # what a byte costs depends on no zone
    for src in known:
        for dst in known:
            cls = _class_of(src, dst)
            is_one_entry = bool(src.name) and src == dst  # what it sends itself stays in it
            if cls and (_passes_node(src) or _passes_node(dst)) and not is_one_entry:
                yield _row(ask, src, dst, cls)
    for place in known:
        if _passes_node(place):
            yield _row(ask, place, OUTSIDE_PLACE, "external")
            yield _row(ask, OUTSIDE_PLACE, place, "external")


def _passes_node(place: Place) -> bool:
    return place.is_counted or not place.name


def _class_of(src: Place, dst: Place) -> str:
    """As the resolver decides by zones (kzn.server.resolve.resolve); empty if it is not known."""
    if src.region and dst.region and src.region != dst.region:
        return "cross_region"
    if not src.zone or not dst.zone:
        is_nowhere = any(not _passes_node(place) and not place.zone for place in (src, dst))
        return "external" if is_nowhere else ""
    if src.zone == dst.zone:
        return "same_zone"
    return "cross_zone" if bool(src.region) == bool(dst.region) else ""


def _row(ask: Callable[[Traffic], Quote | Unpriced], src: Place, dst: Place, cls: str) -> Row:
    traffic = Traffic(
        cls=cls,
        src_provider=src.provider,
        src_region=src.region,
        dst_provider=dst.provider,
        dst_region=dst.region,
        src_price_class=src.price_class,
        dst_price_class=dst.price_class,
    )
    return Row(src, dst, cls, ask(traffic))
