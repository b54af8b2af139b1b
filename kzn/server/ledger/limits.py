"""Which families of series there are, how many series each may have, and for how long.

In: the server's options. Out: answers for the ledger. Never: a number that the codes of labels do
not allow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kzn.errors import UsageError
from kzn.server.ledger.family import FAMILIES, WORKLOAD, ZONE, Family, FamilyName
from kzn.server.ledger.labels import LABEL_BITS

MAX_SERIES = 1 << LABEL_BITS
"""Most series that a family can be given: its labels have that many codes."""
OVERFLOW = (WORKLOAD.name, ZONE.name)
"""Families whose bytes beyond the limit the cost meter needs by key; those of pairs are what is
left of zones."""


@dataclass(frozen=True, slots=True)
class LedgerLimits:
    """Limits of series that differ from the family's default, and durations in seconds.

    Families that are ``off`` get no bytes and are not in snapshots. ``retention`` replaces that of
    all families, ``pair_window`` is that of top_pairs.
    """

    series: Mapping[FamilyName, int] = field(default_factory=dict)
    retention: float | None = None
    pair_window: float = 300.0
    off: frozenset[FamilyName] = frozenset()
    nodes_as_pods: bool = False
    """Whether the family pod has what nodes send, as kubezonnet: namespace _node_, pod NODE."""
    priced: bool = False
    """Whether there are prices; without them, or if all are off, no family of cost exists."""

    def __post_init__(self) -> None:
        """UsageError for a family that does not exist, and for a limit out of range."""
        for name in (*self.series, *self.off):
            if name not in FAMILIES:
                raise UsageError(f"{name!r} is not a family of series", hint=", ".join(FAMILIES))
        for name, number in self.series.items():
            if not 1 <= number <= MAX_SERIES:
                raise UsageError(
                    f"{number} series of family {name} is out of range",
                    hint=f"1 to {MAX_SERIES}; to have none, leave {name} out of --families",
                )

    def of(self, family: Family) -> int:
        """The largest number of series of a family."""
        return self.series.get(family.name, family.limit)

    @property
    def has_costs(self) -> bool:
        """Whether a family of cost is on."""
        of_cost = {name for name, family in FAMILIES.items() if family.of_cost}
        return self.priced and not of_cost <= self.off

    def shows(self, name: FamilyName) -> bool:
        """Whether the family is in snapshots."""
        return name not in self.off and (self.has_costs or not FAMILIES[name].of_cost)

    def feeds(self, name: FamilyName) -> bool:
        """Whether the family gets bytes: costs are derived from those of some that are off."""
        return self.shows(name) or (self.has_costs and name in OVERFLOW)

    def retention_of(self, family: Family) -> float:
        """How long a series of a family stays after its last byte."""
        return family.retention if self.retention is None else self.retention
