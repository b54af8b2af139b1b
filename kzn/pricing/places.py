"""Where the ends of past traffic are, for the price of it: zones by name, and static entries. Pure.

In: the places of a cluster, and what a row of a history says of an end. Out: `Place`, prices.
Never: a price for a name that stands for two places.
"""

import datetime as dt
from collections.abc import Iterable

from kzn.pricing.book import PriceBook
from kzn.pricing.table import Place
from kzn.pricing.traffic import CLASSES, NO_RULE, Quote, Traffic, Unpriced

_STATIC = "Static"
_UNKNOWN = Place("", "", "")
AMBIGUOUS = Place("", "", "", name="ambiguous")
"""The place of a zone name that two regions or providers have, and of entries added up."""
_ADDED_UP = "other"


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


def price_between(
    cls: str, src: Place, dst: Place, book: PriceBook, at: dt.date
) -> Quote | Unpriced:
    """What a byte of a class costs at ``at``, with the price classes of both places."""
    if cls not in CLASSES:
        return Unpriced(NO_RULE, f"{cls} traffic has no price")
    if AMBIGUOUS in (src, dst):
        return Unpriced(NO_RULE, "the name stands for several places")
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
        at,
    )
