"""Netfilter and tcx links: attach, describe, list, detach.

By bpf(2) itself, since libbpf before 1.3 has no call for them.
"""

import errno
import os
import platform
from dataclasses import dataclass
from typing import Any

from kzn.errors import KernelError, UnsupportedError
from kzn.libbpf.library import SYS_BPF, check, errno_text, ffi, libbpf, libc

BPF_LINK_CREATE = 28
PROG_TYPE_NETFILTER = 32
ATTACH_TYPE_NETFILTER = 45
LINK_TYPE_NETFILTER = 10
"""include/uapi/linux/bpf.h, Linux 6.4."""

PROG_TYPE_SCHED_CLS = 3
ATTACH_TYPE_TCX_INGRESS = 46
ATTACH_TYPE_TCX_EGRESS = 47
LINK_TYPE_TCX = 11
F_BEFORE = 1 << 3
"""The same, Linux 6.6. F_BEFORE without a program to be before means first of all."""

NF_INET_POST_ROUTING = 4
PROTOCOL_FAMILY = {"ipv4": 2, "ipv6": 10}
"""NFPROTO_IPV4 and NFPROTO_IPV6; a netfilter link takes no other family."""


@dataclass(frozen=True, slots=True)
class NetfilterLinkInfo:
    """The place where a link is attached."""

    link_id: int
    program_id: int
    family: str
    priority: int
    hook: int


@dataclass(frozen=True, slots=True)
class TcxLinkInfo:
    """On which device a link is attached; index 0 when that device no longer exists."""

    link_id: int
    program_id: int
    index: int


def attach_netfilter(program_fd: int, family: str, hook: int, priority: int, what: str) -> int:
    """Attach a program in this thread's network namespace; the caller owns the link's descriptor.

    KernelError with EBUSY when the priority is taken in this family and hook.
    """
    attributes = ffi.new("struct kzn_link_create *")
    attributes.prog_fd = program_fd
    attributes.attach_type = ATTACH_TYPE_NETFILTER
    attributes.pf = PROTOCOL_FAMILY[family]
    attributes.hooknum = hook
    attributes.priority = priority
    fd, code = _create(attributes, what)
    if fd >= 0:
        return fd
    hint = "another program has this priority" if code == errno.EBUSY else ""
    raise KernelError(
        f"attach {what} at priority {priority}: {errno_text(code)}", errno=code, hint=hint
    )


def attach_tcx_egress(program_fd: int, index: int, what: str) -> int:
    """Attach a program to a device of this thread's network namespace, before all others.

    First, since a program that ends the chain (TCX_PASS, as CNIs do) hides the packet from those
    behind it. The caller owns the link's descriptor. KernelError with ENODEV when the device no
    longer exists.
    """
    attributes = ffi.new("struct kzn_tcx_link_create *")
    attributes.prog_fd = program_fd
    attributes.target_ifindex = index
    attributes.attach_type = ATTACH_TYPE_TCX_EGRESS
    attributes.flags = F_BEFORE
    fd, code = _create(attributes, what)
    if fd >= 0:
        return fd
    raise KernelError(f"attach {what}: {errno_text(code)}", errno=code)


def _create(attributes: Any, what: str) -> tuple[int, int]:
    """Descriptor and errno of BPF_LINK_CREATE; the descriptor is negative when it failed."""
    number = SYS_BPF.get(platform.machine())
    if number is None:
        raise UnsupportedError(
            f"attach {what}: machine type {platform.machine()} is not supported",
            hint=f"supported are {', '.join(sorted(SYS_BPF))}",
        )
    size = ffi.cast("unsigned int", ffi.sizeof(attributes[0]))
    fd = libc().syscall(number, ffi.cast("int", BPF_LINK_CREATE), attributes, size)
    return int(fd), int(ffi.errno)


def netfilter_link_info(fd: int, what: str) -> NetfilterLinkInfo | None:
    """The kernel's information on a netfilter link; None for another kind of link."""
    info, size = ffi.new("struct kzn_link_info *"), ffi.new("__u32 *")
    size[0] = ffi.sizeof("struct kzn_link_info")
    check(libbpf().bpf_obj_get_info_by_fd(fd, info, size), f"get the info of link {what}")
    if info.type != LINK_TYPE_NETFILTER:
        return None
    family = {number: name for name, number in PROTOCOL_FAMILY.items()}.get(info.pf, "?")
    return NetfilterLinkInfo(info.id, info.prog_id, family, info.priority, info.hooknum)


def all_netfilter_links() -> list[NetfilterLinkInfo]:
    """Every netfilter link of this machine; the kernel does not report its network namespace.

    KernelError without CAP_SYS_ADMIN.
    """
    found, link_id = [], ffi.new("__u32 *")
    while (result := libbpf().bpf_link_get_next_id(link_id[0], link_id)) == 0:
        fd = libbpf().bpf_link_get_fd_by_id(link_id[0])
        if fd == -errno.ENOENT:  # removed meanwhile
            continue
        check(fd, f"open link {link_id[0]}")
        try:
            info = netfilter_link_info(fd, str(link_id[0]))
        finally:
            os.close(fd)
        if info:
            found.append(info)
    if result != -errno.ENOENT:  # the answer after the last link
        check(result, "list the BPF links")
    return found


def tcx_link_info(fd: int, what: str) -> TcxLinkInfo | None:
    """The kernel's information on a tcx link; None for another kind of link."""
    info, size = ffi.new("struct kzn_tcx_link_info *"), ffi.new("__u32 *")
    size[0] = ffi.sizeof("struct kzn_tcx_link_info")
    check(libbpf().bpf_obj_get_info_by_fd(fd, info, size), f"get the info of link {what}")
    if info.type != LINK_TYPE_TCX:
        return None
    return TcxLinkInfo(info.id, info.prog_id, info.ifindex)


def tcx_ingress_programs(index: int) -> int:
    """How many programs run by tcx on what a device receives; KernelError (EINVAL) before 6.6."""
    count = ffi.new("__u32 *")
    result = libbpf().bpf_prog_query(index, ATTACH_TYPE_TCX_INGRESS, 0, ffi.NULL, ffi.NULL, count)
    if result != -errno.ENOSPC:  # the kernel has counted them, and there is no room for their ids
        check(result, f"list the tcx programs of device {index}")
    return int(count[0])


def detach(fd: int, what: str) -> None:
    """Detach a link from its hook and close it; other descriptors of it stay valid but inactive."""
    try:
        check(libbpf().bpf_link_detach(fd), f"detach {what}")
    finally:
        os.close(fd)
