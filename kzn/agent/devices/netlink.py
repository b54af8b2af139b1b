"""Links, addresses and routes of this network namespace, read from rtnetlink without a library.

In: a NETLINK_ROUTE socket. Out: dumps, and what each notification changes, as values.
Never: a judgement of what a device is (table.py), or a wait without a limit.

Layouts: include/uapi/linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h. A dump of 250 links takes
5 ms in this process; pyroute2 takes 300 ms and 25 MB for the same.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from kzn.errors import KernelError

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
TC_EGRESS, TC_INGRESS = 0xFFFFFFF3, 0xFFFFFFF2
"""Those of a clsact qdisc, the latter also of an ingress qdisc (include/uapi/linux/pkt_sched.h)."""

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

IFF_UP, IFF_LOOPBACK = 0x1, 0x8
ARPHRD_ETHER = 1  # include/uapi/linux/if_arp.h
RTEXT_FILTER_SKIP_STATS = 0x8
RT_SCOPE_LINK = 253
RTN_UNICAST = 1

_IFLA_IFNAME, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO = 3, 5, 10, 18
_IFLA_EXT_MASK, _IFLA_LINK_NETNSID, _IFLA_INFO_KIND, _IFLA_INFO_DATA = 29, 37, 1, 2
_IFLA_BR_NF_CALL = frozenset({36, 37})
"""IFLA_BR_NF_CALL_IPTABLES and _IP6TABLES."""
_LINK_WANTED = frozenset(
    {_IFLA_IFNAME, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_LINK_NETNSID}
)
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_TCA_KIND, _TCA_OPTIONS, _TCA_BPF_NAME, _TCA_BPF_ID = 1, 2, 7, 11
_INGRESS_QDISCS = frozenset({"clsact", "ingress"})
_TCA_ACT = {"basic": 3, "flower": 3, "matchall": 2, "u32": 7}
"""Of the options of a filter by its kind: TCA_U32_ACT and so on, a list of actions."""
_TCA_ACT_KIND, _TCA_ACT_OPTIONS, _TCA_MIRRED_PARMS, _TCA_EGRESS_REDIR = 1, 2, 2, 1
_RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH, _RTA_VIA = 4, 5, 9, 18
_OIF_HEADER = struct.pack("=HH", 8, _RTA_OIF)
_MULTIPATH_TYPE = struct.pack("=H", _RTA_MULTIPATH)

_HEADER = struct.Struct("=IHHII")
_LENGTH = struct.Struct("=IH")
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_NEXTHOP = struct.Struct("=HBBi")  # struct rtnexthop
_TC = struct.Struct("=BxxxiIII")  # struct tcmsg
_MIRRED = struct.Struct("=20xiI")  # struct tc_mirred
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_MAPPED = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Link:
    """A device. ``kind`` is empty for hardware, ``master`` and ``lower`` are 0 for none."""

    index: int
    name: str
    kind: str = ""
    master: int = 0
    lower: int = 0
    """The device of this namespace that its packets leave by (a VLAN's, a macvlan's)."""
    peer_in_other_netns: bool = False
    is_up: bool = True
    is_ethernet: bool = True
    is_loopback: bool = False
    calls_netfilter: bool = False
    """Of a bridge: set to pass packets of both families to netfilter, by itself."""


@dataclass(frozen=True, slots=True)
class LinkGone:
    """A device was deleted or moved to another network namespace."""

    index: int


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An address of a device: 16 bytes (IPv4 as ::ffff:a.b.c.d), ``prefix`` of its own family."""

    index: int
    address: bytes
    is_ipv4: bool
    prefix: int
    is_link_scope: bool
    is_gone: bool = False

    @property
    def is_subnet(self) -> bool:
        """Whether other hosts are directly reachable by it."""
        return self.prefix < (32 if self.is_ipv4 else 128) and not self.is_link_scope


