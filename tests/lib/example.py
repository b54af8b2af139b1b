"""The example package of docs/examples, installed by pip without a network."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "docs" / "examples" / "kzn-probe-marked"
LIMIT = 120


def install(source: Path, folder: Path) -> Path:
    """Build and unpack a package with pip, without dependencies; the folder for sys.path."""
    need("hatchling")
    copy, site = folder / "source", folder / "site"
    wanted = (
        "pyproject.toml",
        "hatch_build.py",
        "README.md",
        "LICENSE",
        "kzn",
        "kzn_probe_marked",
        "kzn_sink_nats",
        "bpf",
    )
    copy.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_dir() and path.name in wanted:
            shutil.copytree(path, copy / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.name in wanted:
            shutil.copy(path, copy)
    options = [
        "--no-compile",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
    ]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    run([*pip, *options, str(copy)], KZN_PAGE="none")  # the page needs npm
    return site


def need(module: str) -> None:
    """Skip the test if a module needed to build packages is not installed."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: it is in the dependency group dev")


def run(command: list[str], **environment: str) -> str:
    """The stdout of a command; the test fails with its output if its exit code is not 0."""
    done = subprocess.run(
        command,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
