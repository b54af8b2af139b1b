"""A finding: what was checked, its state, and what to do. `Host`: where to look."""

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
    """The directories in which the kernel and other software expose their state."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    run: Path = Path("/var/run")
    modules: Path = Path("/lib/modules")

    def sysctl(self, name: str) -> str | None:
        """A value such as ``net/core/bpf_jit_enable``; None when it does not exist."""
        return text_of(self.proc / "sys" / name)

    def has_module(self, name: str) -> bool:
        """Whether a module is loaded; one that is built in may be invisible."""
        return (self.sys / "module" / name).exists()


def text_of(path: Path) -> str | None:
    """The text of a small file; None when it does not exist. PermissionError if it is denied."""
    try:
        return path.read_text(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def checked(name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a check; an error that ends it is a finding as well."""
    try:
        yield from check()
    except PermissionError as error:
        message = f"could not be checked: {error.filename or name}: {error.strerror}"
        yield Finding(name, "unknown", message, "run as root")
    except OSError as error:
        yield Finding(name, "unknown", f"could not be checked: {error}")
    except KznError as error:
        sentence = error.message.partition("\n")[0]
        yield Finding(name, "unknown", f"could not be checked: {sentence}", error.hint)
