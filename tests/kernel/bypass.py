"""eBPF host routing as CNIs do it: pod packets go to the uplink and bypass the host's IP stack."""

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

from chain import LINK_CREATE, PROG_LOAD, SCHED_CLS, bpf
from pyroute2 import IPRoute

from kzn.lab import namespaces
from kzn.lab.lab import Lab
from kzn.lab.plan import Node

TCX_INGRESS = 46
REDIRECT_NEIGH = 152
"""include/uapi/linux/bpf.h."""
CLSACT_INGRESS, ETH_P_ALL = 0xFFFFFFF2, 3

By = Literal["tcx", "tc"]
"""How the program is attached: Cilium does it by either."""


@contextmanager
def host_routing(lab: Lab, node: Node, by: By = "tcx") -> Iterator[None]:
    """Redirect what the node's pods send to its uplink (bpf_redirect_neigh), as Cilium does.

    Such packets pass the tcx egress of the uplink, but no netfilter hook.
    """
    with ExitStack() as stack:
        with namespaces.inside(node.namespace):
            program = stack.enter_context(_redirect(socket.if_nametoindex(node.uplink)))
            for pod in lab.plan.pods_of(node):
                index = socket.if_nametoindex(pod.veth)
                if by == "tcx":
                    order = struct.pack("=IIII", program, index, TCX_INGRESS, 0) + bytes(16)
                    stack.callback(os.close, bpf(LINK_CREATE, order))
                else:
                    stack.enter_context(_filtered(node, index, program))
        yield


@contextmanager
def _filtered(node: Node, index: int, program: int) -> Iterator[None]:
    with IPRoute() as netlink:
        netlink.tc("add", "clsact", index)
        netlink.tc(
            "add-filter",
            "bpf",
            index,
            1,
            fd=program,
            name="redirect",
            parent=CLSACT_INGRESS,
            prio=1,
            protocol=ETH_P_ALL,
            direct_action=True,
        )
    try:
        yield
    finally:
        with namespaces.inside(node.namespace), IPRoute() as netlink:
            netlink.tc("del", "clsact", index)


@contextmanager
def _redirect(index: int) -> Iterator[int]:
    words = [(1, index), (2, 0), (3, 0), (4, 0)]
    code = b"".join(struct.pack("<BBhi", 0xB7, register, 0, value) for register, value in words)
    code += struct.pack("<BBhi", 0x85, 0, 0, REDIRECT_NEIGH) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    text, licence = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    count = len(code) // 8
    head = struct.pack("=IIQQ", SCHED_CLS, count, ctypes.addressof(text), ctypes.addressof(licence))
    fd = bpf(PROG_LOAD, head + bytes(48))
    try:
        yield fd
    finally:
        os.close(fd)
