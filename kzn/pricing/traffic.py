"""Questions to the price lists and their answers: values alone."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

FREE_CLASS = "free"
"""The price class of an end to and from which every byte is free, in every list."""
OUTSIDE = "outside"
"""In a rule's regions: the end of external traffic that no provider of the cluster has."""
EXTERNAL = "external"
CLASSES = ("same_zone", "cross_zone", "cross_region", EXTERNAL)
"""The classes of traffic that rules have; those of kzn.server.resolve.verdict."""

Reason = Literal[
    "no_provider", "no_list", "not_valid", "no_rule", "no_zone", "providers_differ", "left_unpriced"
]
NO_PROVIDER: Reason = "no_provider"
"""Neither end's provider is known: nodes without spec.providerID, entries of a static topology."""
NO_LIST: Reason = "no_list"
"""No price list is in use for the provider."""
NOT_VALID: Reason = "not_valid"
"""The provider's lists are not valid at this time."""
NO_RULE: Reason = "no_rule"
"""The provider's list has no rule for this traffic."""
NO_ZONE: Reason = "no_zone"
"""To or from a network of a static file without a zone: how the bytes go there is not known."""
PROVIDERS_DIFFER: Reason = "providers_differ"
"""The ends have different providers: what the way between them costs is in neither's list."""
LEFT_UNPRICED: Reason = "left_unpriced"
"""A rule of the list says that it has no price for this traffic."""
REASONS: tuple[Reason, ...] = (
    NO_PROVIDER,
    NO_LIST,
    NOT_VALID,
    NO_RULE,
    NO_ZONE,
    PROVIDERS_DIFFER,
    LEFT_UNPRICED,
)
"""The closed list of `Unpriced.reason`, a label's values."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a price depends on; an empty string is "unknown" or "none".

    ``cls`` is one of `CLASSES`. A provider is a name that `kzn.model.provider.provider_of` gives. A
    price class is what a static entry says (``price: managed-database``), empty for ordinary ends.
    """

    cls: str
    src_provider: str = ""
    src_region: str = ""
    dst_provider: str = ""
    dst_region: str = ""
    src_price_class: str = ""
    dst_price_class: str = ""


@dataclass(frozen=True, slots=True)
class Quote:
    """What one byte costs the end that sends it and the end that receives it, in ``currency``.

    ``list`` is the list's name, ``rule`` the rule in words, ``source`` where the price was found
    and ``date`` when. It is valid from ``valid_from`` (00:00 UTC) on.
    """

    sender: float
    receiver: float
    currency: str
    provider: str
    list: str
    rule: str
    valid_from: dt.date
    source: str
    date: dt.date

    @property
    def is_free(self) -> bool:
        """Whether the list says that this costs nothing at either end."""
        return not (self.sender or self.receiver)

    @property
    def both(self) -> float:
        """What both ends pay for the byte."""
        return self.sender + self.receiver


@dataclass(frozen=True, slots=True)
class Unpriced:
    """No price is known: a ``reason`` of `REASONS`, and ``detail`` for readers."""

    reason: Reason
    detail: str
