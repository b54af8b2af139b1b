"""Where the bytes of an endpoint are billed, as codes: its provider, region, zone and price class.

In: endpoints and the codes of their zones. Out: a code, and the `Place` of a code.
Never: a code for each endpoint. Nearly all have the code of their zone; those that have a price
class, a region without a zone, or another provider than their zone's first have codes of their own.
"""

from typing import NamedTuple

from kzn.columns.interner import Interner
from kzn.model.endpoint import Endpoint

NONE = 0
"""The code of an address outside the cluster, and of an unknown zone."""
OTHER = 1
"""The code of all labels beyond the limit of codes."""
ZONE_BITS = 10
PLACE_BITS = 15
OWN_PLACE = 1 << ZONE_BITS
"""From here on codes are of places that are not told by their zone alone."""
TOO_MANY = (1 << PLACE_BITS) - 1
"""The code of all places beyond the limit: their bytes have no price."""


class Place(NamedTuple):
    """An empty string is "unknown" or "none"."""

    provider: str
    region: str
    zone: str
    price_class: str


_OUTSIDE = Place("", "", "", "")


class Places:
    """Codes of places. ``version`` changes when a code has another place than before.

    That is when the first endpoint of a zone with a known provider comes after one without.
    """

    __slots__ = ("_of_zone", "_own", "version")

    def __init__(self) -> None:
        self.version = 0
        self._of_zone: dict[int, Place] = {NONE: _OUTSIDE}
        self._own: Interner[Place] = Interner()

    @property
    def known(self) -> tuple[int, int]:
        """While it stays the same, `code` gives each endpoint the code that it had before."""
        return self.version, len(self._of_zone)

    def code(self, facts: Endpoint, zone: int) -> int:
        """The code of an endpoint's place; ``zone`` is the code of its zone."""
        provider = self.provider(facts, zone)
        place = Place(provider, facts.region, facts.zone, facts.price_class)
        return zone if self._is_zone(place, zone) else self._own_code(place)

    def provider(self, facts: Endpoint, zone: int) -> str:
        """The provider of an endpoint; changes nothing.

        An entry of the static file in a zone of the cluster is of that zone's provider.
        """
        known = self._of_zone.get(zone) if zone != OTHER else None
        return facts.provider or (known.provider if known is not None else "")

    def place(self, code: int) -> Place | None:
        """The place of a code; None for a zone without an endpoint yet, and beyond the limit."""
        if code < OWN_PLACE:
            return self._of_zone.get(code)
        return None if code == TOO_MANY else self._own.names[code - OWN_PLACE]

    def _is_zone(self, place: Place, zone: int) -> bool:
        """Whether the code of the zone tells the place; the first of a zone makes it so."""
        if place.price_class or zone == OTHER:
            return False
        known = self._of_zone.get(zone)
        if zone == NONE:
            return place == known
        if known is None or (place.provider and not known.provider):
            self._of_zone[zone] = place
            self.version += known is not None
            return True
        return place.provider == known.provider

    def _own_code(self, place: Place) -> int:
        if self._own.get(place) is None and len(self._own) >= TOO_MANY - OWN_PLACE:
            return TOO_MANY
        return OWN_PLACE + self._own.code(place)
