"""Runs a loaded program on one packet by BPF_PROG_TEST_RUN, without a network."""

from collections.abc import Iterable
from typing import Any

from kzn.libbpf.library import check, ffi, libbpf

WHAT = "run a program on a test packet"
POST_ROUTING = 4
PROTOCOL_FAMILY = {4: 2, 6: 10}
HOOK_STATE_SIZE = 48
"""sizeof(struct nf_hook_state): hook and family in the first two bytes, then five pointers."""
MIN_FRAME = {4: 34, 6: 54}
"""By family: the kernel requires an Ethernet and an IP header (net/bpf/test_run.c)."""


def run_netfilter(
    program: int, frame: bytes, *, family: int = 4, repeat: int = 1
) -> tuple[int, int]:
    """The verdict on an Ethernet frame at POSTROUTING, and the mean nanoseconds of a run.

    The output device is this network namespace's loopback device. KernelError when the kernel
    refuses the frame.
    """
    return _run(program, frame, _hook_state(family), repeat)


def run_tc(program: int, frame: bytes, *, repeat: int = 1) -> tuple[int, int]:
    """The verdict on an Ethernet frame at tc (unsigned 32 bits), and the mean nanoseconds of a run.

    KernelError when the kernel refuses the frame.
    """
    return _run(program, frame, b"", repeat)


def run_each(program: int, frames: Iterable[bytes], *, family: int = 0) -> None:
    """Run a program once on each frame: at POSTROUTING of a family, or at tc without one.

    For many frames, as it prepares the call once. KernelError when the kernel refuses a frame.
    """
    state = ffi.from_buffer(_hook_state(family) if family else b"")
    options = _options(state)
    options.repeat = 1
    call = libbpf().bpf_prog_test_run_opts
    for frame in frames:
        data = ffi.from_buffer(frame)
        options.data_in, options.data_size_in = data, len(frame)
        check(call(program, options), WHAT)


def _run(program: int, frame: bytes, state: bytes, repeat: int) -> tuple[int, int]:
    data, context = ffi.from_buffer(frame), ffi.from_buffer(state)
    options = _options(context)
    options.data_in, options.data_size_in = data, len(frame)
    options.repeat = repeat
    check(libbpf().bpf_prog_test_run_opts(program, options), WHAT)
    return int(options.retval), int(options.duration)


def _hook_state(family: int) -> bytes:
    return bytes([POST_ROUTING, PROTOCOL_FAMILY[family]]) + bytes(HOOK_STATE_SIZE - 2)


def _options(context: Any) -> Any:
    """Options of a run; ``context`` is memory that the caller keeps."""
    options = ffi.new("struct bpf_test_run_opts *")
    options.sz = ffi.sizeof("struct bpf_test_run_opts")
    if len(context):
        options.ctx_in, options.ctx_size_in = context, len(context)
    return options
