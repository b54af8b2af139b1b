"""Gives up, once a probe is attached, what only loading and attaching it took.

In: an attached probe and its maps.
Out: a process in which no thread can do more than follow the uplinks, and none can get more.
Never: a capability given up that this kernel asks for later on; that is tried, not looked up.
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
"""For threads that asked netlink for the uplinks, which have done their work."""


def drop_capabilities(probe: Probe, maps: MapSet) -> None:
    """Keep what `KEPT` says and nothing else, for good; KernelError when the kernel refuses.

    Threads that run already would keep all: each of them is one line in the log.
    """
    fence_map()  # the last map that is made
    kept = capabilities.mask(probe.kind.kept_capabilities)
    if not _reads_without_capabilities(maps):
        kept |= capabilities.mask(["CAP_BPF"])
    if capabilities.missing(capabilities.THREAD.read_text(), ["CAP_PERFMON"]):
        log.warning("without CAP_PERFMON the kernel slows %s's program down", probe.name)
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(ENDING_SECONDS)
    capabilities.give_up_all_but(kept)
    _tell(kept)


def _reads_without_capabilities(maps: MapSet) -> bool:
    """Before Linux 5.19 bpf(2) had no command at all for whoever may not load programs."""
    with capabilities.only(0):
        try:
            maps.active()
        except KernelError as error:
            if error.errno != errno.EPERM:
                raise
            return False
    return True


def _tell(kept: int) -> None:
    bounding = capabilities.read().bounding
    log.info(
        "capabilities kept: %s; new privileges: none%s",
        capabilities.text(capabilities.read().permitted),
        f" (bounding set, which takes CAP_SETPCAP to cut: {capabilities.text(bounding)})"
        if bounding & ~kept
        else "",
    )
    for number, sets in capabilities.threads().items():
        if sets.usable & ~kept:
            log.error(
                "thread %d ran before and keeps %s: did the module of a probe start it?",
                number,
                capabilities.text(sets.usable),
            )
