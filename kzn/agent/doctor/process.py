"""Findings about this process: libbpf, capabilities, bpffs and pins, memory limit."""

import os
from collections.abc import Iterator
from pathlib import Path

from kzn.agent.doctor.finding import Finding, Host, text_of
from kzn.agent.inspect.snapshot import ATTACHED
from kzn.agent.maps.structs import ROW_SIZE
from kzn.agent.pins.directory import is_note
from kzn.errors import UnsupportedError
from kzn.libbpf import library
from kzn.libbpf.capabilities import missing
from kzn.libbpf.pins import require_bpffs
from kzn.probes import support
from kzn.probes.declaration import Probe
from kzn.probes.settings import MAX_FLOWS, Settings

AGENT_BYTES = 48 << 20
"""Resident memory of an agent, with a margin."""
NO_LIMIT = 1 << 60


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


def memory(host: Host) -> Iterator[Finding]:
    """Whether the cgroup's memory limit has room for an agent with full maps."""
    full = AGENT_BYTES + maps_bytes(MAX_FLOWS)
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


def maps_bytes(max_flows: int) -> int:
    """Bytes of both buffers when full: rows, buckets and entries of the hash.

    The number of CPUs does not matter. An entry is htab_elem, key and value, and what the allocator
    adds (kernel/bpf/hashtab.c).
    """
    entry, bucket = 136, 16
    places = 1 << (max_flows - 1).bit_length()
    return 2 * (Settings(max_flows=max_flows).rows * ROW_SIZE + places * bucket + max_flows * entry)


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
