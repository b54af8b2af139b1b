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


FOR_SWITCH = """
import os, signal
from kzn.daemon.stop_flag import StopFlag, block_signals

def held(of):
    return capabilities.text(of & capabilities.mask(["CAP_NET_ADMIN", "CAP_BPF", "CAP_SETPCAP"]))

if "BEFORE" in os.environ:
    stop = StopFlag()
    with stop.catch_signals():
        print("the same process" if os.environ["BEFORE"] == str(os.getpid()) else "another one")
        print("a signal was pending" if stop.is_set else "no signal")
    print(held(capabilities.read().effective))
    sys.exit()
os.environ["BEFORE"] = str(os.getpid())
privileges.drop_capabilities(PROBE, Maps(), for_switch=True)
print(held(capabilities.read().effective), "/", held(capabilities.read().permitted), flush=True)
"""


def test_for_a_switch_capabilities_are_kept_unused_until_the_process_starts_again() -> None:
    lines = run(FOR_SWITCH + "privileges.start_again(StopFlag())")
    assert lines[0].startswith("capabilities kept for a switch of the probe, not in use: CAP_BPF")
    assert lines[2:] == [
        "none / CAP_BPF, CAP_NET_ADMIN",
        "the same process",
        "no signal",
        "CAP_BPF, CAP_NET_ADMIN",
    ]


def test_a_signal_while_the_process_starts_again_stops_it() -> None:
    pending = "block_signals(); os.kill(os.getpid(), signal.SIGTERM)\n"
    lines = run(FOR_SWITCH + pending + "privileges.start_again(StopFlag())")
    assert lines[3:5] == ["the same process", "a signal was pending"]
    asked = "stop = StopFlag(); stop.is_set = True; privileges.start_again(stop); print('ends')"
    assert run(FOR_SWITCH + asked)[3:] == ["ends"]