@dataclass(frozen=True, slots=True)
class GatewayRoute:
    """Devices that a route leads through to a gateway, or by default."""

    devices: tuple[int, ...]
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class TcChange:
    """A qdisc or filter of a device came or went."""

    index: int


Change = Link | LinkGone | InterfaceAddress | GatewayRoute | TcChange


@dataclass(frozen=True, slots=True)
class IngressFilters:
    """What filters do with what a device receives, besides dropping it."""

    programs: frozenset[str] = frozenset()
    """Names of BPF programs."""
    redirects: frozenset[int] = frozenset()
    """Devices that packets are sent by instead (tc-mirred)."""


class OverrunError(Exception):
    """The kernel dropped notifications (ENOBUFS): the state must be dumped again."""


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
            for kind, _, body in _messages(data):
                change = _change(kind, body)
                if change is not None:
                    found.append(change)
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
        mask = _ATTRIBUTE.pack(8, _IFLA_EXT_MASK) + struct.pack("=I", RTEXT_FILTER_SKIP_STATS)
        body = _LINK.pack(0, 0, 0, 0, 0) + mask
        found: dict[int, Link] = {}

        def read(data: bytes) -> None:
            for kind, _, message in _messages(data):
                if kind == RTM_NEWLINK:
                    link = _link(message)
                    found[link.index] = link

        self._dump(RTM_GETLINK, body, read)
        return [*found.values()]

    def addresses(self) -> list[InterfaceAddress]:
        """All addresses of both families."""
        found: set[InterfaceAddress] = set()

        def read(data: bytes) -> None:
            for kind, _, message in _messages(data):
                address = _address(kind, message) if kind == RTM_NEWADDR else None
                if address is not None:
                    found.add(address)

        self._dump(RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0), read)
        return [*found]

    def gateways(self, index: int = 0) -> frozenset[int]:
        """Devices that a route leads through to a gateway, or by default; of one device if given.

        The largest tables are those of BGP, whose routes lead through one or two devices: parts of
        a dump that name only devices known to have a gateway are not parsed.
        """
        found: set[int] = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
            if index and self.is_strict:
                body += _OIF_HEADER + struct.pack("=I", index)

            def read(data: bytes) -> None:
                known = sum(data.count(_OIF_HEADER + struct.pack("=I", i)) for i in found)
                if known == data.count(_OIF_HEADER) and _MULTIPATH_TYPE not in data:
                    return
                for kind, _, route in _messages(data):
                    if kind == RTM_NEWROUTE:
                        found.update(_gateway_devices(route))

            self._dump(RTM_GETROUTE, body, read)
        return frozenset(found & {index} if index else found)

    def egress_programs(self, index: int) -> frozenset[int]:
        """Ids of the BPF programs in filters at the clsact egress of a device."""
        found: set[int] = set()

        def read(data: bytes) -> None:
            for kind, _, message in _messages(data):
                if kind == RTM_NEWTFILTER:
                    options = _attributes(message, _TC.size).get(_TCA_OPTIONS, b"")
                    found.add(_number(_attributes(options, 0).get(_TCA_BPF_ID)))

        self._dump(RTM_GETTFILTER, _TC.pack(0, index, 0, TC_EGRESS, 0), read)
        return frozenset(found - {0})

    def ingress_qdiscs(self) -> frozenset[int]:
        """Devices that may have filters on what they receive."""
        found: set[int] = set()

        def read(data: bytes) -> None:
            for kind, _, message in _messages(data):
                if kind == RTM_NEWQDISC:
                    name = _text(_attributes(message, _TC.size).get(_TCA_KIND, b""))
                    if name in _INGRESS_QDISCS:
                        found.add(_TC.unpack_from(message)[1])

        self._dump(RTM_GETQDISC, _TC.pack(0, 0, 0, 0, 0), read)
        return frozenset(found)

    def ingress_filters(self, index: int) -> IngressFilters:
        """What the filters of a device do with what it receives."""
        programs: set[str] = set()
        redirects: set[int] = set()

        def read(data: bytes) -> None:
            for kind, _, message in _messages(data):
                if kind != RTM_NEWTFILTER:
                    continue
                _, of, handle, _, _ = _TC.unpack_from(message)
                filter_ = _attributes(message, _TC.size)
                if of != index or not handle:  # each priority has a message, without a handle
                    continue
                kind_ = _text(filter_.get(_TCA_KIND, b""))
                options = _attributes(filter_.get(_TCA_OPTIONS, b""), 0)
                if kind_ == "bpf":
                    programs.add(_text(options.get(_TCA_BPF_NAME, b"")))
                redirects.update(_redirects(options.get(_TCA_ACT.get(kind_, 0), b"")))

        self._dump(RTM_GETTFILTER, _TC.pack(0, index, 0, TC_INGRESS, 0), read)
        return IngressFilters(frozenset(programs), frozenset(redirects))

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
        size = _HEADER.size + len(body)
        request = _HEADER.pack(size, kind, NLM_F_REQUEST | NLM_F_DUMP, self._number, 0) + body
        is_whole = True
        try:
            self._socket.send(request)
            while True:
                data = self._socket.recv(1 << 18)
                _, got, flags, number, _ = _HEADER.unpack_from(data)
                if number != self._number:  # of a dump that was given up
                    continue
                is_whole &= not flags & NLM_F_DUMP_INTR
                if got == NLMSG_ERROR:
                    raise _refusal(data)
                read(data)
                if _is_last(data, self._number):
                    return is_whole
        except OSError as error:
            raise _failed(f"netlink dump of message type {kind}", error) from error


