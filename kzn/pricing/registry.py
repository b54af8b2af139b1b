"""The installed price lists: entry points of the group ``kzn.prices``, usable and broken ones."""

import logging
from collections.abc import Iterable
from importlib.metadata import EntryPoint

from kzn.errors import UsageError
from kzn.plugins import BrokenPlugin, load_plugins, registered
from kzn.pricing.checked import mistake_of
from kzn.pricing.declaration import API, PriceList

log = logging.getLogger(__name__)

GROUP = "kzn.prices"


def installed(points: Iterable[EntryPoint] | None = None) -> list[PriceList | BrokenPlugin]:
    """All registered price lists by name; a broken one is logged and never raises."""
    found = load_plugins(registered(GROUP) if points is None else points, PriceList, _problem)
    for one in found:
        if isinstance(one, BrokenPlugin):
            log.warning("price list %s cannot be used: %s", one.name, one.reason)
    return found


def usable(lists: Iterable[PriceList | BrokenPlugin]) -> list[PriceList]:
    """Those that can be used."""
    return [one for one in lists if isinstance(one, PriceList)]


def find(name: str, lists: Iterable[PriceList | BrokenPlugin]) -> PriceList:
    """The list of that name; UsageError if it is not installed or broken."""
    known = list(lists)
    for one in known:
        if one.name != name:
            continue
        if isinstance(one, PriceList):
            return one
        raise UsageError(f"price list {name} is broken: {one.reason}")
    names = ", ".join(one.name for one in known) or "none"
    raise UsageError(f"unknown price list {name!r}", hint=f"installed: {names}")


def _problem(name: str, one: PriceList) -> str:
    """Why a list under an entry point of this name cannot be used; empty if it can."""
    if one.api != API:
        return f"it was written for price list API {one.api}, this kzn has {API}"
    if one.name != name:
        return f"its entry point is named {name!r}, its declaration {one.name!r}"
    return mistake_of(one)
