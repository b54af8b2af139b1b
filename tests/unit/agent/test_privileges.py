"""Which capabilities an agent drops, in a process of its own; see also kernel/test_capabilities."""

import re
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
    """The output lines of a new process that runs a script after `HEAD`."""
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


pytestmark = pytest.mark.skipif(not is_able(), reason="needs root, to have capabilities to drop")


def test_no_capability_is_left_and_that_is_logged() -> None:
    assert run("drop()") == ["capabilities kept: none; new privileges: none", "none"]


def test_a_probe_with_tc_filters_keeps_cap_net_admin() -> None:
    lines = run("drop()", "clsact")
    assert lines == ["capabilities kept: CAP_NET_ADMIN; new privileges: none", "CAP_NET_ADMIN"]


def test_cap_bpf_is_kept_on_a_kernel_that_reads_no_map_without_it() -> None:
    assert run("drop()", old_kernel=True)[-1] == "CAP_BPF"
    assert run("drop()", "clsact", old_kernel=True)[-1] == "CAP_BPF, CAP_NET_ADMIN"


def test_without_cap_setpcap_the_uncut_bounding_set_is_logged() -> None:
    first = "capabilities.give_up_all_but(capabilities.mask(['CAP_BPF', 'CAP_NET_ADMIN']))\n"
    lines = run(f"{first}drop()", "tcx")
    slow, kept, left = lines
    assert "probe tcx runs slower without CAP_PERFMON" in slow
    assert "CAP_SETPCAP can cut: CAP_BPF, CAP_NET_ADMIN)" in kept
    assert left == "none"


def test_the_agent_waits_for_threads_that_are_about_to_end() -> None:
    script = "thread = threading.Timer(0.1, print, ['ended'])\nthread.start()\ndrop()"
    assert run(script) == ["ended", "capabilities kept: none; new privileges: none", "none"]


def test_a_thread_that_keeps_its_capabilities_is_logged() -> None:
    script = (
        "privileges.ENDING_SECONDS = 0.01\n"
        "end = threading.Event()\n"
        "threading.Thread(target=end.wait).start()\n"
        "drop()\n"
        "end.set()"
    )
    *_, logged, left = run(script)
    assert re.search(r"thread \d+ keeps CAP_", logged)
    assert left == "none"