def _refusal(data: bytes) -> OSError:
    [code] = struct.unpack_from("=i", data, _HEADER.size)
    return OSError(-code or errno.EPROTO, os.strerror(-code or errno.EPROTO))


def _messages(data: bytes) -> Iterator[tuple[int, tuple[int, int], bytes]]:
    """(type, (flags, sequence number), payload) of each message of a datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, flags, number, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            return
        yield kind, (flags, number), data[at + _HEADER.size : at + size]
        at += size + 3 & ~3


def _is_last(data: bytes, number: int) -> bool:
    """Whether a datagram of a dump ends with NLMSG_DONE: found from its end, by the number."""
    at = data.rfind(struct.pack("=I", number)) - 8
    if at < 0:
        return False
    size, kind = _LENGTH.unpack_from(data, at)
    return bool(kind == NLMSG_DONE and at + (size + 3 & ~3) == len(data))


def _attributes(data: bytes, at: int, wanted: frozenset[int] | None = None) -> dict[int, bytes]:
    """Attributes by type, from offset ``at``; only the ``wanted`` ones if given."""
    found: dict[int, bytes] = {}
    end = len(data) - _ATTRIBUTE.size
    while at <= end:
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            break
        kind &= _TYPE_MASK
        if wanted is None or kind in wanted:
            found[kind] = data[at + _ATTRIBUTE.size : at + size]
        at += size + 3 & ~3
    return found


def _change(kind: int, body: bytes) -> Change | None:
    """The change in a notification; None if it is not relevant."""
    if kind == RTM_NEWLINK:
        # AF_BRIDGE messages describe a port of a bridge, with few of a link's attributes.
        return _link(body) if body[0] == socket.AF_UNSPEC else None
    if kind == RTM_DELLINK:
        return LinkGone(_LINK.unpack_from(body)[2]) if body[0] == socket.AF_UNSPEC else None
    if kind in (RTM_NEWADDR, RTM_DELADDR):
        return _address(kind, body)
    if kind in (RTM_NEWROUTE, RTM_DELROUTE):
        devices = _gateway_devices(body)
        return GatewayRoute(tuple(sorted(devices)), kind == RTM_DELROUTE) if devices else None
    if kind in (RTM_NEWTFILTER, RTM_DELTFILTER, RTM_NEWQDISC, RTM_DELQDISC):
        return TcChange(struct.unpack_from("=i", body, 4)[0])  # struct tcmsg
    return None


def _link(body: bytes) -> Link:
    _, hardware, index, flags, _ = _LINK.unpack_from(body)
    found = _attributes(body, _LINK.size, _LINK_WANTED)
    info = _attributes(found.get(_IFLA_LINKINFO, b""), 0)
    kind = _text(info.get(_IFLA_INFO_KIND, b""))
    bridge: dict[int, bytes] = {}
    if kind == "bridge":
        bridge = _attributes(info.get(_IFLA_INFO_DATA, b""), 0, _IFLA_BR_NF_CALL)
    is_elsewhere = _IFLA_LINK_NETNSID in found
    return Link(
        index=index,
        name=_text(found.get(_IFLA_IFNAME, b"")),
        kind=kind,
        master=_number(found.get(_IFLA_MASTER)),
        lower=0 if is_elsewhere else _number(found.get(_IFLA_LINK)),
        peer_in_other_netns=is_elsewhere,
        is_up=bool(flags & IFF_UP),
        is_ethernet=hardware == ARPHRD_ETHER,
        is_loopback=bool(flags & IFF_LOOPBACK),
        calls_netfilter=len(bridge) == 2 and all(map(any, bridge.values())),
    )


def _address(kind: int, body: bytes) -> InterfaceAddress | None:
    family, prefix, _, scope, index = _ADDRESS.unpack_from(body)
    found = _attributes(body, _ADDRESS.size)
    # Of a point-to-point device IFA_ADDRESS is the peer's.
    address = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS) or b""
    if len(address) not in (4, 16):
        return None
    return InterfaceAddress(
        index=index,
        address=_MAPPED + address if len(address) == 4 else address,
        is_ipv4=family == socket.AF_INET,
        prefix=prefix,
        is_link_scope=scope == RT_SCOPE_LINK,
        is_gone=kind == RTM_DELADDR,
    )


def _gateway_devices(body: bytes) -> set[int]:
    if body[7] != RTN_UNICAST:  # rtm_type: an unreachable default names the loopback device
        return set()
    is_default = body[1] == 0  # rtm_dst_len
    found = _attributes(body, _ROUTE.size)
    devices = set()
    if is_default or _RTA_GATEWAY in found or _RTA_VIA in found:
        devices.add(_number(found.get(_RTA_OIF)))
    hops = found.get(_RTA_MULTIPATH, b"")
    while len(hops) >= _NEXTHOP.size:
        size, _, _, index = _NEXTHOP.unpack_from(hops)
        hop = _attributes(hops[:size], _NEXTHOP.size)
        if is_default or _RTA_GATEWAY in hop or _RTA_VIA in hop:
            devices.add(index)
        hops = hops[max(size + 3 & ~3, _NEXTHOP.size) :]
    return devices - {0}


def _redirects(actions: bytes) -> Iterator[int]:
    """The devices that a filter's actions redirect packets to, to be sent by them."""
    for action in _attributes(actions, 0).values():
        found = _attributes(action, 0)
        if _text(found.get(_TCA_ACT_KIND, b"")) != "mirred":
            continue
        parameters = _attributes(found.get(_TCA_ACT_OPTIONS, b""), 0).get(_TCA_MIRRED_PARMS, b"")
        if len(parameters) >= _MIRRED.size:
            how, index = _MIRRED.unpack_from(parameters)
            if how == _TCA_EGRESS_REDIR:
                yield index


def _number(value: bytes | None) -> int:
    return int.from_bytes(value, "little") if value else 0


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _failed(what: str, error: OSError) -> KernelError:
    code = error.errno or errno.ETIMEDOUT  # a time-out of the socket has no number
    return KernelError(f"{what}: {os.strerror(code)}", errno=code)
