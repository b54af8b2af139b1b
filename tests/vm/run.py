"""Runs the guest suite on other kernels with QEMU alone: ``python tests/vm/run.py [VERSION ...]``.

Each guest is a kernel of a Debian package and an initramfs with a root file system, the project
and its tests. Without KVM it is emulated (TCG): slow, and exact all the same.
"""

import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from debian import SUITES, Kernel, kernel, root
from initramfs import Part, write

PROJECT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("KZN_VM_CACHE", Path.home() / ".cache" / "kzn-vm"))
CPU = "max,-cx16"
"""Without cmpxchg16b: emulated by QEMU 7.2 it leaves garbage in the flags, which crashes guests."""
MEMORY = "3072"
LIMIT = float(os.environ.get("KZN_VM_SECONDS", "900"))
EXIT = re.compile(rb"kzn-vm-exit: (\d+)")
MODULES = ("net", "drivers/net", "net/sched", "lib", "crypto", "arch/x86/crypto")


def accelerator() -> str:
    """KVM where the kernel really has it: /dev/kvm alone may be an empty promise."""
    real = any(Path(f"/sys/module/{name}").exists() for name in ("kvm_intel", "kvm_amd"))
    return "kvm" if real and os.access("/dev/kvm", os.W_OK) else "tcg,thread=multi"


def image(chosen: Kernel, target: Path) -> None:
    """The initramfs of a guest: its root, the kernel's modules, the project."""
    top = f"usr/lib/modules/{chosen.release}"
    parts = [Part(chosen.modules / "kernel" / name, f"{top}/kernel/{name}") for name in MODULES]
    parts += [Part(PROJECT / name, f"kzn/{name}") for name in ("kzn", "tests", "bpf")]
    parts = [part for part in parts if part.source.is_dir()]
    files = {f"{top}/{path.name}": path.read_bytes() for path in chosen.modules.glob("modules.*")}
    files |= {f"kzn/{name}": text for name, text in metadata().items()}
    files["kzn/pyproject.toml"] = (PROJECT / "pyproject.toml").read_bytes()
    base, rest = CACHE / "root.cpio.gz", target.with_suffix(".rest")
    if not base.exists():
        write(base, [Part(root(CACHE))], {})
    init = {"init": (0o100755, (PROJECT / "tests/vm/guest/init").read_bytes())}
    folders = {parent for name in files for parent in parents(name)}
    folders |= {parent for part in parts for parent in parents(f"{part.target}/inside")}
    made = dict.fromkeys(sorted(folders), (16877, b""))
    ordinary = {name: (0o100644, text) for name, text in files.items()}
    write(rest.with_suffix(".folders"), [], made)
    write(rest, parts, ordinary | init)
    # The kernel unpacks several archives one after the other.
    pieces = (base, rest.with_suffix(".folders"), rest)
    target.write_bytes(b"".join(piece.read_bytes() for piece in pieces))


def parents(name: str) -> list[str]:
    """The folders above a file of the guest, below those that its root has."""
    above = [str(path) for path in Path(name).parents][:-1]
    return [path for path in above if path not in ("usr", "usr/lib")]


def metadata() -> dict[str, bytes]:
    """What an installation would leave of the project: its probes are found by entry points."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    probes = settings["entry-points"]["kzn.probes"]
    points = "[kzn.probes]\n" + "".join(f"{name} = {where}\n" for name, where in probes.items())
    return {
        "kzn-0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: kzn\nVersion: 0\n",
        "kzn-0.dist-info/entry_points.txt": points.encode(),
    }


def boot(version: str) -> tuple[str, bool, float]:
    """Run the suite on a kernel: its release, whether all passed, and the seconds it took."""
    chosen = kernel(version, CACHE)
    initramfs = CACHE / f"initramfs-{version}"
    image(chosen, initramfs)
    tests = os.environ.get("KZN_VM_TESTS", "")
    append = f'console=ttyS0 panic=-1 quiet KZN_VM_TESTS="{tests}"'
    command = ["qemu-system-x86_64", "-accel", accelerator(), "-cpu", CPU, "-m", MEMORY]
    command += ["-smp", "2", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]
    command += ["-kernel", str(chosen.image), "-initrd", str(initramfs), "-append", append]
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as guest:
        passed = _follow(guest, begun)
    return chosen.release, passed, time.monotonic() - begun


def _follow(guest: subprocess.Popen[bytes], begun: float) -> bool:
    """Copy the guest's console until it says how it ended, or its time is over."""
    assert guest.stdout is not None
    os.set_blocking(guest.stdout.fileno(), False)
    said = b""
    while time.monotonic() - begun < LIMIT:
        try:
            piece = os.read(guest.stdout.fileno(), 1 << 16)
        except BlockingIOError:
            time.sleep(0.1)
            continue
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        said += piece
        ended = EXIT.search(said)
        if ended or not piece:
            guest.kill()
            return ended is not None and ended[1] == b"0"
    guest.kill()
    print(f"\nthe guest did not end within {LIMIT:.0f} s")
    return False


def main() -> int:
    """Run the kernels that are named, all when none is; a table at the end."""
    CACHE.mkdir(parents=True, exist_ok=True)
    versions = sys.argv[1:] or list(SUITES)
    rows = []
    for version in versions:
        print(f"==== kernel {version}, {accelerator()}", flush=True)
        rows.append(boot(version))
    print("\nkernel                         result   seconds")
    for release, passed, seconds in rows:
        print(f"{release:<30} {'passed' if passed else 'FAILED':<8} {seconds:.0f}")
    print(f"{sum(passed for _, passed, _ in rows)} passed, {sum(not p for _, p, _ in rows)} failed")
    return 0 if all(passed for _, passed, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
