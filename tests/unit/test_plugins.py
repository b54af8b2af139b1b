"""Plugins of any group: usable ones are returned, broken ones are rows with a reason."""

import logging
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from kzn.plugins import BrokenPlugin, load_plugins, registered

GROUP = "kzn.test_plugins"


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=GROUP)


def no_empty_text(name: str, value: str) -> str:
    return "" if value else f"{name} is empty"


def load(*points: EntryPoint) -> list[str | BrokenPlugin]:
    """Plugins of a group whose values are texts."""
    return load_plugins(points, str, no_empty_text)


def reason(point: EntryPoint) -> str:
    [found] = load(point)
    assert isinstance(found, BrokenPlugin)
    assert found.name == point.name
    return found.reason


def module(monkeypatch: pytest.MonkeyPatch, name: str, **values: object) -> str:
    """A module that can be imported."""
    made = ModuleType(name)
    made.__dict__.update(values)
    monkeypatch.setitem(sys.modules, name, made)
    return name


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> str:
    return module(monkeypatch, "kzn_test_plugin", GOOD="good", OTHER="other", EMPTY="", NUMBER=42)


def test_usable_plugins_come_in_the_order_of_their_names(plugin: str) -> None:
    assert load(point("b", f"{plugin}:OTHER"), point("a", f"{plugin}:GOOD")) == ["good", "other"]


def test_a_plugin_whose_module_does_not_import_is_broken() -> None:
    found = reason(point("gone", "no_such_package.it:IT"))
    assert "ModuleNotFoundError: No module named 'no_such_package'" in found


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("MISSING", "AttributeError"),
        ("NUMBER", "kzn_test_plugin:NUMBER is of type int, not str"),
        ("EMPTY", "empty is empty"),
    ],
)
def test_a_plugin_with_a_wrong_value_is_broken(plugin: str, attribute: str, expected: str) -> None:
    assert expected in reason(point("empty", f"{plugin}:{attribute}"))


def test_a_plugin_that_calls_exit_on_import_is_broken_and_the_process_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kzn_test_exits.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "SystemExit" in reason(point("exits", "kzn_test_exits:IT"))


def test_an_entry_point_that_is_listed_twice_is_loaded_once(plugin: str) -> None:
    assert load(point("good", f"{plugin}:GOOD"), point("good", f"{plugin}:GOOD")) == ["good"]


def packages(folder: Path, **entry_points: str) -> str:
    """Installed packages in a folder, by their entry_points.txt."""
    for name, text in entry_points.items():
        information = folder / f"{name}-1.5.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n"
        )
        (information / "entry_points.txt").write_text(f"[{GROUP}]\n{text}\n")
    return str(folder)


def test_a_name_that_two_packages_register_is_used_of_neither(
    tmp_path: Path, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"one": f"good = {plugin}:GOOD", "two": f"good = {plugin}:OTHER"}
    monkeypatch.syspath_prepend(packages(tmp_path, **texts))
    [found] = load(*registered(GROUP))
    assert isinstance(found, BrokenPlugin)
    assert "several packages" in found.reason
    assert found.reason.endswith("one 1.5, two 1.5")


def test_a_name_that_kzn_itself_registers_stays_its_own(
    tmp_path: Path, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = module(monkeypatch, "kzn.test_plugin", GOOD="kzn's own")
    monkeypatch.syspath_prepend(packages(tmp_path, other=f"good = {plugin}:GOOD"))
    first, second = load(*registered(GROUP), point("good", f"{own}:GOOD"))
    assert first == "kzn's own"
    assert isinstance(second, BrokenPlugin)
    assert "other 1.5" in second.reason


def test_a_damaged_list_of_entry_points_leaves_out_its_own_package_only(
    tmp_path: Path, plugin: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    texts = {"bad": "no equals sign", "fine": f"good={plugin}:GOOD"}
    monkeypatch.syspath_prepend(packages(tmp_path, **texts))
    with caplog.at_level(logging.WARNING):
        assert load(*registered(GROUP)) == ["good"]
    assert "entry points of package bad" in caplog.text
