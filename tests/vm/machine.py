"""One guest in QEMU: a kernel of a Debian package, and an initramfs as its root file system.

In: a kernel and a suite. Out: whether the suite passed, and its rows for the table.
Never: waits for a guest without a limit, or treats a guest that ended early as passed.
"""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debian import Kernel
from initramfs import Part, write
from rootfs import PROJECT, root

CPU = "max,-cx16"
"""Without cmpxchg16b: QEMU 7.2 emulates it with wrong flags, which crashes guests."""
MEMORY = "3072"
EXIT = re.compile(r"kzn-vm-exit: (\d+)")
RESULT = re.compile(r"kzn-vm-result: (\{.*\})")
CONTENTS = ("kzn", "tests", "bpf", "docs", "bench")
MODULES = ("net", "drivers/net", "net/sched", "lib", "crypto", "arch/x86/crypto")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a guest runs, and on what.

    ``environment`` is passed to its init, ``limit`` is in seconds, ``cpus`` is the argument of
    QEMU's -smp, ``files`` are added to its root by name.
    """

    environment: Mapping[str, str]
    limit: float
    cpus: str = "2"
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """The result of a guest, and its rows for the table."""

    version: str
    release: str
    cpus: str
    passed: bool = False
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)


def accelerator() -> str:
    """KVM if its module is loaded (/dev/kvm can exist without it), else emulation (TCG).

    Emulated CPUs run in one thread: with a thread for each, QEMU 7.2 may execute an int3 of the
    kernel's text patching (switching a static key) after the kernel has removed it.
    """
    real = any(Path(f"/sys/module/{name}").exists() for name in ("kvm_intel", "kvm_amd"))
    return "kvm" if real and os.access("/dev/kvm", os.W_OK) else "tcg,thread=single"


@contextmanager
def image(chosen: Kernel, cache: Path, more: Mapping[str, bytes]) -> Iterator[Path]:
    """The initramfs of a guest: its root, the kernel's modules, the project, and files by name.

    It has no name in the cache: nothing is left of a run that is killed.
    """
    parts, files = _contents(chosen)
    files |= {name: (0o100644, text) for name, text in more.items()}
    with tempfile.TemporaryFile(dir=cache) as made:
        path = Path(f"/proc/{os.getpid()}/fd/{made.fileno()}")
        with root(cache) as folder:
            write(path, [Part(folder, bytecode=True), *parts], files)
        yield path


def _contents(chosen: Kernel) -> tuple[list[Part], dict[str, tuple[int, bytes]]]:
    top = f"usr/lib/modules/{chosen.release}"
    parts = [Part(chosen.modules / "kernel" / name, f"{top}/kernel/{name}") for name in MODULES]
    parts += [Part(PROJECT / name, f"kzn/{name}") for name in CONTENTS]
    files = {f"{top}/{path.name}": path.read_bytes() for path in chosen.modules.glob("modules.*")}
    files["kzn/pyproject.toml"] = (PROJECT / "pyproject.toml").read_bytes()
    ordinary = {name: (0o100644, text) for name, text in files.items()}
    init = {"init": (0o100755, (PROJECT / "tests/vm/guest/init").read_bytes())}
    return [part for part in parts if part.source.is_dir()], ordinary | init


def boot(
    version: str, chosen: Kernel, cache: Path, setup: Setup, say: Callable[[str], None]
) -> Outcome:
    """Run the suite on a kernel; ``say`` gets the lines of the console."""
    words = "".join(f' {name}="{value}"' for name, value in setup.environment.items())
    # QEMU ends with this process, also when that is killed.
    command = ["setpriv", "--pdeathsig", "KILL"]
    command += ["qemu-system-x86_64", "-accel", accelerator(), "-cpu", CPU, "-m", MEMORY]
    command += ["-smp", setup.cpus, "-nodefaults", "-no-reboot", "-display", "none"]
    command += ["-serial", "stdio", "-kernel", str(chosen.image)]
    command += ["-append", f"console=ttyS0 panic=-1 quiet{words}"]
    outcome = Outcome(version, chosen.release, setup.cpus)
    with image(chosen, cache, setup.files) as initramfs:
        command += ["-initrd", str(initramfs)]
        began = time.monotonic()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        ) as guest:
            try:
                _follow(guest, began + setup.limit, outcome, say)
            finally:
                guest.kill()
    outcome.seconds = time.monotonic() - began
    return outcome


def _follow(
    guest: subprocess.Popen[bytes],
    deadline: float,
    outcome: Outcome,
    say: Callable[[str], None],
) -> None:
    for line in _lines(guest, deadline):
        say(line)
        if _parse_line(line, outcome):
            return
    say("the guest ended, or its time limit did, before it reported a result")


def _lines(guest: subprocess.Popen[bytes], deadline: float) -> Iterator[str]:
    """Lines of the console as they arrive, until the guest ends or the deadline passes."""
    assert guest.stdout is not None
    os.set_blocking(guest.stdout.fileno(), False)
    rest = b""
    while time.monotonic() < deadline:
        try:
            piece = os.read(guest.stdout.fileno(), 1 << 16)
        except BlockingIOError:
            time.sleep(0.1)
            continue
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode(errors="replace").rstrip("\r") for line in whole)
        if not piece:
            return


def row_of(line: str) -> dict[str, Any] | None:
    """The row for the table in a line of the console, if it has one."""
    found = RESULT.search(line)
    row: dict[str, Any] | None = json.loads(found[1]) if found else None
    return row


def _parse_line(line: str, outcome: Outcome) -> bool:
    """Add the result in a line to the outcome; True for the last line."""
    if row := row_of(line):
        outcome.rows.append(row)
    ended = EXIT.search(line)
    if ended:
        outcome.passed = ended[1] == "0"
    return ended is not None
