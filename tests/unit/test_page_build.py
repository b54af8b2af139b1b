"""hatch_build.py: when the page is built, and what an installation without npm gets."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", PROJECT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree whose npm and node are shell scripts: npm does nothing, node writes one file."""
    monkeypatch.delenv("KZN_PAGE", raising=False)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "package.json").write_text("{}")
    (tmp_path / "web" / "build.mjs").write_text("")
    return tmp_path


def _programs(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, node: str) -> None:
    program = tmp_path / "node"
    program.write_text(f"#!/bin/sh\n{node}\n")
    program.chmod(0o755)
    monkeypatch.setattr(hook, "_node", lambda: (program, Path("npm-cli.js")))


BUILDS = 'case "$1" in build.mjs) mkdir -p "$2" && echo page > "$2/index.html" ;; esac'


def test_the_page_is_built_once(
    hook: ModuleType, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _programs(hook, monkeypatch, tmp_path, BUILDS)
    hook.make(tree)
    assert (tree / hook.PAGE / "index.html").read_text() == "page\n"
    assert hook.is_built(tree)
    _programs(hook, monkeypatch, tmp_path, "exit 1")
    hook.make(tree)  # nothing to do
    assert (tree / hook.PAGE / "index.html").exists()


def test_a_change_builds_it_anew(
    hook: ModuleType, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _programs(hook, monkeypatch, tmp_path, BUILDS)
    hook.make(tree)
    (tree / "web" / "node_modules").mkdir()
    (tree / "web" / "node_modules" / "x.js").write_text("")
    assert hook.is_built(tree)
    (tree / "web" / "build.mjs").write_text("changed")
    assert not hook.is_built(tree)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ("echo npm error code ECONNREFUSED >&2; exit 1", "npm error code ECONNREFUSED"),
        ('[ "$2" = ci ] || { echo "Unexpected }" >&2; exit 2; }', "esbuild failed: Unexpected }"),
    ],
)
def test_a_failure_leaves_the_reason(
    hook: ModuleType,
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    node: str,
    reason: str,
) -> None:
    _programs(hook, monkeypatch, tmp_path, BUILDS)
    hook.make(tree)
    (tree / "web" / "build.mjs").write_text("changed")
    _programs(hook, monkeypatch, tmp_path, node)
    hook.make(tree)
    assert sorted(path.name for path in (tree / hook.PAGE).iterdir()) == [hook.ABSENT]
    assert reason in (tree / hook.PAGE / hook.ABSENT).read_text()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert reason in lines[0]


def test_a_release_must_have_it(
    hook: ModuleType, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _programs(hook, monkeypatch, tmp_path, "exit 1")
    monkeypatch.setenv("KZN_PAGE", "required")
    with pytest.raises(SystemExit, match="cannot be built"):
        hook.make(tree)


def test_it_can_be_left_out(hook: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KZN_PAGE", "none")
    monkeypatch.setattr(hook, "_node", lambda: pytest.fail("Node was looked for"))
    hook.make(tree)
    assert "KZN_PAGE=none" in (tree / hook.PAGE / hook.ABSENT).read_text()


def test_a_wrong_mode_is_named() -> None:
    done = subprocess.run(
        [sys.executable, PROJECT / "hatch_build.py"],
        env=os.environ | {"KZN_PAGE": "maybe"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "kzn: KZN_PAGE=maybe: expected auto, none or required\n"


def test_the_lock_file_has_no_addresses() -> None:
    for folder in ("web", "web/tests"):
        text = (PROJECT / folder / "package-lock.json").read_text()
        assert '"resolved"' not in text
        assert "registry" not in text
