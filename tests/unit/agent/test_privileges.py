"""What an agent gives up, in processes of their own; tests/kernel/test_capabilities.py has all."""

import subprocess
import sys

import pytest

from kzn.libbpf import capabilities

HEAD = """
import logging, sys, threading
from dataclasses import replace
from kzn.agent import privileges
from kzn.errors import KernelError
from kzn.libbpf import capabilities
from kzn.probes.{probe} import PROBE
logging.basicConfig(format="%(message)s", level="INFO", stream=sys.stdout)

class Maps:
    def active(self):
        if {old_kernel} and not capabilities.read().effective:
            raise KernelError("read entry 0 of map control: EPERM", errno=1)
        return 0

def drop():
    privileges.drop_capabilities(PROBE, Maps())
    print(capabilities.text(capabilities.read().usable))
"""


def run(script: str, probe: str = "postrouting", *, old_kernel: bool = False) -> list[str]:
    """The lines of a process of its own that runs a script with `drop` at hand."""
    head = HEAD.format(probe=probe, old_kernel=old_kernel)
    done = subprocess.run(
        [sys.executable, "-c", head + script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


def is_able() -> bool:
    wanted = capabilities.mask(["CAP_SETPCAP", "CAP_NET_ADMIN", "CAP_BPF"])
    return capabilities.read().effective & wanted == wanted


pytestmark = pytest.mark.skipif(not is_able(), reason="it takes root to have something to give up")


def test_nothing_is_left_and_the_log_says_so() -> None:
    assert run("drop()") == ["capabilities kept: none; new privileges: none", "none"]


def test_filters_by_netlink_need_one() -> None:
    said = run("drop()", "clsact")
    assert said == ["capabilities kept: CAP_NET_ADMIN; new privileges: none", "CAP_NET_ADMIN"]


def test_on_a_kernel_where_maps_cannot_be_read_without_the_capability_for_it_stays() -> None:
    assert run("drop()", old_kernel=True)[-1] == "CAP_BPF"
    assert run("drop()", "clsact", old_kernel=True)[-1] == "CAP_BPF, CAP_NET_ADMIN"


def test_without_the_capability_to_cut_it_the_bounding_set_is_told() -> None:
    first = "capabilities.give_up_all_but(capabilities.mask(['CAP_BPF', 'CAP_NET_ADMIN']))\n"
    said = run(f"{first}drop()", "tcx")
    slow, kept, left = said
    assert slow == "without CAP_PERFMON the kernel slows tcx's program down"
    assert "(bounding set, which takes CAP_SETPCAP to cut: CAP_BPF, CAP_NET_ADMIN)" in kept
    assert left == "none"


def test_a_thread_that_ends_is_waited_for() -> None:
    script = "thread = threading.Timer(0.1, print, ['ended'])\nthread.start()\ndrop()"
    assert run(script) == ["ended", "capabilities kept: none; new privileges: none", "none"]


def test_a_thread_that_stays_and_keeps_all_is_told() -> None:
    script = (
        "privileges.ENDING_SECONDS = 0.01\n"
        "end = threading.Event()\n"
        "threading.Thread(target=end.wait).start()\n"
        "drop()\n"
        "end.set()"
    )
    *_, told, left = run(script)
    assert "ran before and keeps " in told
    assert "did the module of a probe start it?" in told
    assert left == "none"
