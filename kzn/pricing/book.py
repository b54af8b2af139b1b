"""The price lists in use, and which of them answers for a byte: pure.

In: lists, and questions with a time. Out: quotes, or why there is none. Never: a guess.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time

from kzn.model.endpoint import NO_ZONE_CLASS
from kzn.pricing.declaration import PriceList, Rule
from kzn.pricing.rule_index import RuleIndex
from kzn.pricing.traffic import (
    FREE_CLASS,
    LEFT_UNPRICED,
    NO_LIST,
    NO_PROVIDER,
    NO_RULE,
    NO_ZONE,
    NOT_VALID,
    OUTSIDE,
    PROVIDERS_DIFFER,
    Quote,
    Traffic,
    Unpriced,
)

MOST_REMEMBERED = 100_000
"""Answers that a book keeps: regions come from labels of nodes, which may change."""


class PriceBook:
    """Answers what a byte costs. A book never changes: other lists are another book.

    Of a provider's ``lists`` the one counts that is valid and has the latest ``valid_from``, of two
    such the last; if none of them is valid, ``defaults`` are asked the same way.
    """

    def __init__(self, lists: Iterable[PriceList], defaults: Iterable[PriceList] = ()) -> None:
        self.lists = tuple(lists)
        self.defaults = tuple(defaults)
        self._periods = [[_Period(one) for one in some] for some in (self.lists, self.defaults)]
        self._remembered: dict[tuple[int, Traffic], Quote | Unpriced] = {}

    def quote(self, traffic: Traffic, at: date) -> Quote | Unpriced:
        """What a byte of ``traffic`` costs at ``at``, a datetime with a zone or a day (00:00 UTC).

        An end without a provider is taken to be of the other end's, except in external traffic,
        where it pays nothing to this provider.
        """
        provider = traffic.src_provider or traffic.dst_provider
        if not provider:
            return Unpriced(NO_PROVIDER, "no end is a node with a spec.providerID")
        if traffic.dst_provider and traffic.dst_provider != provider:
            detail = f"from {provider} to {traffic.dst_provider}"
            return Unpriced(PROVIDERS_DIFFER, detail)
        found = self._period_for(provider, at)
        return found if isinstance(found, Unpriced) else self._answer(found, traffic)

    def list_for(self, provider: str, at: date) -> PriceList | Unpriced:
        """The list of ``provider`` that counts at ``at``."""
        found = self._period_for(provider, at)
        return found if isinstance(found, Unpriced) else found.list

    def _period_for(self, provider: str, at: date) -> "_Period | Unpriced":
        moment = instant(at)
        known = False
        for periods in self._periods:
            of_provider = [one for one in periods if one.list.provider == provider]
            valid = [one for one in of_provider if one.has(moment)]
            if valid:
                latest = max(one.begin for one in valid)
                return [one for one in valid if one.begin == latest][-1]
            known |= bool(of_provider)
        if known:
            return Unpriced(NOT_VALID, f"no price list of {provider} is valid at {at}")
        return Unpriced(NO_LIST, f"no price list of provider {provider} is in use")

    def _answer(self, found: "_Period", traffic: Traffic) -> Quote | Unpriced:
        key = id(found), traffic
        if (answer := self._remembered.get(key)) is None:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            answer = self._remembered[key] = _quote(found.list, found.rules, traffic)
        return answer

    def changes_after(self, at: date) -> datetime | None:
        """The next instant after ``at`` at which an answer can change; None if there is none."""
        days = {one.valid_from for one in self.lists + self.defaults}
        days |= {one.valid_until for one in self.lists + self.defaults if one.valid_until}
        return min((i for i in map(instant, days) if i > instant(at)), default=None)


def instant(at: date) -> datetime:
    """A day as its first instant in UTC; a datetime as it is, in UTC when it has no zone."""
    if not isinstance(at, datetime):
        return datetime.combine(at, time(), UTC)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


class _Period:
    """A list, the instants from which and until which it is valid, and its rules."""

    __slots__ = ("begin", "end", "list", "rules")

    def __init__(self, one: PriceList) -> None:
        self.list = one
        self.begin = instant(one.valid_from)
        self.end = instant(one.valid_until) if one.valid_until is not None else None
        self.rules = RuleIndex(one.rules)

    def has(self, moment: datetime) -> bool:
        """Whether it is valid then."""
        return self.begin <= moment and (self.end is None or moment < self.end)


def _quote(found: PriceList, rules: RuleIndex, traffic: Traffic) -> Quote | Unpriced:
    src, dst = traffic.src_price_class, traffic.dst_price_class
    if FREE_CLASS in (src, dst):
        rule = Rule(traffic.cls, price_class=FREE_CLASS, source="the static topology's price: free")
        return _answer(found, rule, 0.0, 0.0)
    is_external = traffic.cls == "external"
    if not is_external:  # its region tells where it is
        src, dst = (one if one != NO_ZONE_CLASS else "" for one in (src, dst))
    src_outside = is_external and not traffic.src_provider
    dst_outside = is_external and not traffic.dst_provider
    placed = replace(
        traffic,
        src_region=OUTSIDE if src_outside else traffic.src_region,
        dst_region=OUTSIDE if dst_outside else traffic.dst_region,
    )
    sends = _rule(found, rules, placed, own=src, far=dst)
    receives = _rule(found, rules, placed, own=dst, far=src) if src != dst else sends
    if isinstance(sends, Unpriced):
        return sends
    if isinstance(receives, Unpriced):
        return receives
    sender = 0.0 if src_outside or _is_spared(sends, src) else sends.sender
    receiver = 0.0 if dst_outside or _is_spared(receives, dst) else receives.receiver
    return _answer(found, receives if src_outside else sends, sender, receiver)


def _rule(
    found: PriceList, rules: RuleIndex, traffic: Traffic, *, own: str, far: str
) -> Rule | Unpriced:
    """The rule for an end of price class ``own`` whose far end has ``far``.

    An end that its own class spares from the bill is not asked what its far end is.
    """
    by_own = _checked(found, rules, traffic, own) if own else None
    if by_own is not None and (isinstance(by_own, Unpriced) or _is_spared(by_own, own)):
        return by_own
    if by_own is not None and far in ("", own):
        return by_own
    return _checked(found, rules, traffic, far)


def _checked(
    found: PriceList, rules: RuleIndex, traffic: Traffic, price_class: str
) -> Rule | Unpriced:
    rule = rules.first(traffic.cls, traffic.src_region, traffic.dst_region, price_class)
    if rule is None and price_class == NO_ZONE_CLASS:
        return Unpriced(NO_ZONE, "a network without a zone and without a price class")
    if rule is None:
        return Unpriced(NO_RULE, f"{found.name} has no rule for {_words(traffic, price_class)}")
    if rule.unpriced:
        return Unpriced(LEFT_UNPRICED, f"{found.name}: {rule.unpriced}")
    return rule


def _is_spared(rule: Rule, own: str) -> bool:
    return bool(own) and rule.price_class == own and not rule.bills_far_end


def _answer(found: PriceList, rule: Rule, sender: float, receiver: float) -> Quote:
    return Quote(
        sender=found.per_byte(sender),
        receiver=found.per_byte(receiver),
        currency=found.shown_currency,
        provider=found.provider,
        list=found.name,
        rule=str(rule),
        valid_from=found.valid_from,
        source=rule.source or found.source,
        date=rule.date or found.date,
    )


def _words(traffic: Traffic, price_class: str) -> str:
    regions = [region or "an unknown region" for region in (traffic.src_region, traffic.dst_region)]
    far_end = f", price class {price_class}" if price_class else ""
    return f"{traffic.cls} from {regions[0]} to {regions[1]}{far_end}"
