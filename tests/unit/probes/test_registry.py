"""Installed probes: which are usable, which is found by its name, and which auto may select."""

import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from kzn.errors import UsageError
from kzn.plugins import BrokenPlugin
from kzn.probes import postrouting
from kzn.probes.registry import GROUP, candidates, find, installed

OLD = replace(postrouting.PROBE, name="old", api=0)
MISNAMED = replace(postrouting.PROBE, name="other")
NAMED_AUTO = replace(postrouting.PROBE, name="auto")


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=GROUP)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with declarations that cannot be used."""
    module = ModuleType("kzn_test_plugin")
    module.__dict__.update(OLD=OLD, AUTO=NAMED_AUTO, MISNAMED=MISNAMED, function=candidates)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_the_built_in_probe_is_registered_like_any_other() -> None:
    assert postrouting.PROBE in installed()


@pytest.mark.parametrize(
    ("name", "attribute", "reason"),
    [
        ("old", "OLD", "probe API 0, this kzn has 4"),
        ("misnamed", "MISNAMED", "its declaration 'other'"),
        ("auto", "AUTO", "a probe cannot be named 'auto'"),
        ("function", "function", "is of type function, not Probe"),
    ],
)
def test_a_declaration_that_cannot_be_used_is_a_row_and_a_log_line(
    plugin: str, name: str, attribute: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    [found] = installed([point(name, f"{plugin}:{attribute}")])
    assert isinstance(found, BrokenPlugin)
    assert reason in found.reason
    assert f"probe {name} cannot be used: {found.reason}" in caplog.text


def test_auto_tries_the_probes_that_declare_a_place_lowest_first() -> None:
    by_name_only = replace(postrouting.PROBE, name="mine", auto=None)
    found = candidates("auto", [*installed(), by_name_only, BrokenPlugin("gone", "no object")])
    assert [probe.name for probe in found] == ["postrouting", "tcx", "clsact"]


def test_a_probe_of_another_package_may_be_tried_first() -> None:
    first = replace(postrouting.PROBE, name="mine", auto=5)
    assert candidates("auto", [postrouting.PROBE, first]) == [first, postrouting.PROBE]


def test_a_probe_that_is_named_is_the_only_candidate() -> None:
    assert [probe.name for probe in candidates("tcx", installed())] == ["tcx"]


def test_a_probe_without_a_place_is_not_a_candidate_of_auto() -> None:
    assert candidates("auto", [replace(postrouting.PROBE, auto=None)]) == []


def test_the_error_for_an_unknown_probe_lists_the_installed_ones() -> None:
    with pytest.raises(UsageError, match="unknown probe 'tcq'") as raised:
        find("tcq", [postrouting.PROBE])
    assert raised.value.hint == "installed: postrouting"


def test_the_error_for_a_broken_probe_has_its_reason() -> None:
    with pytest.raises(UsageError, match="probe gone is broken: no object"):
        find("gone", [BrokenPlugin("gone", "no object")])
