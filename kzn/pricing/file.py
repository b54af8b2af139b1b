"""A price list as a YAML file::

    provider: aws                     # as in spec.providerID: aws, gcp, azure, or any other word
    currency: USD
    unit: GiB                         # what its GB is: GiB (2^30 bytes, the default) or GB (10^9)
    valid_from: 2026-01-01            # a day, from 00:00 UTC
    valid_until: 2027-01-01           # optional: the first day on which it is no longer valid
    source: contract 4711             # where the prices were found,
    date: 2025-12-20                  # and when
    name: ours                        # optional: the file's name without its ending
    discount: 10%                     # optional: of every price
    convert:                          # optional: show amounts in another currency
      {currency: EUR, rate: 0.92, source: our bank, date: 2026-01-02}
    extends: aws                      # optional: the rules of an installed list come after these
    rules:                            # of several rules that apply the first counts
      - class: cross_zone             # same_zone, cross_zone, cross_region or external
        from: [us-*, ca-*]            # optional: regions of the sender, globs; outside: no provider
        to: "*"                       # optional: regions of the receiver
        far_end: managed-database     # optional: the price class of an end (`price` of --static)
        bills: near                   # optional: the end with that class pays nothing; else both do
        sender: 0.01                  # per GB that the sender pays for,
        receiver: 0.01                # and the receiver; or:
      - {class: same_zone, free: true}
      - {class: external, to: outside, unpriced: it depends on the tier}
        # a rule may have a source and a date of its own

With ``extends``, what is missing above ``rules`` is as in that list.

In: the file, and the installed lists. Out: a `PriceList`, or UsageError "FILE:LINE: what was found,
expected what".
"""

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from kzn.errors import UsageError
from kzn.model.endpoint import INTERNET_CLASS, NO_ZONE_CLASS
from kzn.model.provider import spelled
from kzn.pricing.declaration import ANY, GIB, Conversion, PriceList, Rule
from kzn.pricing.traffic import CLASSES, EXTERNAL, FREE_CLASS, OUTSIDE
from kzn.yaml_files import MAX_LIST_BYTES, Value, parse, read_text

UNITS = {"GiB": GIB, "GB": 10**9}
_HINT = "`python3 -m pydoc kzn.pricing.file` shows the format"
_REQUIRED = ("provider", "currency", "valid_from", "source", "date")
_OPTIONAL = {"name", "unit", "valid_until", "discount", "convert", "extends", "rules"}
_RULE_KEYS = {
    "from",
    "to",
    "far_end",
    "bills",
    "sender",
    "receiver",
    "free",
    "unpriced",
    "source",
    "date",
}
_PRICES = "one of: sender and receiver; free: true; unpriced: why"
_CURRENCY = re.compile(r"[A-Z]{3}")
_GLOB = re.compile(r"(?:[^,{}\[\]]|\[[^,{}\[\]]+\])+")
"""A list or braces in one text would match no region, so that another rule would answer."""
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,18})?) ?%")


def load_list(path: str | Path, installed: Iterable[PriceList] = ()) -> PriceList:
    """Read and check a price list; UsageError for the first mistake."""
    return parse_list(str(path), read_text(path, "price list", MAX_LIST_BYTES), installed)


def parse_list(file: str, content: str, installed: Iterable[PriceList] = ()) -> PriceList:
    """Check the ``content`` of a price list; ``file`` names it in errors."""
    root = parse(file, content, _HINT)
    if root is None:
        raise UsageError(f"{file}:1: nothing, expected a price list", hint=_HINT)
    entry = root.mapping("a price list", set(), {*_REQUIRED, *_OPTIONAL})
    base = _base(entry["extends"], installed) if "extends" in entry else None
    if base is None:
        for key in (*_REQUIRED, "rules"):
            if key not in entry:
                root.fail(f'a price list without "{key}"', f'the key "{key}"')
    own = tuple(_rules(entry["rules"])) if "rules" in entry else ()
    if base is not None:
        _check_base(entry, base)
        source, date = base.source, base.date
        own += tuple(
            replace(rule, source=rule.source or source, date=rule.date or date)
            for rule in base.rules
        )
    begin = _day(entry, "valid_from") or (base.valid_from if base else dt.date.min)
    end = _day(entry, "valid_until") or (base.valid_until if base else None)
    if end is not None and end <= begin:
        at = entry["valid_until" if "valid_until" in entry else "valid_from"]
        at.fail(f"valid from {begin} until {end}", "an end after the begin")
    found = PriceList(
        name=entry["name"].text("a name") if "name" in entry else Path(file).stem,
        provider=_provider(entry) or (base.provider if base else ""),
        currency=_currency(entry.get("currency")) or (base.currency if base else ""),
        valid_from=begin,
        valid_until=end,
        source=_text(entry, "source") or (base.source if base else ""),
        date=_day(entry, "date") or (base.date if base else dt.date.min),
        rules=own,
        gb_bytes=UNITS[_unit(entry["unit"])] if "unit" in entry else base.gb_bytes if base else GIB,
        discount=_discount(entry["discount"])
        if "discount" in entry
        else (base.discount if base else 0.0),
        conversion=_conversion(entry["convert"])
        if "convert" in entry
        else (base.conversion if base else None),
    )
    _check_conversion(entry, found)
    return found


def _base(value: Value, installed: Iterable[PriceList]) -> PriceList:
    name = value.text("the name of an installed list")
    known = {one.name: one for one in installed}
    if name not in known:
        value.fail(f'"{name}"', f"an installed list: {', '.join(sorted(known)) or 'there is none'}")
    return known[name]


