"""Linux capabilities: read from /proc, compared with what is needed, and given up for good."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kzn.errors import KernelError
from kzn.libbpf.library import errno_text, ffi, libc

NUMBERS = {
    "CAP_SETPCAP": 8,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_ADMIN": 21,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
"""include/uapi/linux/capability.h; any other capability is shown by its number."""
IMPLIED = {"CAP_BPF": "CAP_SYS_ADMIN", "CAP_PERFMON": "CAP_SYS_ADMIN"}
"""The kernel takes the second for the first (include/linux/capability.h: bpf_capable)."""
TASKS = Path("/proc/self/task")
THREAD = Path("/proc/thread-self/status")

VERSION_3 = 0x20080522  # include/uapi/linux/capability.h: two words of 32 bits in each set
WORDS = 2
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
"""include/uapi/linux/prctl.h."""


@dataclass(frozen=True, slots=True)
class Sets:
    """The five sets of a thread, capability N as bit N (capabilities(7))."""

    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int

    @property
    def usable(self) -> int:
        """Capabilities that it has or can acquire: all sets but the bounding set."""
        return self.inheritable | self.permitted | self.effective | self.ambient


def read(status: Path = THREAD) -> Sets:
    """The sets in a status file of /proc, by default of this thread."""
    text = status.read_text()
    return Sets(*(_set_in(text, name) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")))


def missing(status: str, needed: Collection[str]) -> list[str]:
    """Names of the needed capabilities that a /proc status file does not show as effective."""
    effective = _set_in(status, "Eff")
    held = {name for name, number in NUMBERS.items() if effective >> number & 1}
    return [name for name in needed if not held & {name, IMPLIED.get(name)}]


def threads() -> dict[int, Sets]:
    """The sets of every thread of this process."""
    found = {}
    for task in TASKS.iterdir():
        try:
            found[int(task.name)] = read(task / "status")
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
    return found


def mask(names: Iterable[str]) -> int:
    """Capabilities by name as a set."""
    return sum(1 << NUMBERS[name] for name in set(names))


def text(held: int) -> str:
    """A set as messages show it: "CAP_BPF, CAP_NET_ADMIN", "none"."""
    by_number = {number: name for name, number in NUMBERS.items()}
    numbers = [number for number in range(64) if held >> number & 1]
    return ", ".join(sorted(by_number.get(n, f"capability {n}") for n in numbers)) or "none"


@contextmanager
def only(kept: int) -> Iterator[None]:
    """Drop all effective capabilities but ``kept`` for the length of the block."""
    before = read()
    _set(before.permitted & kept, before.permitted, before.inheritable)
    try:
        yield
    finally:
        _set(before.effective, before.permitted, before.inheritable)


def give_up_all_but(kept: int, unused: int = 0) -> None:
    """Keep only ``kept`` in this thread and in all threads and processes that it starts later.

    ``unused`` are kept too, but not effective: this thread has them again after `use_all`.

    For good: execve(2) gives nothing back (PR_SET_NO_NEW_PRIVS), neither to set-user-ID files nor
    to root. The bounding set is cut only if this thread has CAP_SETPCAP, which the kernel demands.
    What was not permitted before is not kept. KernelError when the kernel refuses.
    """
    before = read()
    kept &= before.permitted
    unused &= before.permitted
    _prctl("forbid new privileges", PR_SET_NO_NEW_PRIVS, 1)
    if before.effective & mask(["CAP_SETPCAP"]):
        for number in range(64):
            if before.bounding & ~(kept | unused) & 1 << number:
                _prctl(f"drop {text(1 << number)}", PR_CAPBSET_DROP, number)
    _prctl("clear the ambient capabilities", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    _set(kept, kept | unused, kept)
    for number in range(64):
        if kept & 1 << number:  # so that a child has it that is not root
            _prctl(f"hand on {text(kept)}", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)


def use_all() -> None:
    """Make all that is permitted effective, also for a program that replaces this one."""
    held = read().permitted
    _set(held, held, held)
    for number in range(64):
        if held & 1 << number:
            _prctl(f"hand on {text(held)}", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)


def _set_in(status: str, name: str) -> int:
    line = next(line for line in status.splitlines() if line.startswith(f"Cap{name}:"))
    return int(line.split()[1], 16)


def _set(effective: int, permitted: int, inheritable: int) -> None:
    header = ffi.new("struct kzn_capability_header *", [VERSION_3, 0])
    data = ffi.new(f"struct kzn_capability_data[{WORDS}]")
    for word in range(WORDS):
        data[word].effective = effective >> 32 * word & 0xFFFFFFFF
        data[word].permitted = permitted >> 32 * word & 0xFFFFFFFF
        data[word].inheritable = inheritable >> 32 * word & 0xFFFFFFFF
    _check(libc().capset(header, data), f"set the capabilities to {text(effective)}")


def _prctl(what: str, option: int, *arguments: int) -> None:
    padded = (*arguments, *[0] * (4 - len(arguments)))
    _check(libc().prctl(option, *(ffi.cast("unsigned long", value) for value in padded)), what)


def _check(result: int, what: str) -> None:
    if result < 0:
        code = int(ffi.errno)
        raise KernelError(f"{what}: {errno_text(code)}", errno=code)
