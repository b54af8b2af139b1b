"""Loads a probe's object and attaches its programs; the only place that knows kinds of hooks."""

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
from kzn.probes.declaration import ClsactHook, Hook, NetfilterHook, Probe, TcxHook
from kzn.probes.layout import BUFFERS, MAPS, SETTINGS, check
from kzn.probes.settings import Settings

__all__ = ["BUFFERS", "MAPS", "PROGRAM_TYPES", "attach", "attach_device", "load"]

log = logging.getLogger(__name__)

PROGRAM_TYPES: dict[type[Hook], tuple[int, int]] = {
    NetfilterHook: (PROG_TYPE_NETFILTER, ATTACH_TYPE_NETFILTER),
    TcxHook: (PROG_TYPE_SCHED_CLS, 0),  # where it is attached is said with the link
    ClsactHook: (PROG_TYPE_SCHED_CLS, 0),
}
"""Program type and expected attach type by kind of hook."""


@contextmanager
def load(
    probe: Probe, settings: Settings, reuse: Mapping[str, int] | None = None
) -> Iterator[BpfObject]:
    """The probe's programs and maps in the kernel for the length of the block.

    ``reuse`` names maps that exist already by their descriptors. KernelError, with the verifier's
    log, when the kernel refuses; KznError before that for an object that does not fit.
    """
    image = probe.image()
    check(probe, image)
    with BpfObject(image, probe.name) as loaded:
        loaded.require_programs(hook.program for hook in probe.hooks)
        loaded.set_program_type(*PROGRAM_TYPES[type(probe.hooks[0])])
        loaded.set_constant(SETTINGS, settings.constants())
        for name in BUFFERS:
            loaded.size(name, settings.key_size, settings.max_flows)
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
    said = error.message.rpartition("\nprocessed ")[0].rpartition("\n")[2]
    return UnsupportedError(
        f"probe {probe.name}: this process lacks CAP_PERFMON, and this kernel refuses its program",
        hint=f"run as root or give it this capability; the verifier says: {said or error.message}",
    )


def attach(probe: Probe, hook: NetfilterHook, loaded: BpfObject) -> int:
    """Attach one hook at the first free of its priorities; a link's descriptor.

    KernelError when all are taken, or for any other reason at once.
    """
    what = f"{probe.name}/{hook.name}"
    program = loaded.program_fd(hook.program)
    for priority in hook.priorities:
        try:
            fd = attach_netfilter(program, hook.family, hook.hook, priority, what)
        except KernelError as error:
            if error.errno != errno.EBUSY:
                raise
            log.warning("%s; trying the next", error.message)
            continue
        log.info("attached %s at priority %d", what, priority)
        return fd
    raise KernelError(
        f"attach {what}: priorities {hook.priorities[0]} to {hook.priorities[-1]} are all taken",
        errno=errno.EBUSY,
        hint="is another kzn attached? kzn detach removes a pinned one; bpftool link lists all",
    )


def attach_device(probe: Probe, hook: TcxHook, program: int, index: int, device: str) -> int:
    """Attach a program, by its descriptor, to one device; a link's descriptor."""
    fd = attach_tcx_egress(program, index, f"{probe.name}/{hook.name} to {device}")
    log.info("attached %s/%s to %s", probe.name, hook.name, device)
    return fd
