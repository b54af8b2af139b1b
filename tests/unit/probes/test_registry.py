"""Plugins: good ones are found, broken ones become a row with a reason and never an exception."""

import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from kzn.errors import UsageError
from kzn.probes import postrouting, tcx
from kzn.probes.declaration import Probe
from kzn.probes.registry import GROUP, BrokenProbe, candidates, find, installed

OLD = replace(postrouting.PROBE, name="old", api=0)
MISNAMED = replace(postrouting.PROBE, name="other")
GOOD = replace(postrouting.PROBE, name="good")


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=GROUP)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that can be imported, with declarations that are not right."""
    module = ModuleType("kzn_test_plugin")
    module.__dict__.update(OLD=OLD, GOOD=GOOD, MISNAMED=MISNAMED, installed=installed)
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


def packages(folder: Path, **entry_points: str) -> str:
    """Installed packages in a folder, by their entry_points.txt."""
    for name, text in entry_points.items():
        information = folder / f"{name}-1.5.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n"
        )
        (information / "entry_points.txt").write_text(f"[kzn.probes]\n{text}\n")
    return str(folder)


def reasons(name: str) -> list[str]:
    """What is said of a name; nothing for a probe that is whole."""
    return [getattr(row, "reason", "") for row in installed() if row.name == name]


def test_a_name_that_two_packages_have_is_taken_by_neither(
    tmp_path: Path, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(
        packages(tmp_path, one=f"good = {plugin}:GOOD", two=f"good = {plugin}:OLD")
    )
    assert reasons("good") == ["several packages have it: one 1.5, two 1.5"]
    with pytest.raises(UsageError, match="probe good is broken: several packages have it"):
        find("good", installed())
    assert reasons("postrouting") == [""]


def test_nobody_takes_the_name_of_a_built_in_probe(
    tmp_path: Path, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(packages(tmp_path, other=f"tcx = {plugin}:GOOD"))
    assert reasons("tcx") == ["", "other 1.5 has it too; kzn's own probe of this name stays"]
    assert find("tcx", installed()) is tcx.PROBE


def test_a_package_that_is_found_twice_is_one(plugin: str) -> None:
    twice = [point("good", f"{plugin}:GOOD"), point("good", f"{plugin}:GOOD")]
    assert [type(row) for row in installed(twice)] == [Probe]


def test_a_damaged_list_of_entry_points_costs_its_own_package_only(
    tmp_path: Path, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(
        packages(tmp_path, bad="no equals sign", fine=f"good={plugin}:GOOD")
    )
    assert reasons("good") == [""]
    assert reasons("postrouting") == [""]


def test_a_plugin_that_ends_the_process_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kzn_test_leaves.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    [found] = installed([point("leaves", "kzn_test_leaves:PROBE")])
    assert isinstance(found, BrokenProbe)
    assert "SystemExit" in found.reason


def test_auto_tries_those_that_declare_a_place_in_their_order() -> None:
    by_name_only = replace(postrouting.PROBE, name="mine", auto=None)
    found = candidates("auto", [*installed(), by_name_only, BrokenProbe("gone", "no object")])
    assert [probe.name for probe in found] == ["postrouting", "tcx", "clsact"]


def test_a_probe_of_another_package_may_come_first() -> None:
    first = replace(postrouting.PROBE, name="mine", auto=5)
    assert candidates("auto", [postrouting.PROBE, first]) == [first, postrouting.PROBE]


def test_a_name_is_a_choice_of_one() -> None:
    assert [probe.name for probe in candidates("tcx", installed())] == ["tcx"]


def test_one_that_declares_no_place_is_never_chosen() -> None:
    assert candidates("auto", [replace(postrouting.PROBE, auto=None)]) == []


def test_an_unknown_probe_names_those_that_are_installed() -> None:
    with pytest.raises(UsageError, match="no probe 'tcq'") as raised:
        find("tcq", [postrouting.PROBE])
    assert raised.value.hint == "installed: postrouting"


def test_asking_for_a_broken_probe_says_why_it_is() -> None:
    with pytest.raises(UsageError, match="probe gone is broken: no object"):
        find("gone", [BrokenProbe("gone", "no object")])
