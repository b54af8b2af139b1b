"""Runs the steps of the Containerfile without a container engine, in chroots made by mmdebstrap.

Reads the instructions, creates the base of each stage with mmdebstrap, runs each RUN in a chroot,
copies each COPY, and then starts the result on a read-only root: ``kzn --version``, ``kzn agent
--print`` in its own network namespace, and ``kzn server`` as the user of USER. Needs root,
mmdebstrap, and access to Debian, PyPI and npm. Removes everything that it created.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
READY_SECONDS = 30.0
AS_AGENT = [
    *("setpriv", "--no-new-privs", "--inh-caps=-all"),
    "--bounding-set=-all,+bpf,+net_admin,+perfmon",
]
"""The capabilities that the manifest gives the agent."""
TOPOLOGY = "nodes:\n  - {name: n1, zone: a, region: r, addresses: [10.0.0.1]}\npods: []\n"


@dataclass(slots=True)
class Stage:
    """One FROM with the instructions that follow it."""

    image: str
    name: str
    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)


def instructions(path: Path) -> Iterator[tuple[str, str]]:
    """Keyword and arguments of each instruction, without comments and line breaks."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run a command; exit with its output if it fails."""
    done = subprocess.run(
        command, env=env, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout}image-check: failed: {shlex.join(map(str, command))}")


@contextmanager
def mounted(stage: Stage) -> Iterator[None]:
    """Mount what an engine provides: /proc, /dev, read-only /sys, names and certificates."""
    with ExitStack() as stack:
        for kind, options, target in (("proc", "", "proc"), ("sysfs", "-oro", "sys")):
            folder = stage.root / target
            run("mount", "-t", kind, *([options] if options else []), kind, folder)
            stack.callback(run, "umount", "-l", folder)
        run("mount", "--rbind", "--make-rslave", "/dev", stage.root / "dev")
        stack.callback(run, "umount", "-l", stage.root / "dev")
        shutil.copy("/etc/resolv.conf", stage.root / "etc" / "resolv.conf")
        trusted = stage.root / "run" / "trusted.crt"
        if BUNDLE.exists():
            shutil.copy(BUNDLE, trusted)
            stack.callback(trusted.unlink)
        yield


def inside(stage: Stage, *command: str, user: str = "0:0") -> list[str]:
    """The command line to run a command in a stage."""
    return ["chroot", f"--userspec={user}", "--groups=", str(stage.root), *command]


def variables(stage: Stage) -> dict[str, str]:
    """The environment inside: only that of the image."""
    plain = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"}
    return plain | stage.environment


def base(image: str, folder: Path, cache: dict[str, Path]) -> Path:
    """A root file system like that of a Debian slim image, cached by suite."""
    suite = re.fullmatch(r"debian:(\w+)-slim", image)
    if suite is None:
        sys.exit(f"image-check: {image} cannot be made by mmdebstrap")
    if image not in cache:
        cache[image] = folder / "base"
        include = "--include=ca-certificates"  # apt in the chroot uses https if the host's apt does
        options = ["--variant=minbase", "--mode=root", "--quiet", include]
        run("mmdebstrap", *options, suite[1], cache[image])
    root = Path(tempfile.mkdtemp(prefix="stage-", dir=folder))
    run("cp", "-a", "--reflink=auto", f"{cache[image]}/.", root)
    return root


