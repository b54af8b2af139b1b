"""Runs work on every CPU at once, each in a process that stays on it; switches CPUs on and off."""

import mmap
import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

SYSFS = Path("/sys/devices/system/cpu")


def cpu_list(name: str) -> list[int]:
    """The numbers in a file of `SYSFS`: online, present or possible."""
    found: list[int] = []
    for part in filter(None, (SYSFS / name).read_text().strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def switch(cpus: Iterable[int], *, on: bool) -> None:
    """Take CPUs on line or off line, as an administrator or a hypervisor does."""
    for cpu in cpus:
        (SYSFS / f"cpu{cpu}" / "online").write_text(str(int(on)))


@contextmanager
def all_on_line() -> Iterator[list[int]]:
    """All present CPUs are on line at the end of the block, as at its beginning."""
    present = cpu_list("present")
    _complete(present)
    try:
        yield present
    finally:
        _complete(present)


def _complete(present: list[int]) -> None:
    switch(sorted(set(present) - set(cpu_list("online"))), on=True)


def on_every_cpu(
    cpus: Iterable[int], work: Callable[[int], float | None]
) -> npt.NDArray[np.float64]:
    """The results of ``work`` with the number of each CPU, called at once in a process on each.

    AssertionError when one of the processes fails.
    """
    each = list(cpus)
    with mmap.mmap(-1, 8 * len(each)) as shared:
        waiting, gate = os.pipe()
        children = []
        for number, cpu in enumerate(each):
            child = os.fork()
            if not child:
                os.close(gate)
                _child(shared, number, cpu, waiting, work)
            children.append(child)
        os.close(waiting)
        os.close(gate)  # the end of the pipe lets all children begin
        failed = [cpu for cpu, pid in zip(each, children, strict=True) if os.waitpid(pid, 0)[1]]
        assert not failed, f"work on CPUs {failed} failed"
        return np.frombuffer(shared[:], np.float64)


def _child(
    shared: mmap.mmap,
    number: int,
    cpu: int,
    waiting: int,
    work: Callable[[int], float | None],
) -> None:
    """Ends the process."""
    status = 1
    try:
        os.sched_setaffinity(0, {cpu})
        os.read(waiting, 1)
        shared[8 * number : 8 * number + 8] = np.float64(work(cpu) or 0.0).tobytes()
        status = 0
    except BaseException:  # noqa: BLE001 # this process must not go on as a second test run
        traceback.print_exc()
    finally:
        os._exit(status)
