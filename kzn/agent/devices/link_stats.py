"""Reads the transmit counters of network devices by netlink (RTM_GETSTATS).

In: interface indices. Out: `Sent` of each. Never: a device outside the network namespace in which
the socket was created.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, Self

from kzn.errors import KernelError

NLMSG_ERROR = 2
RTM_NEWSTATS, RTM_GETSTATS = 92, 94
NLM_F_REQUEST = 1
IFLA_STATS_LINK_64 = 1
"""include/uapi/linux/netlink.h, rtnetlink.h, if_link.h."""
ANSWER_SECONDS = 2.0

_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBHII")  # struct if_stats_msg
_ATTRIBUTE = struct.Struct("=HH")
_COUNTERS = struct.Struct("=4Q")  # rx_packets, tx_packets, rx_bytes, tx_bytes
_ERROR = struct.Struct("=i")


class Sent(NamedTuple):
    """A device's transmitted packets and bytes, link-layer headers included."""

    packets: int
    bytes: int


class LinkStats:
    """A netlink socket for the device counters of one network namespace."""

    def __init__(self) -> None:
        """Open the socket; KernelError when netlink is not available."""
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
            )
            self._socket.bind((0, 0))
        except OSError as error:
            raise _failed("open a netlink socket", error) from error
        self._socket.settimeout(ANSWER_SECONDS)
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def sent(self, indices: Iterable[int]) -> dict[int, Sent]:
        """The counters by index, without devices that do not exist; KernelError for all else."""
        found = {index: self._ask(index) for index in indices}
        return {index: sent for index, sent in found.items() if sent is not None}

    def _ask(self, index: int) -> Sent | None:
        self._number += 1
        body = _REQUEST.pack(0, 0, 0, index, 1 << (IFLA_STATS_LINK_64 - 1))
        size = _HEADER.size + len(body)
        header = _HEADER.pack(size, RTM_GETSTATS, NLM_F_REQUEST, self._number, 0)
        try:
            self._socket.send(header + body)
            answer = self._answer()
        except OSError as error:
            raise _failed(f"ask netlink for counters of device {index}", error) from error
        if answer is None:
            return None
        return parse_sent(answer[_HEADER.size + _REQUEST.size :])

    def _answer(self) -> bytes | None:
        """The answer to the last request; None for ENODEV. Skips late answers to earlier ones."""
        while True:
            data = self._socket.recv(1 << 16)
            size, kind, _, number, _ = _HEADER.unpack_from(data)
            if number != self._number:
                continue
            if kind == RTM_NEWSTATS:
                return data[:size]
            [code] = _ERROR.unpack_from(data, _HEADER.size) if kind == NLMSG_ERROR else [0]
            if -code == errno.ENODEV:
                return None
            raise OSError(-code or errno.EPROTO, os.strerror(-code or errno.EPROTO))


def parse_sent(attributes: bytes) -> Sent | None:
    """The counters in netlink attributes, None without any; skips padding (nla_put_64bit)."""
    while len(attributes) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(attributes)
        if kind == IFLA_STATS_LINK_64 and size >= _ATTRIBUTE.size + _COUNTERS.size:
            _, packets, _, sent = _COUNTERS.unpack_from(attributes, _ATTRIBUTE.size)
            return Sent(packets, sent)
        attributes = attributes[max(size + 3 & ~3, _ATTRIBUTE.size) :]
    return None


def _failed(what: str, error: OSError) -> KernelError:
    code = error.errno or errno.ETIMEDOUT  # a socket's time-out has no errno
    return KernelError(f"{what}: {os.strerror(code)}", errno=code)
