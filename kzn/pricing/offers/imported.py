"""What an importer makes of offer files, and what importers share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from kzn.errors import UsageError
from kzn.pricing.declaration import PriceList, Rule

MAX_OFFER_BYTES = 512 << 20
"""Of one file. AWS' offer of data transfer is some 50 MB, that of EC2 several GB."""

_T = TypeVar("_T")

Pair = tuple[str, str]
"""The regions of sender and receiver, "*" for any."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A list whose rules come before those of the installed list ``extends``.

    ``used`` and ``ignored`` are numbers of prices in the files.
    """

    prices: PriceList
    extends: str
    used: int
    ignored: int


def read_offer(path: Path, shape: type[_T], what: str) -> _T:
    """Decode a JSON file, skipping other fields; UsageError, which calls it ``what``."""
    try:
        size = path.stat().st_size
        if size > MAX_OFFER_BYTES:
            hint = "for AWS, take the offer AWSDataTransfer of each of your regions"
            raise UsageError(f"{path}: {size} bytes, at most {MAX_OFFER_BYTES}", hint=hint)
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not {what}: {error}") from error


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
    except ValueError as error:
        raise UsageError(f"{what} is {text[:40]!r}, not a time") from error
    return (found if found.tzinfo is None else found.astimezone(UTC)).date()
