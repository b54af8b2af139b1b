"""A price list as the YAML that file.py reads: for importers, and as a start of one's own.

In: a `PriceList`. Out: text. Never: text that reads as another list.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal

from kzn.pricing.declaration import ANY, GIB, PriceList, Rule

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")


def yaml_of(one: PriceList, comments: tuple[str, ...] = (), extends: str = "") -> str:
    """The file, a rule a line, with ``comments`` at its head.

    ``extends`` names an installed list of the same provider, currency and GB.
    """
    return "\n".join([*(f"# {line}" for line in comments), *_lines(one, extends), ""])


def _lines(one: PriceList, extends: str) -> Iterator[str]:
    yield f"name: {_quoted(one.name)}"
    yield f"provider: {_quoted(one.provider)}"
    yield f"currency: {one.currency}"
    yield f"unit: {'GiB' if one.gb_bytes == GIB else 'GB'}"
    yield f"valid_from: {one.valid_from}"
    if one.valid_until:
        yield f"valid_until: {one.valid_until}"
    yield f"source: {_quoted(one.source)}"
    yield f"date: {one.date}"
    if one.discount:
        yield f"discount: {_plain(Decimal(repr(one.discount)) * 100)}%"
    if one.conversion:
        found = one.conversion
        entries = {"currency": found.currency, "rate": _number(found.rate)}
        entries |= {"source": _quoted(found.source)} if found.source else {}
        entries |= {"date": str(found.date)} if found.date else {}
        yield f"convert: {_flow(entries)}"
    if extends:
        yield f"extends: {_quoted(extends)}"
    yield "rules:" if one.rules else "rules: []"
    for rule in one.rules:
        yield f"  - {_flow(_entries(rule))}"


def _entries(rule: Rule) -> dict[str, str]:
    entries = {"class": rule.cls}
    for key, regions in (("from", rule.src_regions), ("to", rule.dst_regions)):
        if regions != ANY:
            texts = [_quoted(region) for region in regions]
            entries[key] = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    if rule.price_class:
        entries["far_end"] = _quoted(rule.price_class)
        entries |= {} if rule.bills_far_end else {"bills": "near"}
    if rule.unpriced:
        entries["unpriced"] = _quoted(rule.unpriced)
    elif rule.sender or rule.receiver:
        entries |= {"sender": _number(rule.sender), "receiver": _number(rule.receiver)}
    else:
        entries["free"] = "true"
    entries |= {"source": _quoted(rule.source)} if rule.source else {}
    return entries | ({"date": str(rule.date)} if rule.date else {})


def _flow(entries: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in entries.items()) + "}"


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() != "null":
        return text
    return json.dumps(text).replace("\x7f", "\\x7f")  # which YAML has as an escape only


def _number(value: float) -> str:
    """The shortest decimals that read as this number, without an exponent."""
    return _plain(Decimal(repr(value)))


def _plain(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
