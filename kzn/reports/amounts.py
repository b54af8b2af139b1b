"""The amounts of each group of a span, charged to the cause or to both ends.

In: questions to a history. Out: bytes by class and money of each group, and of all. Never: a total
that is not the history's: it is asked for by itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from kzn.client.past_traffic import Ask, Cost, Missing, Money, PastTraffic, PriceUsed
from kzn.history.query import MAX_LIMIT, TrafficQuery

CROSSING = ("cross_zone", "cross_region")
EXTERNAL, UNRESOLVED = "external", "unresolved"
GROUPINGS = {
    "namespace": ("namespace",),
    "workload": ("namespace", "workload_kind", "workload"),
    "group": ("group",),
}
Where = tuple[tuple[str, tuple[str, ...]], ...]
"""Filters, as in `TrafficQuery`."""
Charge = Literal["cause", "sides"]
"""Whom a byte is charged to: the end that opened its connection, or each end with its own price."""
Name = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Amount:
    """Bytes by what they crossed, and money by currency; ``cost`` is None without prices.

    ``bytes`` are all, ``crossed`` those between zones or regions. ``unpriced`` are those that
    have a class and no price.
    """

    bytes: int = 0
    crossed: int = 0
    external: int = 0
    unresolved: int = 0
    cost: Money | None = None
    unpriced: int = 0

    def plus(self, other: "Amount") -> "Amount":
        """The sum of both."""
        return Amount(
            self.bytes + other.bytes,
            self.crossed + other.crossed,
            self.external + other.external,
            self.unresolved + other.unresolved,
            _plus(self.cost, other.cost),
            self.unpriced + other.unpriced,
        )

    def minus(self, other: "Amount") -> "Amount":
        """What is left without a part; 0 where a part was asked for later and is more."""
        cost = self.cost
        if cost is not None:
            taken = other.cost or {}
            cost = {name: max(0.0, cost[name] - taken.get(name, 0.0)) for name in cost}
        return Amount(
            max(0, self.bytes - other.bytes),
            max(0, self.crossed - other.crossed),
            max(0, self.external - other.external),
            max(0, self.unresolved - other.unresolved),
            cost,
            max(0, self.unpriced - other.unpriced),
        )

    def money(self, currency: str) -> float:
        """The cost in one currency."""
        return (self.cost or {}).get(currency, 0.0)


@dataclass(frozen=True, slots=True)
class Amounts:
    """The amounts of a span: ``groups`` by name, and ``total``, in which each byte is once.

    With charge "sides" a group has the bytes that it sent, and pays for what it received too.
    Beyond the number of groups that a history answers, ``groups`` are not all, or not whole: what
    is left of ``total``, ``left_out`` bytes of one end or more, is of the others.

    ``known_until`` is where what is known ends, ``known_seconds`` its length without gaps.
    """

    begin: int
    end: int
    groups: Mapping[Name, Amount]
    total: Amount
    complete_from: int | None
    known_until: int
    known_seconds: int
    whole: PastTraffic
    """The answer that ``total`` is of."""
    gaps: tuple[Missing, ...] = field(default=())
    left_out: int = 0
    prices: tuple[PriceUsed, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether there is data from its begin on."""
        return self.complete_from is not None and self.complete_from <= self.begin

    def of(self, name: Name) -> Amount:
        """The amount of a group."""
        return self.groups.get(name, Amount())


def amounts(
    ask: Ask, begin: int, end: int, by: str, charge: Charge, where: Where = (), *, now: int
) -> Amounts:
    """Ask for a span grouped by one of `GROUPINGS`. Nothing is known of what is after ``now``."""
    groups: dict[Name, Amount] = {}
    left_out = 0
    sides: Iterable[tuple[str, tuple[str, ...]]] = (("cause", ("sender", "receiver")),)
    if charge == "sides":
        sides = (("src", ("sender",)), ("dst", ("receiver",)))
    for side, pays in sides:
        names = tuple(f"{side}_{name}" for name in GROUPINGS[by])
        found = ask(_query(begin, end, (*names, "class"), where))
        if found.of > len(found.rows):
            left_out = max(left_out, found.other.bytes)
        for name, amount in _named(found, pays, has_bytes=side != "dst"):
            groups[name] = groups.get(name, Amount()).plus(amount)
    # After the groups: what arrives meanwhile is in the total.
    whole = ask(query_of_total(begin, end, where))
    total = total_of(whole)
    return Amounts(
        whole.begin,
        whole.end,
        groups,
        total,
        whole.complete_from,
        known_until=min(whole.known[1], max(now, whole.begin)),
        known_seconds=whole.known_seconds(now),
        gaps=whole.gaps,
        left_out=left_out,
        prices=whole.prices,
        whole=whole,
    )


def query_of_total(begin: int, end: int, where: Where = ()) -> TrafficQuery:
    """What `total_of` needs."""
    return _query(begin, end, ("class",), where)


def total_of(answer: PastTraffic) -> Amount:
    """The amount of an answer by class, in which each byte is once."""
    total = Amount()
    for values, sums in answer.rows.items():
        total = total.plus(_amount(str(values[0]), sums.bytes, sums.cost, ("sender", "receiver")))
    return total


def _named(
    found: PastTraffic, pays: tuple[str, ...], *, has_bytes: bool
) -> Iterable[tuple[Name, Amount]]:
    for values, sums in found.rows.items():
        *name, cls = map(str, values)
        yield tuple(name), _amount(cls, sums.bytes if has_bytes else 0, sums.cost, pays)


def _query(begin: int, end: int, by: tuple[str, ...], where: Where) -> TrafficQuery:
    return TrafficQuery(begin, end, by, where, limit=MAX_LIMIT)


def _amount(cls: str, size: int, cost: Cost | None, pays: tuple[str, ...]) -> Amount:
    money: dict[str, float] | None = None
    if cost is not None:
        money = {}
        for side in pays:
            for currency, amount in (cost.sender if side == "sender" else cost.receiver).items():
                money[currency] = money.get(currency, 0.0) + amount
    return Amount(
        bytes=size,
        crossed=size if cls in CROSSING else 0,
        external=size if cls == EXTERNAL else 0,
        unresolved=size if cls == UNRESOLVED else 0,
        cost=money,
        unpriced=cost.unpriced
        if cost is not None and "sender" in pays and cls != UNRESOLVED
        else 0,
    )


def _plus(one: Money | None, other: Money | None) -> Money | None:
    if one is None or other is None:
        return other if one is None else one
    names = {**one, **other}
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in names}


def label(name: Name) -> str:
    """A group as text: NAMESPACE, NAMESPACE/KIND/NAME, or what has none."""
    return printable("/".join(part for part in name if part)) or "(none)"


def printable(text: str) -> str:
    """Text from a cluster without control characters, which terminals obey."""
    return "".join(letter for letter in text if letter.isprintable())
