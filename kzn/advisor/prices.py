"""What a byte costs between two ends of the cluster, at both ends. Pure."""

from collections.abc import Callable, Iterable
from datetime import date
from typing import NamedTuple

from kzn.pricing.book import PriceBook
from kzn.pricing.places import Places, price_between
from kzn.pricing.table import Place
from kzn.pricing.traffic import NO_RULE, Quote, Unpriced


class At(NamedTuple):
    """An end as prices tell it apart: its zone, and the entry of a static file if it is one."""

    zone: str
    kind: str = ""
    workload: str = ""


PriceOf = Callable[[str, At, At], Quote | Unpriced]
"""By class, sender and receiver."""


def zone_prices(book: PriceBook | None, places: Iterable[Place], at: date) -> PriceOf:
    """The prices that are valid at ``at``; each question is asked of the book once.

    ``places`` are the zones of nodes, and static entries with a price class. A name that two
    regions or providers have has no price.
    """
    known = Places(places)
    answers: dict[tuple[str, Place, Place], Quote | Unpriced] = {}

    def price_of(cls: str, src: At, dst: At) -> Quote | Unpriced:
        if book is None:
            return Unpriced(NO_RULE, "prices are off")
        key = cls, known.of(*src), known.of(*dst)
        if key not in answers:
            answers[key] = price_between(*key, book, at)
        return answers[key]

    return price_of
