"""Links, addresses and routes of this network namespace, read from rtnetlink without a library.

In: a NETLINK_ROUTE socket. Out: dumps, and what each notification changes, as values
(netlink_messages.py). Never: a judgement of what a device is (table.py), or a wait without a limit.

A dump of 250 links takes 5 ms in this process; pyroute2 takes 300 ms and 25 MB for the same.
"""

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from kzn.agent.devices import netlink_messages as messages
from kzn.agent.devices.netlink_messages import (
    Change,
    HostRoute,
    IngressFilters,
    InterfaceAddress,
    Link,
)
from kzn.errors import KernelError

SOL_NETLINK = 270
NETLINK_GET_STRICT_CHK = 12
GROUPS = 0x1 | 0x8 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _TC, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR and _IPV6_ROUTE."""
RECEIVE_BYTES = 4 << 20
"""Room for notifications: 800 devices deleted at once are about 2 MB."""
MAX_DATAGRAMS = 256
"""Notifications that are read at once, some 5 ms of them."""
DUMP_SECONDS = 10.0
TRIES = 5
"""Dumps until one is not interrupted by a change (NLM_F_DUMP_INTR)."""


class OverrunError(Exception):
    """The kernel dropped notifications (ENOBUFS): the state must be dumped again."""


@dataclass(frozen=True, slots=True)
class Routes:
    """Devices that lead to a gateway, and addresses that are directly behind a device."""

    gateways: frozenset[int]
    hosts: frozenset[HostRoute]


class RouteSocket:
    """A NETLINK_ROUTE socket of the network namespace in which it is made."""

    def __init__(self, groups: int = 0) -> None:
        """KernelError when netlink cannot be used."""
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
            )
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            self._socket.bind((0, groups))
        except OSError as error:
            raise _failed("open a netlink socket", error) from error
        if groups:
            self._socket.setblocking(False)
        else:
            self._socket.settimeout(DUMP_SECONDS)
            self._set_strict()
        self._number = int.from_bytes(os.urandom(3), "little") << 8  # found in no payload

    def _set_strict(self) -> None:
        """Have the kernel obey filters of a dump (Linux 4.20)."""
        try:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
            self.is_strict = True
        except OSError:
            self.is_strict = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor, readable when there are notifications."""
        return self._socket.fileno()

    def pending(self) -> list[Change]:
        """Notifications, in order, `MAX_DATAGRAMS` at most. OverrunError if some were lost."""
        found: list[Change] = []
        for _ in range(MAX_DATAGRAMS):
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    self._discard()
                    raise OverrunError from error
                raise _failed("read netlink notifications", error) from error
            for kind, flags, body in messages.flagged(data):
                found += messages.changes(kind, flags, body)
        return found

    def _discard(self) -> None:
        """Empty the queue: until then the kernel drops further notifications without an error.

        net/netlink/af_netlink.c: NETLINK_S_CONGESTED is cleared when the queue is empty.
        """
        while True:
            try:
                self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise _failed("read netlink notifications", error) from error

    def links(self) -> list[Link]:
        """All devices."""
        found: dict[int, Link] = {}

        def read(kind: int, body: bytes) -> None:
            if kind == messages.RTM_NEWLINK:
                link = messages.link(body)
                found[link.index] = link

        self._dump(messages.RTM_GETLINK, messages.LINKS_BODY, _each(read))
        return [*found.values()]

    def addresses(self) -> list[InterfaceAddress]:
        """All addresses of both families."""
        found: set[InterfaceAddress] = set()

        def read(kind: int, body: bytes) -> None:
            address = messages.address(kind, body) if kind == messages.RTM_NEWADDR else None
            if address is not None:
                found.add(address)

        self._dump(messages.RTM_GETADDR, messages.ADDRESSES_BODY, _each(read))
        return [*found]

    def routes(self, index: int = 0) -> Routes:
        """What all routes lead to, or those through one device; nothing through one that is gone.

        The largest tables are those of BGP, whose routes lead through one or two devices: parts of
        a dump that name only devices known to have a gateway are not parsed.
        """
        gateways: set[int] = set()
        hosts: set[HostRoute] = set()

        def read(data: bytes) -> None:
            if messages.names_only(data, gateways):
                return
            for kind, route in messages.messages(data):
                if kind == messages.RTM_NEWROUTE:
                    gateways.update(messages.gateway_devices(route))
                    host = messages.host_route(route)
                    if host is not None and host.index:
                        hosts.add(host)

        for family in (socket.AF_INET, socket.AF_INET6):
            body = messages.route_body(family, index if self.is_strict else 0)
            try:
                self._dump(messages.RTM_GETROUTE, body, read)
            except KernelError as error:
                if not index or error.errno != errno.ENODEV:
                    raise
        return Routes(frozenset(gateways & {index} if index else gateways), frozenset(hosts))

    def neighbours(self, index: int) -> dict[bytes, bytes]:
        """Link-layer addresses by address (16 bytes) of the neighbours at a device."""
        found: dict[bytes, bytes] = {}

        def read(kind: int, body: bytes) -> None:
            one = messages.neighbour(body, index) if kind == messages.RTM_NEWNEIGH else None
            if one is not None:
                found[one[0]] = one[1]

        self._dump(messages.RTM_GETNEIGH, messages.neighbour_body(index), _each(read))
        return found

    def egress_programs(self, index: int) -> frozenset[int]:
        """Ids of the BPF programs in filters at the clsact egress of a device."""
        found: set[int] = set()

        def read(kind: int, body: bytes) -> None:
            if kind == messages.RTM_NEWTFILTER:
                found.add(messages.program_of(body))

        body = messages.filter_body(index, messages.TC_EGRESS)
        self._dump(messages.RTM_GETTFILTER, body, _each(read))
        return frozenset(found - {0})

    def ingress_qdiscs(self) -> frozenset[int]:
        """Devices that may have filters on what they receive."""
        found: set[int] = set()

        def read(kind: int, body: bytes) -> None:
            if kind == messages.RTM_NEWQDISC:
                found.add(messages.ingress_qdisc(body))

        self._dump(messages.RTM_GETQDISC, messages.QDISCS_BODY, _each(read))
        return frozenset(found - {0})

    def ingress_filters(self, index: int) -> IngressFilters:
        """What the filters of a device do with what it receives."""
        found = [IngressFilters()]

        def read(kind: int, body: bytes) -> None:
            if kind == messages.RTM_NEWTFILTER:
                found.append(found[-1].plus(messages.ingress_filter(body, index)))

        body = messages.filter_body(index, messages.TC_INGRESS)
        self._dump(messages.RTM_GETTFILTER, body, _each(read))
        return found[-1]

    def _dump(self, kind: int, body: bytes, read: Callable[[bytes], None]) -> None:
        """Have ``read`` called with each datagram of a dump.

        A dump that a change interrupts is made again; ``read`` then sees some messages twice.
        KernelError when the kernel refuses or does not answer in time.
        """
        for _ in range(TRIES):
            if self._dump_once(kind, body, read):
                return

    def _dump_once(self, kind: int, body: bytes, read: Callable[[bytes], None]) -> bool:
        """Whether the dump was not interrupted by a change."""
        self._number += 1
        is_whole = True
        try:
            self._socket.send(messages.dump_request(kind, body, self._number))
            while True:
                data = self._socket.recv(1 << 18)
                got, flags, number = messages.first_header(data)
                if number != self._number:  # of a dump that was given up
                    continue
                is_whole &= not flags & messages.NLM_F_DUMP_INTR
                if got == messages.NLMSG_ERROR:
                    raise messages.error_of(data)
                read(data)
                if messages.is_last(data, self._number):
                    return is_whole
        except OSError as error:
            raise _failed(f"netlink dump of message type {kind}", error) from error


def _each(read: Callable[[int, bytes], None]) -> Callable[[bytes], None]:
    """A reader of datagrams that calls ``read`` with type and body of each message."""

    def datagram(data: bytes) -> None:
        for kind, body in messages.messages(data):
            read(kind, body)

    return datagram


def _failed(what: str, error: OSError) -> KernelError:
    code = error.errno or errno.ETIMEDOUT  # a time-out of the socket has no number
    return KernelError(f"{what}: {os.strerror(code)}", errno=code)


def read_neighbours(index: int) -> dict[bytes, bytes]:
    """`RouteSocket.neighbours` of the caller's network namespace; empty if netlink fails."""
    try:
        with RouteSocket() as questions:
            return questions.neighbours(index)
    except KernelError:
        return {}
