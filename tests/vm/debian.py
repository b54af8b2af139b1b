"""Kernels from Debian packages, without touching the host's apt.

The mirror is the one that the host's own apt uses, or KZN_DEBIAN_MIRROR.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

IMAGE = "linux-image-cloud-amd64"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

SUITES = {
    "6.1": ("bookworm",),
    "6.12": ("bookworm-backports", "trixie"),
    "7": ("trixie-backports", "sid"),
}
"""Where a kernel of that version is looked for, first match wins. Nothing between 6.1 and 6.12 is
in the archive, so 6.4, the oldest that kzn claims, cannot be tried."""
RETRIES = "5"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel image and the folder of its modules, unpacked."""

    release: str
    image: Path
    modules: Path


def run(*command: str | Path, folder: Path | None = None) -> str:
    """Run a program to its end; its words when it fails."""
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stderr or done.stdout}")
    return done.stdout


def mirror() -> str:
    """The Debian archive to use."""
    named = os.environ.get("KZN_DEBIAN_MIRROR")
    if named:
        return named
    form = "$(REPO_URI) $(RELEASE)"
    for line in run("apt-get", "indextargets", "--format", form).splitlines():
        uri, _, release = line.partition(" ")
        if release in ("bookworm", "trixie", "sid"):
            return uri
    raise SystemExit("no Debian archive in this machine's apt: set KZN_DEBIAN_MIRROR")


def apt_options(folder: Path, suite: str) -> list[str]:
    """Options that give apt a world of its own in ``folder``."""
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
    """Fetch and unpack a kernel of that version; again only when it is not there."""
    home = cache / f"kernel-{version}"
    if (home / "done").exists():
        return _found(home)
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
    raise SystemExit(f"no kernel {version} in {', '.join(SUITES[version])}")


def _packages(options: list[str], version: str) -> list[str]:
    """The packages with the image and the modules of the cloud kernel, if it has that version."""
    shown = run("apt-cache", *options, "depends", "--important", IMAGE)
    names = [line.split()[-1] for line in shown.splitlines() if "Depends: linux-image-" in line]
    names = [name for name in names if name.startswith(f"linux-image-{version}")]
    if not names:
        return []
    # From 7.x on the image is a shell around packages with the binary and the modules.
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
