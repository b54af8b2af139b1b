"""The instructions that a plain packet costs, counted in the programs as the kernel runs them.

A packet whose flow has a row needs two additions that return a value: to its row, and to what was
seen. Counted is the shortest way from the first instruction to an exit with both, and without calls
of other functions, which the full path needs. Any growth of the short path makes it longer, on any
machine.
"""

import ctypes
import os
import struct
from collections import deque

import pytest

from kzn.libbpf import capabilities
from kzn.probes import clsact, postrouting, tcx
from kzn.probes.attach import load
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings

SYS_BPF, BPF_OBJ_GET_INFO_BY_FD, INFO_SIZE = 321, 15, 224  # the call's number on x86-64
EXIT, JUMP, JUMP_LONG, CALL, LOAD_64 = 0x95, 0x05, 0x06, 0x85, 0x18
FETCH_ADD = (0xDB, 1)
CALLS = {"netfilter": 0, "sched_cls": 1}  # at tc the short path is a function of its own
OF_PROGRAM = 1  # source register of a call of another function of the program
MOST = {"postrouting_ipv4": 195, "postrouting_ipv6": 210, "tcx_egress": 198, "clsact_egress": 198}
"""By program, with 10 % of slack to what the kernels of CI make of them."""
MOST_VERIFIED = 400_000
"""Instructions that the verifier may follow. Its limit is a million, and a start takes seconds."""

Instruction = tuple[int, int, int, int]  # opcode, source register, offset, immediate


def translated(program: int) -> list[Instruction]:
    """A loaded program's instructions after the verifier: settings folded, lookups inlined."""
    size = int(struct.unpack_from("<I", _info(program), 20)[0])
    code = ctypes.create_string_buffer(size)
    _info(program, ctypes.addressof(code), size)
    return [
        (opcode, registers >> 4, offset, immediate)
        for opcode, registers, offset, immediate in struct.iter_unpack("<BBhi", code.raw)
    ]


def _info(program: int, code: int = 0, size: int = 0) -> bytes:
    info = ctypes.create_string_buffer(INFO_SIZE)
    struct.pack_into("<I8xQ", info, 20, size, code)  # of struct bpf_prog_info
    attributes = ctypes.create_string_buffer(
        struct.pack("<IIQ", program, INFO_SIZE, ctypes.addressof(info)), 16
    )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SYS_BPF, BPF_OBJ_GET_INFO_BY_FD, attributes, 16):
        raise OSError(ctypes.get_errno(), "BPF_OBJ_GET_INFO_BY_FD")
    return info.raw


def shortest(code: list[Instruction], additions: int, calls: int) -> int:
    """The length of the shortest way with so many fetching additions and calls of functions."""
    start: tuple[int, tuple[int, ...], int, int] = (0, (), 0, 0)
    queue, known = deque([(start, 0)]), {start}
    while queue:
        (at, callers, added, called), length = queue.popleft()
        opcode, source, offset, immediate = code[at]
        added += (opcode, immediate) == FETCH_ADD
        following = [at + (2 if opcode == LOAD_64 else 1)]
        if opcode == EXIT and not callers:
            if added == additions:
                return length + 1
            continue
        if opcode == EXIT:
            following, callers = [callers[-1]], callers[:-1]
        elif opcode == CALL and source == OF_PROGRAM:
            following, callers = [at + 1 + offset], (*callers, at + 1)  # of compiled programs
            called += 1
        elif opcode == JUMP:
            following = [at + 1 + offset]
        elif opcode == JUMP_LONG:
            following = [at + 1 + immediate]
        elif opcode & 7 in (5, 6) and opcode != CALL:
            following.append(at + 1 + offset)
        for each in following:
            state = (each, callers, added, called)
            if added <= additions and called <= calls and state not in known:
                known.add(state)
                queue.append((state, length + 1))
    raise AssertionError(f"no way with {additions} additions")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the call's number is that of x86-64")
@pytest.mark.parametrize(
    "probe", [postrouting.PROBE, tcx.PROBE, clsact.PROBE], ids=lambda probe: probe.name
)
def test_the_short_path_has_no_more_instructions_than_it_needs(probe: Probe) -> None:
    names = [hook.program for hook in probe.hooks]
    with load(probe, Settings()) as loaded:
        calls = CALLS[probe.kind.program_type]
        found = {name: shortest(translated(loaded.program_fd(name)), 2, calls) for name in names}
    assert {name: count for name, count in found.items() if count > MOST[name]} == {}
    # The way is the short path's: the full one has functions and a hash besides.
    assert all(count > MOST[name] / 2 for name, count in found.items())


@pytest.mark.parametrize("is_privileged", [True, False], ids=["privileged", "without CAP_PERFMON"])
@pytest.mark.parametrize(
    "probe", [postrouting.PROBE, tcx.PROBE, clsact.PROBE], ids=lambda probe: probe.name
)
def test_the_verifier_is_far_from_its_limit(probe: Probe, is_privileged: bool) -> None:
    kept = capabilities.read().permitted if is_privileged else capabilities.mask(probe.capabilities)
    with capabilities.only(kept), load(probe, Settings()) as loaded:
        infos = [_info(loaded.program_fd(hook.program)) for hook in probe.hooks]
    verified = [int(struct.unpack_from("<I", info, 216)[0]) for info in infos]
    assert 0 < max(verified) < MOST_VERIFIED
