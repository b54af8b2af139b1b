"""Drops the capabilities that only loading and attaching a probe took.

In: an attached probe and its maps.
Out: a process without the capabilities that the running agent does not need, and unable to regain
them. Never: drops what this kernel demands later, which is found by trying, not by its version.
"""

import errno
import logging
import threading

from kzn.agent.maps.mapset import MapSet, fence_map
from kzn.errors import KernelError
from kzn.libbpf import capabilities
from kzn.probes.declaration import Probe

log = logging.getLogger(__name__)

ENDING_SECONDS = 1.0
"""For threads that are about to end: asyncio's, which found the uplinks."""


def drop_capabilities(probe: Probe, maps: MapSet) -> None:
    """Keep what hooks of the probe's kind need, for good; KernelError when the kernel refuses.

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
    capabilities.give_up_all_but(kept)
    _log(kept)


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


def _log(kept: int) -> None:
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
