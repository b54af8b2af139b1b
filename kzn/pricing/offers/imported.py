"""What an importer makes of offer files, and what importers share."""

import codecs
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from kzn.errors import UsageError
from kzn.pricing.declaration import ANY, PriceList, Rule

MAX_OFFER_BYTES = 512 << 20
"""Of one file, also when it was compressed. AWS' offer of data transfer is some 50 MB, that of EC2
several GB."""
_MIN_PRICE, _MAX_PRICE = 1e-12, 1e12
"""Per GB, in any currency: what a price list as a file has room for (kzn/yaml_files.py)."""
_CURRENCY = re.compile(r"[A-Z]{3}")
_GZIP = b"\x1f\x8b"
_SMALLER = "for AWS, take the offer AWSDataTransfer of each of your regions"

_T = TypeVar("_T")

Pair = tuple[str, str]
"""The regions of sender and receiver, "*" for any."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A list whose rules come before those of the installed list ``extends``.

    ``used`` and ``ignored`` are numbers of prices in the files. Without ``extends`` the installed
    list is in another currency: its rules are in ``prices``, those of ``missing`` without a price.
    """

    prices: PriceList
    extends: str
    used: int
    ignored: int
    missing: tuple[Rule, ...] = ()


def read_offer(path: Path, shape: type[_T], what: str) -> _T:
    """Decode a JSON file, also by gzip, skipping other fields; UsageError, which calls it ``what``.

    Rows are left as `msgspec.Raw`, for `row_of`.
    """
    try:
        size = path.stat().st_size
        if size > MAX_OFFER_BYTES:
            raise UsageError(f"{path}: {size} bytes, at most {MAX_OFFER_BYTES}", hint=_SMALLER)
        return msgspec.json.decode(_as_utf8(_plain(path, path.read_bytes())), type=shape)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, zlib.error) as error:
        hint = "files of JSON are read, as they are or by gzip"
        raise UsageError(f"{path}: not {what}: {error}", hint=hint) from error


def row_of(raw: msgspec.Raw, shape: type[_T]) -> _T | None:
    """A product, meter or SKU; None for one of another shape, which is to be ignored."""
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.MsgspecError, RecursionError):
        return None


def rows_of(raws: Iterable[msgspec.Raw], shape: type[_T]) -> Iterator[_T]:
    """Those that have the shape."""
    return (row for raw in raws if (row := row_of(raw, shape)) is not None)


def _plain(path: Path, content: bytes) -> bytes:
    if not content.startswith(_GZIP):
        return content
    unpacking = zlib.decompressobj(16 + zlib.MAX_WBITS)
    found = unpacking.decompress(content, MAX_OFFER_BYTES)
    if unpacking.unconsumed_tail:
        raise UsageError(f"{path}: more than {MAX_OFFER_BYTES} bytes unpacked", hint=_SMALLER)
    return found


def _as_utf8(content: bytes) -> bytes:
    """Without a byte order mark; PowerShell writes UTF-8 and UTF-16 with one."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16").encode()
    return content.removeprefix(codecs.BOM_UTF8)


def rules_by_regions(
    cls: str, prices: Mapping[Pair, tuple[float, float]], price_class: str = ""
) -> Iterable[Rule]:
    """As few rules as the prices (sender, receiver) of pairs of regions need, in a fixed order."""
    by_sender: dict[tuple[str, tuple[float, float]], list[str]] = {}
    for (src, dst), price in sorted(prices.items()):
        by_sender.setdefault((src, price), []).append(dst)
    groups: dict[tuple[tuple[float, float], tuple[str, ...]], list[str]] = {}
    for (src, price), found in by_sender.items():
        groups.setdefault((price, tuple(found)), []).append(src)
    for (price, destinations), sources in sorted(groups.items(), key=lambda item: item[1]):
        sender, receiver = price
        yield Rule(cls, sender, receiver, tuple(sources), destinations, price_class)


def day_of(text: str, what: str) -> date:
    """The day of an RFC 3339 time; UsageError, which calls it ``what``."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo is None else found.astimezone(UTC)).date()
    except (ValueError, OverflowError) as error:  # the end of 9999 may be in 10000 by UTC
        raise UsageError(f"{what} is {text[:40]!r}, not a time") from error


def currency_of(found: Collection[str], files: Sequence[Path]) -> str:
    """The only currency of ``found``, as three capital letters; UsageError."""
    names = ", ".join(map(str, files))
    if len(found) != 1:
        hint = "take the prices in one currency"
        raise UsageError(f"{names}: currencies {', '.join(map(ascii, sorted(found)))}", hint=hint)
    (currency,) = found
    if not _CURRENCY.fullmatch(currency):
        hint = "three capital letters are expected, such as USD"
        raise UsageError(f"{names}: currency {currency[:40]!a}", hint=hint)
    return currency


def check_price(price: float, what: str) -> float:
    """``price`` per GB if a price list can have it; UsageError, which calls it ``what``."""
    if price and not _MIN_PRICE <= price < _MAX_PRICE:
        expected = f"expected 0, or {_MIN_PRICE:g} to less than {_MAX_PRICE:g}"
        raise UsageError(f"{what}: {price:g} per GB, {expected}")
    return price


def extending(shipped: PriceList, prices: PriceList, used: int, ignored: int) -> Imported:
    """``prices`` before what ``shipped`` says.

    A list extends one of its currency only. In another one, what is free and what has no price is
    the same, and a rule with an amount stays without it: were it left out, a rule for more would
    answer in its place.
    """
    if prices.currency == shipped.currency:
        return Imported(prices, shipped.name, used, ignored)
    rules, missing = list(prices.rules), []
    for rule in shipped.rules:
        if any(_covers(one, rule) for one in prices.rules):
            continue
        source, day = rule.source or shipped.source, rule.date or shipped.date
        kept = replace(rule, source=source, date=day)
        if not rule.unpriced and (rule.sender or rule.receiver):
            missing.append(rule)
            amounts = f"{rule.sender:g} a GB at the sender and {rule.receiver:g} at the receiver"
            why = f"its price is known in {shipped.currency} alone: {amounts}"
            kept = replace(kept, sender=0.0, receiver=0.0, unpriced=why)
        rules.append(kept)
    return Imported(replace(prices, rules=tuple(rules)), "", used, ignored, tuple(missing))


def _covers(one: Rule, other: Rule) -> bool:
    """Whether ``other`` cannot count after ``one``: for any regions, or for the same."""
    return (
        (one.cls, one.price_class) == (other.cls, other.price_class)
        and one.src_regions in (ANY, other.src_regions)
        and one.dst_regions in (ANY, other.dst_regions)
    )
