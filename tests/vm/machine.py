"""One guest in QEMU: a kernel of a Debian package, and an initramfs as its root file system.

In: a kernel and a suite. Out: whether the suite passed, and its rows for the table.
Never: waits for a guest without a limit, or treats a guest that ended early as passed.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debian import Kernel
from initramfs import Part, write
from rootfs import PROJECT, root

CPU = "max,-cx16"
"""Without cmpxchg16b: QEMU 7.2 emulates it with wrong flags, which crashes guests."""
MEMORY = "2048"
EXIT = re.compile(r"kzn-vm-exit: (\d+)")
RESULT = re.compile(r"kzn-vm-result: (\{.*\})")
MODULES = ("net", "drivers/net", "net/sched", "lib", "crypto", "arch/x86/crypto")


@dataclass(slots=True)
class Outcome:
    """The result of a guest, and its rows for the table."""

    version: str
    release: str
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


def image(chosen: Kernel, version: str, cache: Path) -> Path:
    """Write the initramfs of a guest: its root, the kernel's modules, the project."""
    initramfs = cache / f"initramfs-{version}"
    parts, files = _contents(chosen)
    write(initramfs, [Part(root(cache), bytecode=True), *parts], files)
    return initramfs


def _contents(chosen: Kernel) -> tuple[list[Part], dict[str, tuple[int, bytes]]]:
    top = f"usr/lib/modules/{chosen.release}"
    parts = [Part(chosen.modules / "kernel" / name, f"{top}/kernel/{name}") for name in MODULES]
    parts += [Part(PROJECT / name, f"kzn/{name}") for name in ("kzn", "tests", "bpf", "docs")]
    files = {f"{top}/{path.name}": path.read_bytes() for path in chosen.modules.glob("modules.*")}
    files["kzn/pyproject.toml"] = (PROJECT / "pyproject.toml").read_bytes()
    ordinary = {name: (0o100644, text) for name, text in files.items()}
    init = {"init": (0o100755, (PROJECT / "tests/vm/guest/init").read_bytes())}
    return [part for part in parts if part.source.is_dir()], ordinary | init


def boot(
    version: str,
    chosen: Kernel,
    cache: Path,
    environment: dict[str, str],
    limit: float,
    say: Callable[[str], None],
) -> Outcome:
    """Run the suite on a kernel; ``environment`` is passed to the guest's init."""
    initramfs = image(chosen, version, cache)
    words = "".join(f' {name}="{value}"' for name, value in environment.items())
    command = ["qemu-system-x86_64", "-accel", accelerator(), "-cpu", CPU, "-m", MEMORY]
    command += ["-smp", "2", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]
    command += ["-kernel", str(chosen.image), "-initrd", str(initramfs)]
    command += ["-append", f"console=ttyS0 panic=-1 quiet{words}"]
    outcome = Outcome(version, chosen.release)
    began = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    ) as guest:
        try:
            for line in _lines(guest, began + limit):
                say(line)
                if _parse_line(line, outcome):
                    break
            else:
                say(f"the guest did not report a result within {limit:.0f} s")
        finally:
            guest.kill()
    initramfs.unlink()
    outcome.seconds = time.monotonic() - began
    return outcome


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


def _parse_line(line: str, outcome: Outcome) -> bool:
    """Add the result in a line to the outcome; True for the last line."""
    if row := RESULT.search(line):
        outcome.rows.append(json.loads(row[1]))
    ended = EXIT.search(line)
    if ended:
        outcome.passed = ended[1] == "0"
    return ended is not None
