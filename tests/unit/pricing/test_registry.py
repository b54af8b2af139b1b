"""kzn/pricing/registry.py and declaration.py: installed lists, and what a list may not be."""

import sys
from dataclasses import replace
from datetime import date
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from kzn.errors import UsageError
from kzn.plugins import BrokenPlugin
from kzn.pricing.aws import PRICES
from kzn.pricing.declaration import PriceList, Rule
from kzn.pricing.registry import GROUP, find, installed, usable


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def test_a_broken_list_is_listed_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ModuleType("their_prices")
    vars(theirs).update(
        later=replace(PRICES, name="later", api=2), mine=replace(PRICES, name="amazon"), text="no"
    )
    monkeypatch.setitem(sys.modules, "their_prices", theirs)
    points = [
        point("aws", "kzn.pricing.aws:PRICES"),
        point("absent", "kzn.pricing.absent:PRICES"),
        point("text", "their_prices:text"),
        point("later", "their_prices:later"),
        point("mine", "their_prices:mine"),
    ]
    found = {one.name: one for one in installed(points)}
    assert usable(found.values()) == [PRICES]
    broken = {n: one.reason for n, one in found.items() if isinstance(one, BrokenPlugin)}
    assert "does not load" in broken["absent"]
    assert "str, not PriceList" in broken["text"]
    assert "API 2" in broken["later"]
    assert "'amazon'" in broken["mine"]


def test_kzns_own_lists_are_registered() -> None:
    assert {"aws", "azure", "gcp"} <= {one.name for one in usable(installed())}


def test_a_list_is_found_by_its_name() -> None:
    lists: list[PriceList | BrokenPlugin] = [PRICES, BrokenPlugin("bad", "no such module")]
    assert find("aws", lists) is PRICES
    with pytest.raises(UsageError, match="no such module"):
        find("bad", lists)
    with pytest.raises(UsageError, match="azure"):
        find("azure", lists)


@pytest.mark.parametrize(
    "changes",
    [
        {"rules": (Rule("cross_planet", 1, 1),)},
        {"rules": (Rule("cross_zone", -1, 1),)},
        {"rules": (Rule("cross_zone", 1, float("nan")),)},
        {"rules": (Rule("cross_zone", float("inf"), 1),)},
        {"discount": 1.5},
        {"gb_bytes": 0},
        {"valid_until": date(2000, 1, 1)},
    ],
)
def test_a_list_that_cannot_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(PRICES, **changes)  # type: ignore[arg-type]
