"""kzn/pricing/registry.py and declaration.py: installed lists, and what a list may not be."""

import sys
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from kzn.errors import UsageError
from kzn.plugins import BrokenPlugin
from kzn.pricing.aws import PRICES
from kzn.pricing.declaration import Conversion, PriceList, Rule
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


def zones(**changes: object) -> dict[str, object]:
    return {"rules": (PRICES.rules[0], replace(Rule("cross_zone", 1, 1), **changes))}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"valid_from": "2026-01-01"}, "valid_from"),
        ({"valid_from": datetime(2026, 1, 1)}, "valid_from"),
        ({"date": None}, "date"),
        ({"provider": None}, "provider"),
        ({"provider": " "}, "provider"),
        ({"provider": "AWS"}, "the name 'aws'"),
        ({"provider": "gce"}, "the name 'gcp'"),
        ({"provider": " OurMetal"}, "the name 'OurMetal'"),
        ({"currency": "dollars\n"}, "currency"),
        ({"currency": "USD\n"}, "currency"),
        ({"source": 3}, "source"),
        ({"gb_bytes": float("nan")}, "gb_bytes"),
        ({"gb_bytes": True}, "gb_bytes"),
        ({"conversion": Conversion("euro", 0.9)}, "conversion.currency"),
        ({"conversion": Conversion("EUR", 0.9, date="2026-01-01")}, "conversion.date"),  # type: ignore[arg-type]
        ({"rules": list(PRICES.rules)}, "rules"),
        (zones(src_regions="us-*"), "rules[1]: src_regions"),
        (zones(dst_regions=["us-*"]), "rules[1]: dst_regions"),
        (zones(dst_regions=()), "rules[1]: dst_regions"),
        (zones(src_regions=("us-*", None)), "rules[1]: src_regions"),
        (zones(sender=Decimal("0.01")), "rules[1]: sender"),
        (zones(price_class=None), "rules[1]: price_class"),
        (zones(unpriced=True), "rules[1]: unpriced"),
        (zones(date="2026-01-01"), "rules[1]: date"),
        (zones(bills_far_end="no"), "rules[1]: bills_far_end"),
    ],
)
def test_a_mistyped_list_is_broken_by_name_and_the_others_are_used(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], names: str
) -> None:
    theirs = ModuleType("their_prices")
    vars(theirs)["ours"] = replace(PRICES, name="ours", **changes)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "their_prices", theirs)
    points = [point("aws", "kzn.pricing.aws:PRICES"), point("ours", "their_prices:ours")]
    own, broken = installed(points)
    assert own is PRICES
    assert isinstance(broken, BrokenPlugin)
    assert broken.name == "ours"
    assert names in broken.reason
    assert "expected" in broken.reason
