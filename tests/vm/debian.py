"""Kernels from Debian packages, without changing the host's apt configuration.

The mirror is KZN_DEBIAN_MIRROR, else the one that the host's apt uses.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cached import locked

IMAGE = "linux-image-cloud-amd64"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

SUITES = {
    "6.1": ("bookworm",),
    "6.12": ("bookworm-backports", "trixie"),
    "7": ("trixie-backports", "sid"),
}
"""The suites to search for a kernel version, in order. The archive has no kernel between 6.1 and
6.12, so 6.4, the oldest that `postrouting` supports, cannot be tested."""
RETRIES = "5"


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel image and the folder of its modules."""

    release: str
    image: Path
    modules: Path


def run(*command: str | Path, folder: Path | None = None) -> str:
    """Run a program and return its stdout; SystemExit with its output if it fails."""
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stderr or done.stdout}")
    return done.stdout


def mirror() -> str:
    """The URL of the Debian archive to use."""
    named = os.environ.get("KZN_DEBIAN_MIRROR")
    if named:
        return named
    form = "$(REPO_URI) $(RELEASE)"
    for line in run("apt-get", "indextargets", "--format", form).splitlines():
        uri, _, release = line.partition(" ")
        if release in ("bookworm", "trixie", "sid"):
            return uri
    raise SystemExit("apt is not configured with a Debian archive: set KZN_DEBIAN_MIRROR")


def apt_options(folder: Path, suite: str) -> list[str]:
    """Options that make apt use its own configuration and state in ``folder``."""
    for part in ("lists/partial", "cache/archives/partial", "parts"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    sources = folder / f"{suite}.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n")
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": folder / "parts",
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Retries": RETRIES,
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def kernel(version: str, cache: Path) -> Kernel:
    """Fetch and unpack a kernel of that version, unless it is cached."""
    with locked(cache, f"kernel-{version}"):
        return _kernel(version, cache / f"kernel-{version}")


def _kernel(version: str, home: Path) -> Kernel:
    if (home / "done").exists():
        return _found(home)
    shutil.rmtree(home, ignore_errors=True)  # of a run that was killed
    for suite in SUITES[version]:
        folder = home / suite
        options = apt_options(folder, suite)
        run("apt-get", *options, "update", "-qq")
        names = _packages(options, version)
        if not names:
            continue
        run("apt-get", *options, "download", "-qq", *names, folder=folder)
        for archive in folder.glob("*.deb"):
            run("dpkg", "-x", archive, home / "tree")
        found = _found(home)
        run("depmod", "-b", _base(home), found.release)
        shutil.rmtree(folder)
        (home / "done").touch()
        return found
    raise SystemExit(f"kernel {version} was not found in {', '.join(SUITES[version])}")


def _packages(options: list[str], version: str) -> list[str]:
    """The packages with the image and the modules of the cloud kernel, if it has that version."""
    shown = run("apt-cache", *options, "depends", "--important", IMAGE)
    names = [line.split()[-1] for line in shown.splitlines() if "Depends: linux-image-" in line]
    names = [name for name in names if name.startswith(f"linux-image-{version}")]
    if not names:
        return []
    # Since 7.x the image package only depends on packages with the binary and the modules.
    inner = run("apt-cache", *options, "depends", "--important", names[0]).splitlines()
    parts = [line.split()[-1] for line in inner if "Depends: linux-" in line]
    return [names[0], *[p for p in parts if p.startswith(("linux-binary-", "linux-modules-"))]]


def _base(home: Path) -> Path:
    tree = home / "tree"
    return tree / "usr" if (tree / "usr/lib/modules").is_dir() else tree


def _found(home: Path) -> Kernel:
    base = _base(home)
    [modules] = sorted((base / "lib/modules").iterdir())
    [image] = [*home.glob("tree/boot/vmlinuz-*"), *modules.glob("vmlinuz")][:1]
    return Kernel(modules.name, image, modules)
