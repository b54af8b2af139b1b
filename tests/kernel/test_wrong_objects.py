"""Plugins whose object or declaration is wrong: told in a sentence, and nobody else suffers.

A package with an entry point is put on the path of a child process, as an installed one would be.
"""

import json
import os
import struct
import subprocess
from pathlib import Path

import pytest

from kzn.demo.daemons import KZN
from kzn.demo.lab import Lab
from kzn.probes.postrouting import PROBE

PLUGIN = """
from dataclasses import replace
from kzn.probes.postrouting import PROBE as GOOD
PROBE = replace(GOOD, name="plugged", package="plugin_of_test", resource="plugged.o")
HOOK = GOOD.hooks[0]
"""
EXIT_AT_ONCE = struct.pack("<Q", 0x95)
"""BPF_EXIT with nothing in R0, and dead code behind: no verifier takes it."""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A package with one probe, the good one under another name; its folder on the path."""
    package, information = tmp_path / "plugin_of_test", tmp_path / "plugin_of_test-1.dist-info"
    package.mkdir()
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[kzn.probes]\nplugged = plugin_of_test:PROBE\n")
    (package / "__init__.py").write_text(PLUGIN)
    (package / "plugged.o").write_bytes(PROBE.image())
    return package


def run(plugin: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command of kzn, in a network namespace of its own, that finds the plugin."""
    path = os.pathsep.join(filter(None, [str(plugin.parent), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        ["unshare", "--net", "--", *KZN, *arguments],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def programs_that_exit_at_once(image: bytes) -> bytes:
    """The object with the first instruction of the section of programs overwritten (elf(5))."""
    changed = bytearray(image)
    (table,) = struct.unpack_from("<Q", image, 0x28)
    size, number, names = struct.unpack_from("<HHH", image, 0x3A)
    (strings,) = struct.unpack_from("<Q", image, table + names * size + 0x18)
    for row in range(number):
        name, kind, _, _, offset = struct.unpack_from("<IIQQQ", image, table + row * size)
        if kind == 1 and image.startswith(b"netfilter\0", strings + name):  # SHT_PROGBITS
            changed[offset : offset + 8] = EXIT_AT_ONCE
    return bytes(changed)


def wrong(plugin: Path, fault: str) -> None:
    """Make the plugin wrong in one way."""
    image, module = plugin / "plugged.o", plugin / "__init__.py"
    edits = {
        "program": 'replace(HOOK, program="nope")',
        "priorities": "replace(HOOK, priorities=())",
    }
    match fault:
        case "garbage":
            image.write_text("this is no object\n")
        case "cut short":
            image.write_bytes(PROBE.image()[:2000])
        case "absent":
            image.unlink()
        case "refused":
            image.write_bytes(programs_that_exit_at_once(PROBE.image()))
        case "name":
            module.write_text(PLUGIN + 'PROBE = replace(PROBE, name="../up")\n')
        case "no probe":
            module.write_text("PROBE = 42\n")
        case "raises":
            module.write_text("raise SystemError('half installed')\n")
        case _:
            module.write_text(PLUGIN + f"PROBE = replace(PROBE, hooks=({edits[fault]},))\n")


@pytest.mark.parametrize(
    ("fault", "status", "sentence"),
    [
        ("garbage", 1, "open object plugged: libbpf cannot read it"),
        ("cut short", 1, "open object plugged: libbpf cannot read it"),
        ("absent", 1, "object plugin_of_test/plugged.o: [Errno 2] No such file"),
        ("refused", 1, "load object plugged: EINVAL (Invalid argument)"),
        ("program", 1, "object plugged has no program nope"),
        ("priorities", 2, "ValueError: hook ipv4 has no priorities"),
        ("name", 2, "ValueError: '../up' is no name of a probe"),
        ("no probe", 2, "plugin_of_test:PROBE is a int, not a Probe"),
        ("raises", 2, "plugin_of_test:PROBE does not load: SystemError: half installed"),
    ],
)
@pytest.mark.usefixtures("lab")  # it skips where nothing can be loaded at all
def test_a_wrong_probe_is_told_by_the_agent_and_is_a_row_of_kzn_probes(
    plugin: Path, fault: str, status: int, sentence: str
) -> None:
    wrong(plugin, fault)
    done = run(plugin, "agent", "--print", "--probe", "plugged")
    assert done.returncode == status
    assert any(sentence in line for line in done.stderr.splitlines() if line.startswith("kzn: "))
    assert done.stderr.splitlines()[-1].startswith("hint: ")
    rows = {row["name"]: row for row in json.loads(run(plugin, "probes", "--json").stdout)}
    assert rows["plugged"]["supported"] is False
    assert sentence in rows["plugged"]["reason"]
    assert "\n" not in rows["plugged"]["reason"]
    assert rows["postrouting"]["supported"] is True


def test_the_log_of_the_verifier_reaches_the_user(lab: Lab, plugin: Path) -> None:  # noqa: ARG001
    wrong(plugin, "refused")
    done = run(plugin, "agent", "--print", "--probe", "plugged")
    assert "BEGIN PROG LOAD LOG" in done.stderr
    assert "unreachable insn 1" in done.stderr
    [row] = [r for r in json.loads(run(plugin, "probes", "--json").stdout) if r["hint"]]
    assert "unreachable insn 1" in row["hint"]


def test_a_plugin_that_is_right_counts_like_the_built_in_probe(plugin: Path) -> None:
    rows = json.loads(run(plugin, "probes", "--json").stdout)
    found = {row["name"]: row["supported"] for row in rows}
    assert found["plugged"] is found["postrouting"] is True
