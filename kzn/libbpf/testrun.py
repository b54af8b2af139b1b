"""Runs a loaded program on one packet by BPF_PROG_TEST_RUN, without a network."""

from kzn.libbpf.library import check, ffi, libbpf

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
    state = bytes([POST_ROUTING, PROTOCOL_FAMILY[family]]) + bytes(HOOK_STATE_SIZE - 2)
    return _run(program, frame, state, repeat)


def run_tc(program: int, frame: bytes, *, repeat: int = 1) -> tuple[int, int]:
    """The verdict on an Ethernet frame at tc (unsigned 32 bits), and the mean nanoseconds of a run.

    KernelError when the kernel refuses the frame.
    """
    return _run(program, frame, b"", repeat)


def _run(program: int, frame: bytes, state: bytes, repeat: int) -> tuple[int, int]:
    options = ffi.new("struct bpf_test_run_opts *")
    data, context = ffi.from_buffer(frame), ffi.from_buffer(state)
    options.sz = ffi.sizeof("struct bpf_test_run_opts")
    options.data_in, options.data_size_in = data, len(frame)
    if state:
        options.ctx_in, options.ctx_size_in = context, len(state)
    options.repeat = repeat
    check(libbpf().bpf_prog_test_run_opts(program, options), "run a program on a test packet")
    return int(options.retval), int(options.duration)
