"""Drops the capabilities that only loading and attaching a probe took.

In: an attached probe and its maps.
Out: a process without the capabilities that the running agent does not need, and unable to regain
them, unless it shall be able to select another probe.
Never: drops what this kernel demands later, which is found by trying, not by its version.
"""

import errno
import logging
import os
import sys
import threading

from kzn.agent.maps.mapset import MapSet, fence_map
from kzn.daemon.stop_flag import StopFlag, block_signals
from kzn.errors import KernelError
from kzn.libbpf import capabilities
from kzn.probes.declaration import Probe

log = logging.getLogger(__name__)

ENDING_SECONDS = 1.0
"""For threads that are about to end: asyncio's, which found the uplinks."""


LOADING = ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_SYS_ADMIN")
"""What the start of an agent may take; the last stands for the first and the third."""


def drop_capabilities(probe: Probe, maps: MapSet, *, for_switch: bool = False) -> None:
    """Keep what hooks of the probe's kind need, for good; KernelError when the kernel refuses.

    With ``for_switch`` the process keeps what it has of `LOADING`, but not effective.

    Each thread that runs already and keeps its capabilities is logged.
    """
    fence_map()  # the last map that the agent creates
    kept = capabilities.mask(probe.kind.kept_capabilities)
    if not _reads_without_capabilities(maps):
        kept |= capabilities.mask(["CAP_BPF"])
    if capabilities.missing(capabilities.THREAD.read_text(), ["CAP_PERFMON"]):
        log.warning(
            "probe %s runs slower without CAP_PERFMON: the kernel then adds checks to its program",
            probe.name,
        )
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(ENDING_SECONDS)
    unused = capabilities.mask(LOADING) & ~kept if for_switch else 0
    capabilities.give_up_all_but(kept, unused)
    _log(kept | unused, unused)


def start_again(stop: StopFlag) -> None:
    """Replace this program by a new start of it, in the same process, with all it has.

    Returns if a signal asked the process to stop; OSError when the kernel refuses.
    """
    block_signals()
    if stop.is_set:
        return
    capabilities.use_all()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - itself


def _reads_without_capabilities(maps: MapSet) -> bool:
    """Before Linux 5.19 bpf(2) refuses every command without the capability to load programs."""
    with capabilities.only(0):
        try:
            maps.active()
        except KernelError as error:
            if error.errno != errno.EPERM:
                raise
            return False
    return True


def _log(kept: int, unused: int) -> None:
    if held := unused & capabilities.read().permitted:
        log.info(
            "capabilities kept for a switch of the probe, not in use: %s", capabilities.text(held)
        )
    bounding = capabilities.read().bounding
    log.info(
        "capabilities kept: %s; new privileges: none%s",
        capabilities.text(capabilities.read().permitted),
        f" (bounding set, which only CAP_SETPCAP can cut: {capabilities.text(bounding)})"
        if bounding & ~kept
        else "",
    )
    for number, sets in capabilities.threads().items():
        if sets.usable & ~kept:
            log.error(
                "thread %d keeps %s: it ran before the agent dropped them; check whether a"
                " probe's module starts threads",
                number,
                capabilities.text(sets.usable),
            )
