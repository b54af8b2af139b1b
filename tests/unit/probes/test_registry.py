"""Plugins: good ones are found, broken ones become a row with a reason and never an exception."""

import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from kzn.errors import UsageError
from kzn.probes import postrouting
from kzn.probes.registry import GROUP, BrokenProbe, find, installed

OLD = replace(postrouting.PROBE, name="old", api=0)
MISNAMED = replace(postrouting.PROBE, name="other")


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=GROUP)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that can be imported, with declarations that are not right."""
    module = ModuleType("kzn_test_plugin")
    module.__dict__.update(OLD=OLD, MISNAMED=MISNAMED, installed=installed)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_the_built_in_probe_is_registered_like_any_other() -> None:
    assert postrouting.PROBE in installed()


def test_a_plugin_that_does_not_import_is_a_row_with_its_reason() -> None:
    [found] = installed([point("gone", "no_such_package.probe:PROBE")])
    assert isinstance(found, BrokenProbe)
    assert "ModuleNotFoundError: No module named 'no_such_package'" in found.reason


@pytest.mark.parametrize(
    ("name", "attribute", "reason"),
    [
        ("old", "OLD", "it is made for probe API 0, this kzn has 1"),
        ("misnamed", "MISNAMED", "it calls itself 'other'"),
        ("function", "installed", "is a function, not a Probe"),
        ("nothing", "missing", "AttributeError"),
    ],
)
def test_a_plugin_that_is_not_a_declaration_is_a_row(
    plugin: str, name: str, attribute: str, reason: str
) -> None:
    [found] = installed([point(name, f"{plugin}:{attribute}")])
    assert isinstance(found, BrokenProbe)
    assert reason in found.reason


def test_auto_is_the_default_probe() -> None:
    assert find("auto", installed()) is postrouting.PROBE


def test_an_unknown_probe_names_those_that_are_installed() -> None:
    with pytest.raises(UsageError, match="no probe 'tcq'") as raised:
        find("tcq", [postrouting.PROBE])
    assert raised.value.hint == "installed: postrouting"


def test_asking_for_a_broken_probe_says_why_it_is() -> None:
    with pytest.raises(UsageError, match="probe gone is broken: no object"):
        find("gone", [BrokenProbe("gone", "no object")])
