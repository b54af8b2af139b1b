"""A Debian root file system with Python, for guests of QEMU and for boxes."""

import os
import tempfile
import tomllib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from cached import held
from debian import RETRIES, mirror, run

PROJECT = Path(__file__).parents[2]
SUITE = "bookworm"
PACKAGES = (
    "bash",
    "coreutils",
    "iproute2",
    "ipvsadm",
    "kmod",
    "libbpf1",
    "libstdc++6",  # for numpy
    "mount",
    "nftables",
    "openvswitch-switch",
    "python3",
    "util-linux",
)
NOT_IN_GUESTS = ("kubernetes",)  # 60 MB, and a guest does not have a cluster
NUMPY = "numpy<2.4"
"""Wheels of 2.4 and later need cmpxchg16b, which guests lack (machine.py)."""
WITHOUT = tuple(f"path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale"))


def root(cache: Path) -> AbstractContextManager[Path]:
    """The root of the guests with the dependencies of kzn and its tests, for the length of a block;
    built once for each set of dependencies.
    """
    return held(cache, "root", "\n".join((SUITE, *PACKAGES, *python_packages())), _build)


def _build(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        bootstrap(folder, PACKAGES, hooks=packages_hooks(Path(made)))


def packages_hooks(folder: Path) -> tuple[str, ...]:
    """Fetch the Python packages into a folder; returns hooks that copy them into a root."""
    _install(folder, python_packages())
    return (
        f'mkdir -p "$1/opt" && cp -a {folder} "$1/opt/packages" && chmod 0755 "$1/opt/packages"',
        'chroot "$1" python3 -m compileall -q -j 0 /opt/packages || true',
    )


def bootstrap(target: Path, packages: Sequence[str], hooks: Sequence[str] = ()) -> None:
    """Unpack Debian into a folder or archive; ``hooks`` are shell lines with the root in $1."""
    run(
        "mmdebstrap",
        "--variant=essential",
        f"--include={','.join(packages)}",
        f'--aptopt=Acquire::Retries "{RETRIES}"',
        *(f"--dpkgopt={line}" for line in WITHOUT),
        *(f"--customize-hook={hook}" for hook in hooks),
        SUITE,
        target,
        mirror(),
    )


def python_packages() -> list[str]:
    """The dependencies of kzn and its tests in pyproject.toml."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    project = settings["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["agent"], *extras["server"], *extras["tools"]]
    tests = [name for name in settings["dependency-groups"]["dev"] if name.startswith("pytest")]
    return [name for name in asked if not name.startswith(NOT_IN_GUESTS)] + [*tests, NUMPY]


def _install(folder: Path, names: Sequence[str]) -> None:
    pip = os.environ.get("KZN_PIP", f"{PROJECT}/.venv/bin/python -m pip").split()
    run(
        *pip,
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-compile",  # the guest's Python compiles them, which may have another version
        "--retries=5",
        f"--target={folder}",
        "--python-version=3.11",
        "--platform=manylinux_2_28_x86_64",
        "--platform=manylinux2014_x86_64",
        "--only-binary=:all:",
        *names,
    )
