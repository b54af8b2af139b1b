"""Findings about this process: libbpf, capabilities, bpffs and pins, memory limit."""

import os
from collections.abc import Iterator
from pathlib import Path

from kzn.agent.doctor.finding import Finding, Host, text_of
from kzn.agent.inspect.snapshot import ATTACHED
from kzn.agent.maps.buffers import count_entries
from kzn.agent.maps.memory import maps_bytes
from kzn.agent.pins.directory import is_note
from kzn.agent.pins.install import open_set
from kzn.errors import KernelError, UnsupportedError
from kzn.libbpf import library
from kzn.libbpf.capabilities import missing
from kzn.libbpf.pins import require_bpffs
from kzn.probes import support
from kzn.probes.declaration import Probe
from kzn.probes.settings import MAX_FLOWS, Settings

AGENT_BYTES = 80 << 20
"""Resident memory of an agent that drains a full buffer, 75 MiB, with a margin."""
NO_LIMIT = 1 << 60
NEARLY_FULL = 0.6
"""Of the hash; the alert KznMapNearlyFull has the same."""


def libbpf() -> Iterator[Finding]:
    """libbpf.so.1 and its version."""
    try:
        library.libbpf()
    except UnsupportedError as error:
        yield Finding("libbpf", "fail", error.message, error.hint)
        return
    yield Finding("libbpf", "ok", f"{library.LIBRARY} is {library.version()}")


def missing_capabilities(host: Host, probe: Probe) -> list[str]:
    """The capabilities that this process lacks."""
    status = (host.proc / "self/status").read_text()
    return missing(status, probe.capabilities)


def capabilities(host: Host, probe: Probe) -> Iterator[Finding]:
    """Whether this process may load and attach the probe."""
    if lacking := missing_capabilities(host, probe):
        message = f"this process lacks {', '.join(lacking)}"
        yield Finding("capabilities", "fail", message, "run as root or give it these capabilities")
        return
    held = ", ".join(probe.capabilities)
    yield Finding("capabilities", "ok", f"this process has {held}")


def trial_load(host: Host, probe: Probe) -> Iterator[Finding]:
    """Whether the kernel accepts the probe's programs, by loading them."""
    name = f"load {probe.name}"
    if missing_capabilities(host, probe):
        message = "not tried: this process lacks the capabilities to load programs"
        yield Finding(name, "unknown", message, "run as root")
        return
    found = support.examine(probe)
    if found.supported:
        yield Finding(name, "ok", f"the kernel accepts the programs of {probe.name}")
    else:
        yield Finding(name, "fail", found.reason, found.hint)


def bpffs(pin_dir: Path) -> Iterator[Finding]:
    """Whether links and maps can be pinned, and which sets are pinned."""
    try:
        require_bpffs(pin_dir)
    except UnsupportedError as error:
        yield Finding("bpffs", "fail", error.message, error.hint)
        return
    existing = next(path for path in [pin_dir, *pin_dir.absolute().parents] if _is_there(path))
    if not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        message = f"{existing} is on a bpf file system, but this process may not write to it"
        yield Finding("bpffs", "fail", message, "run as root; is it mounted read-only?")
        return
    yield Finding("bpffs", "ok", f"{pin_dir} is on a bpf file system and writable")
    yield _pinned(pin_dir)


def _pinned(pin_dir: Path) -> Finding:
    if not pin_dir.exists():
        return Finding("pins", "ok", f"nothing is pinned in {pin_dir}: no agent has run here")
    sets = {path.name: _attached(path) for path in sorted(pin_dir.iterdir()) if _is_set(path)}
    if not sets:
        return Finding("pins", "ok", f"nothing is pinned in {pin_dir}")
    idle = [name for name, number in sets.items() if not number and "+" not in name]
    if idle:
        message = f"{', '.join(idle)} in {pin_dir} is attached to no hook and counts nothing"
        return Finding("pins", "warn", message, "start kzn agent, or remove it by kzn detach")
    words = [f"{name} (on {number} hooks)" for name, number in sets.items()]
    return Finding("pins", "ok", f"pinned in {pin_dir}: {', '.join(words)}")


def _is_set(path: Path) -> bool:
    return path.is_dir() and not is_note(path.name)


def _attached(folder: Path) -> int:
    return sum(path.name.startswith(ATTACHED) for path in folder.iterdir())


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False
    return True


def memory(host: Host, max_flows: int = MAX_FLOWS) -> Iterator[Finding]:
    """Whether the cgroup's memory limit has room for an agent with full maps of so many flows."""
    maps = maps_bytes(Settings(max_flows=max_flows), possible_cpus(host), max_flows)
    full = AGENT_BYTES + sum(maps.values())
    limit = memory_limit(host)
    need = f"an agent with full maps needs {full >> 20} MiB"
    if limit is None:
        yield Finding("memory", "ok", f"this cgroup has no memory limit; {need}")
    elif limit < full:
        yield Finding(
            "memory",
            "warn",
            f"this cgroup's memory limit is {limit >> 20} MiB; {need}: other flows are missed",
            "raise the limit, or give kzn agent a smaller --max-flows",
        )
    else:
        yield Finding("memory", "ok", f"this cgroup's memory limit is {limit >> 20} MiB; {need}")


def pinned_flows(pin_dir: Path) -> int:
    """The most flows that a pinned set's hash holds; as by default without a set, or if denied."""
    found = []
    try:
        for folder in pin_dir.iterdir():
            if _is_set(folder) and (maps := open_set(folder)) is not None:
                with maps:
                    found.append(maps.capacity())
    except (OSError, KernelError):  # `bpffs` and `filled` report it
        pass
    return max(found, default=MAX_FLOWS)


def filled(pin_dir: Path) -> Iterator[Finding]:
    """How full the buffers of each pinned set are: bytes are missed when rows and hash are."""
    for folder in sorted(pin_dir.iterdir()) if pin_dir.exists() else []:
        maps = open_set(folder) if _is_set(folder) else None
        if maps is None:
            continue
        with maps:
            found = [count_entries(maps, buffer) for buffer in (0, 1)]
            rows, in_hash = max(each.rows for each in found), max(each.in_hash for each in found)
            capacity = maps.capacity()
            text = (
                f"the fuller buffer of {folder.name} has {rows} of {maps.row_capacity()} rows"
                f" and {in_hash} of {capacity} entries of the hash in use"
            )
        if in_hash > NEARLY_FULL * capacity:
            hint = "raise --max-flows, or see in the agent's log why batches wait for a server"
            yield Finding(f"filled {folder.name}", "warn", text, hint)
        else:
            yield Finding(f"filled {folder.name}", "ok", text)


def possible_cpus(host: Host) -> int:
    """How many CPUs the kernel has made room for, present or not; 1 if it does not tell."""
    ranges = text_of(host.sys / "devices/system/cpu/possible")
    if not ranges:
        return 1
    ends = [one.partition("-") for one in ranges.strip().split(",")]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ends)


def memory_limit(host: Host) -> int | None:
    """The lowest limit of this process's memory cgroup and its ancestors, in bytes."""
    limits = [limit for path in _memory_files(host) if (limit := _limit(text_of(path))) is not None]
    return min(limits, default=None)


def _memory_files(host: Host) -> Iterator[Path]:
    root = host.sys / "fs/cgroup"
    for line in (text_of(host.proc / "self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = Path(path)
        for above in [folder, *folder.parents]:
            yield base / above.relative_to("/") / name


def _limit(text: str | None) -> int | None:
    if text is None or not text.isdigit() or int(text) >= NO_LIMIT:
        return None
    return int(text)
