"""What a price list is, for the shipped ones, those of plugins and those of files."""

import datetime as dt
from dataclasses import dataclass, field

from kzn.errors import UsageError
from kzn.pricing.traffic import CLASSES

API = 1
"""Version of this declaration; a list of another version is broken."""
GIB = 1 << 30
"""The "GB" of a list unless it says otherwise."""
ANY = ("*",)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a GB of one kind of traffic costs at both ends.

    It applies to class ``cls`` from a region that matches one of ``src_regions`` to one that
    matches one of ``dst_regions`` (globs; `OUTSIDE` is the end that is not the provider's), where
    the far end has the price class ``price_class``; empty: where neither end has one. ``sender``
    and ``receiver`` are per GB, in the list's currency. With ``bills_far_end`` False the end that
    has the price class pays nothing, whichever way bytes go. With ``unpriced``, a text that says
    why, there is no price. ``source`` and ``date`` are the list's unless given.
    """

    cls: str
    sender: float = 0.0
    receiver: float = 0.0
    src_regions: tuple[str, ...] = ANY
    dst_regions: tuple[str, ...] = ANY
    price_class: str = ""
    bills_far_end: bool = True
    unpriced: str = ""
    source: str = ""
    date: dt.date | None = None

    def __str__(self) -> str:
        regions = ""
        if (self.src_regions, self.dst_regions) != (ANY, ANY):
            regions = f" {','.join(self.src_regions)} to {','.join(self.dst_regions)}"
        return self.cls + regions + (f", {self.price_class}" if self.price_class else "")


@dataclass(frozen=True, slots=True)
class Conversion:
    """Amounts of a list in another ``currency``: ``rate`` of it for one of the list's."""

    currency: str
    rate: float
    source: str = ""
    date: dt.date | None = None


@dataclass(frozen=True, slots=True)
class PriceList:
    """The prices of one provider; of several rules that apply the first counts.

    ``provider`` is a name that `kzn.model.provider.provider_of` gives. ``valid_from`` and
    ``valid_until`` are days, from 00:00 UTC of the first to 00:00 UTC of the second. ``date`` is
    when ``source`` was read. ``gb_bytes`` are the bytes of its GB. ``discount`` is a share, 0.1 for
    10 %.
    """

    name: str
    provider: str
    currency: str
    valid_from: dt.date
    source: str
    date: dt.date
    rules: tuple[Rule, ...]
    gb_bytes: int = GIB
    valid_until: dt.date | None = None
    discount: float = 0.0
    conversion: Conversion | None = None
    api: int = field(default=API)

    def __post_init__(self) -> None:
        """UsageError for a class that does not exist, and prices that are not."""
        for rule in self.rules:
            if rule.cls not in CLASSES:
                raise UsageError(f"price list {self.name}: {rule.cls!r} is not a class")
            if not all(0 <= price < float("inf") for price in (rule.sender, rule.receiver)):
                raise UsageError(f"price list {self.name}: rule {rule}: a price is at least 0")
        if self.valid_until is not None and self.valid_until <= self.valid_from:
            raise UsageError(f"price list {self.name}: it ends before it begins")
        if not 0 <= self.discount <= 1:
            raise UsageError(f"price list {self.name}: a discount is a share from 0 to 1")
        if self.gb_bytes <= 0 or (self.conversion and not 0 < self.conversion.rate < float("inf")):
            raise UsageError(f"price list {self.name}: the unit and the rate are more than 0")

    @property
    def shown_currency(self) -> str:
        """The currency of its quotes."""
        return self.conversion.currency if self.conversion else self.currency

    def per_byte(self, price: float) -> float:
        """A price of its rules as what is paid for a byte, in `shown_currency`."""
        rate = self.conversion.rate if self.conversion else 1.0
        return price / self.gb_bytes * (1.0 - self.discount) * rate
