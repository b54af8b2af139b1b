"""Plugins with a wrong object or declaration: each is one error, and other probes are unaffected.

All of them are on the path of a child process at once, as installed packages would be, with one
that is right.
"""

import json
import os
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from objectedit import Image

from kzn.lab.daemons import KZN
from kzn.lab.lab import Lab
from kzn.probes.declaration import API
from kzn.probes.postrouting import PROBE

DECLARATION = """
from dataclasses import replace
from kzn.probes.postrouting import PROBE as GOOD
HOOK = GOOD.hooks[0]
PROBE = replace(GOOD, name="{name}", package="{package}", resource="it.o")
"""
EXIT_AT_ONCE = struct.pack("<Q", 0x95)
"""BPF_EXIT with R0 unset, and dead code behind it: every verifier refuses it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A probe with one fault; ``module`` is appended to a correct declaration."""

    name: str
    status: int
    sentence: str
    module: str = ""
    change: Callable[[bytes], bytes] = bytes


def programs_that_exit_at_once(image: bytes) -> bytes:
    """The object with the first instruction of its programs overwritten."""
    at = Image(image).sections["netfilter"]
    return image[:at] + EXIT_AT_ONCE + image[at + 8 :]


def of_layout_99(image: bytes) -> bytes:
    """The object with another layout number in its settings."""
    good = Image(image)
    return good.put(good.sections[".rodata"] + 12, 99)


FAULTS = [
    Fault(
        "garbage",
        1,
        "open object garbage: libbpf cannot read it",
        change=lambda _: b"this is not an object\n",
    ),
    Fault("short", 1, "open object short: libbpf cannot read it", change=lambda good: good[:2000]),
    Fault(
        "without-btf", 1, "object without-btf has no BTF", change=lambda it: Image(it).without_btf()
    ),
    Fault(
        "layout",
        1,
        f"it was built for layout 99 of flow.h, this kzn has {API}",
        change=of_layout_99,
    ),
    Fault(
        "struct",
        1,
        "map control: the value has no drained",
        change=lambda good: Image(good).renamed("drained", "drainee"),
    ),
    Fault(
        "refused",
        1,
        "load object refused: EINVAL (Invalid argument)",
        change=programs_that_exit_at_once,
    ),
    Fault(
        "absent",
        1,
        "object plugin_absent/not.o: [Errno 2] No such file",
        "PROBE = replace(PROBE, resource='not.o')",
    ),
    Fault(
        "program",
        1,
        "object program has no program nope",
        "PROBE = replace(PROBE, hooks=(replace(HOOK, program='nope'),))",
    ),
    Fault(
        "priorities", 2, "ValueError: hook ipv4 has no priorities", "replace(HOOK, priorities=())"
    ),
    Fault("type", 2, "TypeError: Probe.hooks holds a str", "replace(PROBE, hooks=('ipv4',))"),
    Fault(
        "path", 2, "ValueError: '../up' is not a name of a probe", "replace(PROBE, name='../up')"
    ),
    Fault(
        "version",
        2,
        f"it was written for probe API 99, this kzn has {API}",
        "PROBE = replace(PROBE, api=99)",
    ),
    Fault("number", 2, "plugin_number:PROBE is of type int, not Probe", "PROBE = 42"),
    Fault(
        "raises",
        2,
        "plugin_raises:PROBE does not load: SystemError: half [/] installed",
        "raise SystemError('half [/] installed')",
    ),
    Fault("exits", 2, "plugin_exits:PROBE does not load: SystemExit: 0", "raise SystemExit(0)"),
    Fault("taken", 2, "several packages register this name: plugin_another 1, plugin_taken 1"),
]
RIGHT = Fault("right", 0, "loads on this kernel")


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all probes installed."""
    folder = tmp_path_factory.mktemp("plugins")
    for fault in [*FAULTS, RIGHT]:
        package = folder / f"plugin_{fault.name.replace('-', '_')}"
        package.mkdir()
        text = DECLARATION.format(name=fault.name, package=package.name) + fault.module
        (package / "__init__.py").write_text(text)
        (package / "it.o").write_bytes(fault.change(PROBE.image()))
        register(folder, package.name, fault.name)
    register(folder, "plugin_another", "taken")
    return folder


def register(folder: Path, package: str, name: str) -> None:
    """Write the metadata that pip writes for a package."""
    information = folder / f"{package}-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (information / "entry_points.txt").write_text(f"[kzn.probes]\n{name} = {package}:PROBE\n")


def run(plugins: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a kzn command that finds the plugins, in a new network namespace."""
    path = os.pathsep.join(filter(None, [str(plugins), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        ["unshare", "--net", "--", *KZN, *arguments],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def rows(lab: Lab, plugins: Path) -> dict[str, dict[str, Any]]:  # noqa: ARG001 - it skips where nothing can be loaded
    """The rows of `kzn probes` by name."""
    found = json.loads(run(plugins, "probes", "--json").stdout)
    assert len({row["name"] for row in found}) == len(found)
    return {row["name"]: row for row in found}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_wrong_probe_is_an_error_of_the_agent_and_listed_by_kzn_probes(
    plugins: Path, rows: dict[str, dict[str, Any]], fault: Fault
) -> None:
    done = run(plugins, "agent", "--print", "--probe", fault.name)
    assert done.returncode == fault.status
    errors = [line for line in done.stderr.splitlines() if line.startswith("kzn: ")]
    assert any(fault.sentence in line for line in errors), done.stderr
    assert done.stderr.splitlines()[-1].startswith("hint: ")
    assert rows[fault.name]["supported"] is False
    assert fault.sentence in rows[fault.name]["reason"]
    assert "\n" not in rows[fault.name]["reason"]


def test_wrong_probes_do_not_affect_right_ones(rows: dict[str, dict[str, Any]]) -> None:
    own = {"clsact", "postrouting", "tcx"}
    assert set(rows) == own | {RIGHT.name} | {fault.name for fault in FAULTS}
    assert {name for name, row in rows.items() if row["supported"]} >= {"postrouting", RIGHT.name}


def test_the_table_shows_reasons_without_markup(plugins: Path) -> None:
    done = run(plugins, "probes")
    assert done.returncode == 0
    assert "half [/] installed" in " ".join(done.stdout.split())


def test_the_verifiers_log_reaches_the_user(plugins: Path, rows: dict[str, dict[str, Any]]) -> None:
    done = run(plugins, "agent", "--print", "--probe", "refused")
    assert "BEGIN PROG LOAD LOG" in done.stderr
    assert "unreachable insn 1" in done.stderr
    assert "unreachable insn 1" in rows["refused"]["hint"]
