"""Capabilities as /proc shows them, and given up: in processes of their own, for good."""

import subprocess
import sys
from pathlib import Path

import pytest

from kzn.libbpf import capabilities
from kzn.libbpf.capabilities import Sets

STATUS = """Name:\tkzn
Seccomp:\t0
CapInh:\t0000000000001000
CapPrm:\t000000c000001000
CapEff:\t0000008000001000
CapBnd:\t000001ffffffffff
CapAmb:\t0000000000000000
NoNewPrivs:\t0
"""


def test_the_sets_of_a_status_file(tmp_path: Path) -> None:
    path = tmp_path / "status"
    path.write_text(STATUS)
    found = capabilities.read(path)
    assert found == Sets(1 << 12, 1 << 12 | 3 << 38, 1 << 12 | 1 << 39, (1 << 41) - 1, 0)
    assert found.usable == 1 << 12 | 3 << 38


def test_names_make_a_set_and_a_set_is_shown_by_names() -> None:
    held = capabilities.mask(["CAP_NET_ADMIN", "CAP_BPF", "CAP_BPF"])
    assert held == 1 << 12 | 1 << 39
    assert capabilities.text(held | 1 << 3) == "CAP_BPF, CAP_NET_ADMIN, capability 3"
    assert capabilities.text(0) == "none"


@pytest.mark.parametrize(
    ("effective", "missing"),
    [
        (0, ["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF", "CAP_OF_A_LATER_KERNEL"]),
        (1 << 39 | 1 << 12, ["CAP_PERFMON", "CAP_OF_A_LATER_KERNEL"]),
        (1 << 21, ["CAP_NET_ADMIN", "CAP_OF_A_LATER_KERNEL"]),
        (1 << 21 | 1 << 12, ["CAP_OF_A_LATER_KERNEL"]),
        (1 << 39 | 1 << 38 | 1 << 12, ["CAP_OF_A_LATER_KERNEL"]),
    ],
)
def test_missing_capabilities_are_named_and_cap_sys_admin_implies_two(
    effective: int, missing: list[str]
) -> None:
    needed = ("CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF", "CAP_OF_A_LATER_KERNEL")
    assert capabilities.missing(f"Name:\tx\nCapEff:\t{effective:016x}\n", needed) == missing


def run(script: str) -> str:
    """The stdout of a child process that runs a script with `capabilities` imported."""
    head = "from kzn.libbpf.capabilities import *\nimport os, subprocess, threading\n"
    done = subprocess.run(
        [sys.executable, "-c", head + script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


SHOW = "print(subprocess.run(['cat', '/proc/self/status'], capture_output=True, text=True).stdout)"
WORKER = "thread = threading.Thread(target=lambda: print(read().usable))\nthread.start()\n"


def test_what_is_given_up_is_out_of_reach_for_threads_and_children() -> None:
    found = run(f"give_up_all_but(0)\n{WORKER}thread.join()\n{SHOW}")
    assert found.startswith("0\n")
    for name in ("Inh", "Prm", "Eff", "Amb"):
        assert f"Cap{name}:\t{0:016x}\n" in found
    assert "NoNewPrivs:\t1\n" in found


def is_able() -> bool:
    return bool(capabilities.read().effective & capabilities.mask(["CAP_SETPCAP", "CAP_BPF"]))


as_root = pytest.mark.skipif(not is_able(), reason="it takes root to have something to give up")


@as_root
def test_a_child_has_what_is_kept_and_nothing_else_can_come_back() -> None:
    found = run(f"give_up_all_but(mask(['CAP_NET_ADMIN']))\n{SHOW}")
    for name in ("Inh", "Prm", "Eff", "Amb", "Bnd"):
        assert f"Cap{name}:\t{1 << 12:016x}\n" in found


@as_root
def test_effective_capabilities_are_dropped_for_the_length_of_a_block() -> None:
    with capabilities.only(capabilities.mask(["CAP_BPF"])):
        assert capabilities.read().effective == 1 << 39
    assert is_able()


@as_root
def test_a_thread_that_ran_before_is_seen_to_keep_what_it_had() -> None:
    found = run(
        "done = threading.Event()\n"
        "thread = threading.Thread(target=done.wait)\n"
        "thread.start()\n"
        "give_up_all_but(0)\n"
        "print(threads()[thread.native_id].usable != 0, threads()[os.getpid()].usable)\n"
        "done.set()\n"
    )
    assert found == "True 0"


def test_what_was_not_there_is_not_kept() -> None:
    found = run("give_up_all_but(0)\ngive_up_all_but(mask(['CAP_BPF']))\nprint(read().usable)")
    assert found == "0"