def _check_base(entry: dict[str, Value], base: PriceList) -> None:
    """The rules of ``base`` are in its provider's words, and its prices in its currency and GB."""
    if "provider" in entry and _text(entry, "provider") != base.provider:
        entry["provider"].fail(
            f'"{_text(entry, "provider")}"', f"{base.provider}, as in {base.name}"
        )
    if "currency" in entry and _currency(entry["currency"]) != base.currency:
        expected = f"{base.currency}, as in {base.name}; convert shows another"
        entry["currency"].fail(f'"{_text(entry, "currency")}"', expected)
    if "unit" in entry and UNITS[_unit(entry["unit"])] != base.gb_bytes:
        entry["unit"].fail(f'"{_text(entry, "unit")}"', f"the GB of {base.name}")


def _rules(value: Value) -> Iterable[Rule]:
    for item in value.items("rules"):
        entry = item.mapping("a rule", {"class"}, _RULE_KEYS)
        sender, receiver, unpriced = _prices(item, entry)
        cls = entry["class"].choice("a class", *CLASSES)
        price_class = _far_end(entry["far_end"], cls) if "far_end" in entry else ""
        if "bills" in entry and not price_class:
            entry["bills"].fail("bills without far_end", "a price class that it is about")
        bills = entry["bills"].choice("who pays", "near", "both") if "bills" in entry else "both"
        src, dst = (_regions(entry[key], cls) if key in entry else ANY for key in ("from", "to"))
        if src == dst == (OUTSIDE,):
            item.fail("from outside to outside", "an end in a region")
        yield Rule(
            cls=cls,
            sender=sender,
            receiver=receiver,
            src_regions=src,
            dst_regions=dst,
            price_class=price_class,
            bills_far_end=bills == "both",
            unpriced=unpriced,
            source=_text(entry, "source"),
            date=_day(entry, "date"),
        )


def _far_end(value: Value, cls: str) -> str:
    """The price class of a rule that can apply."""
    found = value.text("a price class")
    if found == FREE_CLASS:
        value.fail('"free"', "another price class: free is free in every list")
    if found == INTERNET_CLASS:
        value.fail(f'"{found}"', "no far_end: such an end costs what any outside one does")
    if found == NO_ZONE_CLASS and cls != EXTERNAL:
        value.fail(f'"{found}" in {cls}', f"class {EXTERNAL}: such ends are outside all zones")
    if found != found.strip():
        value.fail(f'"{found}"', "a price class without spaces at its ends")
    return found


def _regions(value: Value, cls: str) -> tuple[str, ...]:
    """Regions or globs that can match."""
    found = value.texts("a region")
    for one in found:
        if one != one.strip() or not _GLOB.fullmatch(one):
            value.fail(f'"{one}"', "a region or a glob, such as us-*; several as [us-*, ca-*]")
        if one == OUTSIDE and cls != EXTERNAL:
            value.fail(f'"{one}" in {cls}', f"class {EXTERNAL}: no other has an outside end")
    return found


def _prices(item: Value, entry: dict[str, Value]) -> tuple[float, float, str]:
    """What the sender and the receiver pay for a GB, and why there is no price."""
    given = entry.keys() & {"sender", "receiver", "free", "unpriced"}
    if given == {"sender", "receiver"}:
        what = "a price per GB, such as 0.01"
        return entry["sender"].number(what), entry["receiver"].number(what), ""
    if given == {"free"}:
        entry["free"].choice("free", "true")
    elif given != {"unpriced"}:
        item.fail("a rule with " + (", ".join(sorted(given)) or "no price"), _PRICES)
    return 0.0, 0.0, _text(entry, "unpriced")


def _conversion(value: Value) -> Conversion:
    entry = value.mapping("convert", {"currency", "rate"}, {"source", "date"})
    rate = entry["rate"].number("what one unit of the list's currency is, such as 0.92")
    if not rate:
        entry["rate"].fail("0", "more")
    currency = _currency(entry["currency"])
    return Conversion(currency, rate, _text(entry, "source"), _day(entry, "date"))


def _check_conversion(entry: dict[str, Value], one: PriceList) -> None:
    """A rate within a currency would be a discount that no table shows."""
    if "convert" in entry and one.conversion and one.conversion.currency == one.currency:
        expected = "another currency; discount makes all prices less"
        entry["convert"].fail(f"from {one.currency} to {one.currency}", expected)


def _discount(value: Value) -> float:
    text = value.text("a discount")
    found = _PERCENT.fullmatch(text)
    if found is None or Decimal(found[1]) > 100:
        value.fail(f'"{text}"', "a discount in percent, such as 10%")
    return float(Decimal(found[1]) / 100)


def _provider(entry: dict[str, Value]) -> str:
    """The provider's name; a list under another spelling of it would never answer."""
    text = _text(entry, "provider")
    name = spelled(text)
    if name != text:
        entry["provider"].fail(f'"{text}"', f'the name "{name}"' if name else "a name such as aws")
    return text


def _unit(value: Value) -> str:
    return value.choice("a unit", *UNITS)


def _currency(value: Value | None) -> str:
    if value is None:
        return ""
    text = value.text("a currency")
    if not _CURRENCY.fullmatch(text):
        value.fail(f'"{text}"', "a currency as three capital letters, such as USD")
    return text


def _day(entry: dict[str, Value], key: str) -> dt.date | None:
    return entry[key].day(key) if key in entry else None


def _text(entry: dict[str, Value], key: str) -> str:
    return entry[key].text(f"the text of {key}") if key in entry else ""
