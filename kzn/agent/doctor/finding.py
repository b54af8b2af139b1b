"""A finding: one thing that was looked at, how it is, and what to do. Where to look: `Host`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kzn.errors import KznError

State = Literal["ok", "warn", "fail", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``fail``: kzn cannot count here. ``warn``: it counts, but not all or not in full.

    ``message`` is one sentence, ``hint`` what to do; empty when there is nothing to do.
    """

    name: str
    state: State
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """The file systems through which a kernel tells of itself, and where others leave traces."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    run: Path = Path("/var/run")
    modules: Path = Path("/lib/modules")

    def sysctl(self, name: str) -> str | None:
        """The value of ``net/core/bpf_jit_enable`` and the like; None where there is none."""
        return text_of(self.proc / "sys" / name)

    def has_module(self, name: str) -> bool:
        """Whether a module is loaded; of one that is built in there may be no trace."""
        return (self.sys / "module" / name).exists()


def text_of(path: Path) -> str | None:
    """What is in a small file; None when there is none. PermissionError when it may not be read."""
    try:
        return path.read_text(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def looked(name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a check; what keeps it from looking is a finding as well."""
    try:
        yield from check()
    except PermissionError as error:
        message = f"could not be looked at: {error.filename or name}: {error.strerror}"
        yield Finding(name, "unknown", message, "run as root")
    except OSError as error:
        yield Finding(name, "unknown", f"could not be looked at: {error}")
    except KznError as error:
        sentence = error.message.partition("\n")[0]
        yield Finding(name, "unknown", f"could not be looked at: {sentence}", error.hint)
