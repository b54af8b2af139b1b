"""Loads a probe's object into the kernel and attaches its programs."""

import errno
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kzn.errors import KernelError, KznError, UnsupportedError
from kzn.libbpf import capabilities
from kzn.libbpf.links import (
    ATTACH_TYPE_NETFILTER,
    PROG_TYPE_NETFILTER,
    PROG_TYPE_SCHED_CLS,
    attach_netfilter,
    attach_tcx_egress,
)
from kzn.libbpf.objects import BpfObject
from kzn.probes.declaration import DeviceHook, NetfilterHook, Probe, ProgramType
from kzn.probes.layout import BUFFERS, ENDPOINTS, MAPS, SETTINGS, check
from kzn.probes.settings import Settings

__all__ = ["BUFFERS", "MAPS", "attach", "attach_device", "load"]

log = logging.getLogger(__name__)

PROGRAM_TYPES: dict[ProgramType, tuple[int, int]] = {
    "netfilter": (PROG_TYPE_NETFILTER, ATTACH_TYPE_NETFILTER),
    "sched_cls": (PROG_TYPE_SCHED_CLS, 0),  # its attach type is given with the link
}
"""The kernel's program type and expected attach type."""

SHOWN = 10
"""Taken priorities that a log line names."""


@contextmanager
def load(
    probe: Probe, settings: Settings, reuse: Mapping[str, int] | None = None
) -> Iterator[BpfObject]:
    """The probe's programs and maps in the kernel for the length of the block.

    ``reuse`` has descriptors of existing maps by name. KznError for an object that does not fit
    this kzn, before it is loaded; KernelError, with the verifier's log, when the kernel refuses.
    """
    image = probe.image()
    check(probe, image)
    with BpfObject(image, probe.name) as loaded:
        loaded.require_programs(name for hook in probe.hooks for name in hook.programs)
        loaded.set_program_type(*PROGRAM_TYPES[probe.kind.program_type])
        loaded.set_constant(SETTINGS, settings.constants())
        loaded.size("rows", 2 * settings.rows)
        for name in BUFFERS:
            loaded.size(name, settings.max_flows)
        if settings.ports == "none":  # programs then ask for no endpoint, and add none
            loaded.size(ENDPOINTS, 1)
        for name, fd in (reuse or {}).items():
            loaded.reuse(name, fd)
        try:
            loaded.load()
        except KernelError as error:
            raise _explained(probe, error) from error
        yield loaded


def _explained(probe: Probe, error: KernelError) -> KznError:
    """Older verifiers refuse more programs of a process without CAP_PERFMON than newer ones do."""
    lacks = capabilities.missing(capabilities.THREAD.read_text(), ["CAP_PERFMON"])
    if error.errno not in (errno.EACCES, errno.EPERM) or not lacks:
        return error
    last_line = error.message.rpartition("\nprocessed ")[0].rpartition("\n")[2]
    return UnsupportedError(
        f"probe {probe.name}: this kernel refuses its program to a process without CAP_PERFMON",
        hint="run as root or give it this capability; the verifier's reason: "
        f"{last_line or error.message}",
    )


def attach(probe: Probe, hook: NetfilterHook, program: int) -> int:
    """Attach a program, by its descriptor, at the first free one of the hook's priorities.

    Returns the link's descriptor. KernelError when all are taken, or for any other error of the
    first attempt that fails.
    """
    what = f"{probe.name}/{hook.name}"
    taken: list[str] = []
    for priority in hook.priorities:
        try:
            fd = attach_netfilter(program, hook.family, hook.hook, priority, what)
        except KernelError as error:
            if error.errno != errno.EBUSY:
                raise
            taken.append(str(priority))
            continue
        if taken:
            more = f" and {len(taken) - SHOWN} more" if len(taken) > SHOWN else ""
            log.info(
                "other programs have priority %s%s of %s", ", ".join(taken[:SHOWN]), more, what
            )
        log.info("attached %s at priority %d", what, priority)
        return fd
    lowest, highest = min(hook.priorities), max(hook.priorities)
    raise KernelError(
        f"attach {what}: priorities {lowest} to {highest} are all taken",
        errno=errno.EBUSY,
        hint="bpftool link lists the programs there; kzn detach removes those that kzn has pinned",
    )


def attach_device(probe: Probe, hook: DeviceHook, program: int, index: int, device: str) -> int:
    """Attach a program, by its descriptor, to one device's tcx; returns the link's descriptor."""
    fd = attach_tcx_egress(program, index, f"{probe.name}/{hook.name} to {device}")
    log.info("attached %s/%s to %s", probe.name, hook.name, device)
    return fd
