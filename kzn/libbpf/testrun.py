"""One packet through a loaded program by BPF_PROG_TEST_RUN, without any network."""

from kzn.libbpf.library import check, ffi, libbpf

POST_ROUTING = 4
PROTOCOL_FAMILY = {4: 2, 6: 10}
HOOK_STATE_SIZE = 48
"""sizeof(struct nf_hook_state): hook and family in the first two bytes, then five pointers."""
MIN_FRAME = {4: 34, 6: 54}
"""By family: the kernel takes no less than an Ethernet and an IP header (net/bpf/test_run.c)."""


def run_netfilter(
    program: int, frame: bytes, *, family: int = 4, repeat: int = 1
) -> tuple[int, int]:
    """The verdict on an Ethernet frame at POSTROUTING, and the nanoseconds of one run on average.

    The output device is the loopback device of this network namespace. KernelError when the
    kernel does not take the frame.
    """
    state = bytes([POST_ROUTING, PROTOCOL_FAMILY[family]]) + bytes(HOOK_STATE_SIZE - 2)
    return _run(program, frame, state, repeat)


def run_tc(program: int, frame: bytes, *, repeat: int = 1) -> tuple[int, int]:
    """The verdict on an Ethernet frame at tc, 32 bits without a sign, and the nanoseconds.

    KernelError when the kernel does not take the frame.
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
    check(libbpf().bpf_prog_test_run_opts(program, options), "run a packet through a program")
    return int(options.retval), int(options.duration)
