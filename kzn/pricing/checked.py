"""Mistakes of a price list that a plugin declares in Python, where nothing checks types.

In: a list. Out: the first mistake in words. Never: an exception, for any values of its fields.
"""

import datetime as dt
import re
from collections.abc import Iterator
from math import isfinite

from kzn.model.provider import spelled
from kzn.pricing.declaration import Conversion, PriceList, Rule

_CURRENCY = re.compile(r"[A-Z]{3}")


def mistake_of(one: PriceList) -> str:
    """What was found and what was expected; empty for a list without a mistake."""
    return next(_mistakes(one), "")


def _mistakes(one: PriceList) -> Iterator[str]:
    yield from _provider(one.provider)
    yield from _currency("currency", one.currency)
    yield from _day("valid_from", one.valid_from)
    yield from _day("valid_until", one.valid_until, optional=True)
    yield from _text("source", one.source)
    yield from _day("date", one.date)
    yield from _number("gb_bytes", one.gb_bytes)
    yield from _number("discount", one.discount)
    if one.conversion is not None:
        yield from _conversion(one.conversion)
        if getattr(one.conversion, "currency", None) == one.currency:
            yield _found("conversion.currency", one.currency, "another one than the list's")
    if not isinstance(one.rules, tuple):
        yield _found("rules", one.rules, "a tuple of Rule")
        return
    for number, rule in enumerate(one.rules):
        if not isinstance(rule, Rule):
            yield _found(f"rules[{number}]", rule, "a Rule")
            return
        for text in _rule(rule):
            yield f"rules[{number}]: {text}"


def _rule(rule: Rule) -> Iterator[str]:
    yield from _number("sender", rule.sender)
    yield from _number("receiver", rule.receiver)
    yield from _regions("src_regions", rule.src_regions)
    yield from _regions("dst_regions", rule.dst_regions)
    yield from _text("price_class", rule.price_class)
    if not isinstance(rule.bills_far_end, bool):
        yield _found("bills_far_end", rule.bills_far_end, "True or False")
    yield from _text("unpriced", rule.unpriced)
    yield from _text("source", rule.source)
    yield from _day("date", rule.date, optional=True)


def _conversion(found: object) -> Iterator[str]:
    if not isinstance(found, Conversion):
        yield _found("conversion", found, "a Conversion")
        return
    yield from _currency("conversion.currency", found.currency)
    yield from _number("conversion.rate", found.rate)
    yield from _text("conversion.source", found.source)
    yield from _day("conversion.date", found.date, optional=True)


def _provider(value: object) -> Iterator[str]:
    """A list under another spelling of its provider would never answer."""
    if not isinstance(value, str) or not value.strip():
        yield _found("provider", value, "a name such as aws")
        return
    name = spelled(value)
    if name != value:
        yield _found("provider", value, f"the name {name!r}")


def _currency(name: str, value: object) -> Iterator[str]:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        yield _found(name, value, "three capital letters, such as USD")


def _day(name: str, value: object, *, optional: bool = False) -> Iterator[str]:
    if value is None and optional:
        return
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        yield _found(name, value, "a datetime.date")


def _text(name: str, value: object) -> Iterator[str]:
    if not isinstance(value, str):
        yield _found(name, value, "a text")


def _number(name: str, value: object) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        yield _found(name, value, "a number")


def _regions(name: str, value: object) -> Iterator[str]:
    """A str would be read as globs of one letter each, of which ``*`` matches every region."""
    globs = value if isinstance(value, tuple) else ()
    if not globs or not all(isinstance(one, str) and one for one in globs):
        yield _found(name, value, "a tuple of globs, such as ('us-*',)")


def _found(name: str, value: object, expected: str) -> str:
    text = repr(value)
    return f"{name} is {text if len(text) <= 60 else text[:57] + '...'}, expected {expected}"
