"""Whether this kernel and process can run a probe: by the kernel's features, never its version."""

from dataclasses import dataclass
from pathlib import Path

from kzn.errors import KznError, UnsupportedError
from kzn.libbpf import capabilities
from kzn.libbpf.library import libbpf
from kzn.probes.attach import load
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings

BTF = Path("/sys/kernel/btf/vmlinux")
STATUS = Path("/proc/self/status")
READ_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a probe can run here; if not, the reason in one sentence, and what to do."""

    supported: bool
    reason: str
    hint: str = ""


def require(probe: Probe) -> None:
    """UnsupportedError with the first thing that is missing, before anything is loaded."""
    libbpf()
    if not BTF.exists():
        raise UnsupportedError(
            f"probe {probe.name}: this kernel has no BTF ({BTF} does not exist)",
            hint="it needs a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        )
    names = [feature.btf_type.encode() for feature in probe.features]
    missing_types = set(names) - btf_names(BTF, names)
    for feature in probe.features:
        if feature.btf_type.encode() in missing_types:
            raise UnsupportedError(
                f"probe {probe.name}: this kernel has no {feature.meaning}", hint=feature.hint
            )
    missing = capabilities.missing(STATUS.read_text(), probe.capabilities)
    if missing:
        raise UnsupportedError(
            f"probe {probe.name}: this process lacks {', '.join(missing)}",
            hint="run as root or give it these capabilities",
        )


def examine(probe: Probe) -> Support:
    """Check the requirements, then load the probe's programs for a moment; nothing is attached."""
    try:
        require(probe)
        with load(probe, Settings()):
            pass
    except KznError as error:
        sentence, _, log = error.message.partition("\n")  # the verifier's log follows
        return Support(supported=False, reason=sentence, hint=log or error.hint)
    return Support(supported=True, reason="loads on this kernel")


def btf_names(path: Path, names: list[bytes]) -> set[bytes]:
    """Which of the names are in a BTF file's string section, each between NUL bytes.

    The file, 5 MB and more, is read in chunks to save memory.
    """
    found: set[bytes] = set()
    overlap = max((len(name) for name in names), default=0) + 2
    tail = b""
    with path.open("rb") as file:
        while chunk := file.read(READ_CHUNK):
            window = tail + chunk
            found |= {name for name in names if b"\0" + name + b"\0" in window}
            tail = window[-overlap:]
    return found