def build(folder: Path) -> Stage:
    """Run the Containerfile; returns the last stage."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    cache: dict[str, Path] = {}
    for word, rest in instructions(ROOT / "Containerfile"):
        text = re.sub(r"\$\{(\w+)\}", lambda match: arguments.get(match[1], match[0]), rest)
        print(f"image-check: {word} {text[:90]}", flush=True)
        if word == "ARG":
            name, _, value = text.partition("=")
            arguments[name] = value
        elif word == "FROM":
            image, _, name = text.removeprefix("--platform=$BUILDPLATFORM ").partition(" AS ")
            stages.append(Stage(image, name, base(image, folder, cache)))
        else:
            step(word, text, stages)
    return stages[-1]


def step(word: str, text: str, stages: list[Stage]) -> None:
    """Run one instruction in the newest stage."""
    stage = stages[-1]
    if word == "RUN":
        environment = variables(stage)
        if BUNDLE.exists():
            environment |= dict.fromkeys(("PIP_CERT", "NODE_EXTRA_CA_CERTS"), "/run/trusted.crt")
        with mounted(stage):
            run(*inside(stage, "/bin/sh", "-c", text), env=environment)
    elif word == "COPY":
        copy(shlex.split(text), stages)
    elif word == "ENV":
        stage.environment |= dict(pair.split("=", 1) for pair in shlex.split(text))
    elif word == "USER":
        stage.user = text
    elif word == "ENTRYPOINT":
        stage.entrypoint = re.findall(r'"([^"]*)"', text)
    elif word not in ("LABEL", "CMD"):
        sys.exit(f"image-check: {word} is an instruction that this rehearsal does not know")


def copy(words: list[str], stages: list[Stage]) -> None:
    """COPY [--from=STAGE] SOURCE... TARGET; copies the content of a folder, as engines do."""
    origin = ROOT
    if words[0].startswith("--from="):
        name = words.pop(0).removeprefix("--from=")
        origin = next(stage.root for stage in stages if stage.name == name)
    *sources, target = words
    goal = Path(f"{stages[-1].root}{target}")
    for source in sources:
        found = Path(f"{origin}/{source.lstrip('/')}")
        if found.is_dir():
            ignore = shutil.ignore_patterns("__pycache__") if origin is ROOT else None
            shutil.copytree(found, goal, symlinks=True, ignore=ignore, dirs_exist_ok=True)
        else:
            goal.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, goal)


def expect(stage: Stage, wanted: str, *arguments: str, is_agent: bool = False) -> None:
    """Run ``kzn ARGUMENTS`` on a read-only root until it prints the expected text."""
    command = [*stage.entrypoint, *arguments]
    if is_agent:
        command = inside(stage, *AS_AGENT, *command)
    else:
        command = inside(stage, *command, user=stage.user)
    with subprocess.Popen(
        ["unshare", "--net", "--", *command],
        env=variables(stage),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        deadline = time.monotonic() + READY_SECONDS
        text = ""
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            for line in process.stdout:
                text += line
                if wanted in text or time.monotonic() > deadline:
                    break
        finally:
            process.terminate()
    if wanted not in text:
        sys.exit(f"image-check: kzn {shlex.join(arguments)} did not print {wanted!r}:\n{text}")


def start_daemons(stage: Stage) -> None:
    """Start both daemons from the image as the manifests do."""
    (stage.root / "run" / "topology.yaml").write_text(TOPOLOGY)
    with mounted(stage):
        run("mount", "--rbind", stage.root, stage.root)  # with the mounts inside
        run("mount", "-o", "remount,bind,ro", stage.root)
        try:
            expect(stage, "kzn ", "--version")
            expect(stage, "attached postrouting/ipv6", "agent", "--print", is_agent=True)
            expect(stage, "8080", "server", "--topology", "/run/topology.yaml")
        finally:
            run("umount", "-l", stage.root)


def size_mib(root: Path) -> int:
    """Size of the files in MiB."""
    done = subprocess.run(["du", "-sxm", root], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def main() -> None:
    """Build, start, measure and remove the image."""
    print("image-check: takes some minutes, fetches from Debian and PyPI", flush=True)
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="kzn-image-"))
    try:
        stage = build(folder)
        start_daemons(stage)
        size, ours = size_mib(stage.root), size_mib(stage.root / "opt" / "kzn")
    finally:
        run("rm", "-rf", "--one-file-system", folder)
    seconds = time.monotonic() - started
    print(f"image-check: passed; {size} MiB unpacked, {ours} of them kzn, {seconds:.0f} s")


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("image-check: needs root")
    if sys.argv[1:] != ["--unshared"]:  # private mounts, removed with this process
        alone = ["unshare", "--mount", "--propagation", "private", "--", sys.executable]
        os.execvp(alone[0], [*alone, __file__, "--unshared"])  # noqa: S606 - no shell is wanted
    main()
