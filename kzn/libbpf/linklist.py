"""The netfilter links of the whole machine, whoever made them."""

import errno
import os

from kzn.libbpf.library import check, ffi, libbpf
from kzn.libbpf.links import NetfilterLinkInfo, netfilter_link_info


def all_netfilter_links() -> list[NetfilterLinkInfo]:
    """Every netfilter link of this machine; the kernel does not say of which network namespace.

    KernelError without CAP_SYS_ADMIN.
    """
    found, following = [], ffi.new("__u32 *")
    while (result := libbpf().bpf_link_get_next_id(following[0], following)) == 0:
        fd = libbpf().bpf_link_get_fd_by_id(following[0])
        if fd == -errno.ENOENT:  # gone meanwhile
            continue
        check(fd, f"open link {following[0]}")
        try:
            info = netfilter_link_info(fd, str(following[0]))
        finally:
            os.close(fd)
        if info:
            found.append(info)
    if result != -errno.ENOENT:  # what it answers after the last one
        check(result, "list the BPF links")
    return found
