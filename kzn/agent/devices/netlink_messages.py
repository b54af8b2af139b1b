"""Layouts of rtnetlink messages: links, addresses, routes, qdiscs and filters as values.

In: bodies of messages. Out: what they say. Never: a socket, or a judgement of what a device is
(table.py). Attributes that this kzn does not know are skipped; what is cut short is not an error.

Layouts: include/uapi/linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE = 0x1, 0x300, 0x10, 0x100
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
TC_EGRESS, TC_INGRESS = 0xFFFFFFF3, 0xFFFFFFF2
"""Those of a clsact qdisc, the latter also of an ingress qdisc (include/uapi/linux/pkt_sched.h)."""

IFF_UP, IFF_LOOPBACK = 0x1, 0x8
ARPHRD_ETHER = 1  # include/uapi/linux/if_arp.h
RTEXT_FILTER_SKIP_STATS = 0x8
RT_SCOPE_LINK, RT_SCOPE_HOST = 253, 254
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
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX = 1, 2, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA = 9, 15, 18
_OIF_HEADER = struct.pack("=HH", 8, _RTA_OIF)
_MULTIPATH_TYPE = struct.pack("=H", _RTA_MULTIPATH)

_HEADER = struct.Struct("=IHHII")
_LENGTH = struct.Struct("=IH")
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # struct ndmsg
_NEXTHOP = struct.Struct("=HBBi")  # struct rtnexthop
_TC = struct.Struct("=BxxxiIII")  # struct tcmsg
_MIRRED = struct.Struct("=20xiI")  # struct tc_mirred
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_MAPPED = bytes(10) + b"\xff\xff"

LINKS_BODY = (
    _LINK.pack(0, 0, 0, 0, 0)
    + _ATTRIBUTE.pack(8, _IFLA_EXT_MASK)
    + struct.pack("=I", RTEXT_FILTER_SKIP_STATS)
)
ADDRESSES_BODY = _ADDRESS.pack(0, 0, 0, 0, 0)
QDISCS_BODY = _TC.pack(0, 0, 0, 0, 0)
"""For RTM_GETLINK, RTM_GETADDR and RTM_GETQDISC: all there are."""


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
    peer_netns: int = -1
    """The kernel's number for the network namespace of the peer; -1 for none."""


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
    peer: bytes = b""
    """Of a point-to-point address: as the kernel has it. One device may have several of these."""

    @property
    def is_subnet(self) -> bool:
        """Whether other hosts are directly reachable by it."""
        return self.prefix < (32 if self.is_ipv4 else 128) and not self.is_link_scope


@dataclass(frozen=True, slots=True)
class GatewayRoute:
    """Devices that a route leads through to a gateway, or by default."""

    devices: tuple[int, ...]
    is_gone: bool = False
    replaces: bool = False
    """Another route to the same destination, through any device, is gone."""


class RouteKey(NamedTuple):
    """What one route replaces another by; ``address`` has 16 bytes."""

    address: bytes
    table: int = 254
    tos: int = 0
    metric: int = 0

    @property
    def is_ipv4(self) -> bool:
        """Whether the address is one of IPv4."""
        return self.address.startswith(_MAPPED)


@dataclass(frozen=True, slots=True)
class HostRoute:
    """A route to one address; ``index`` is 0 where that is not directly behind a device.

    The kernel keeps routes that differ in ``scope``, ``protocol`` or ``source`` beside each other.
    """

    index: int
    key: RouteKey
    scope: int = 0
    protocol: int = 0
    source: bytes = b""
    """The preferred source of an IPv4 route (16 bytes); with that address the route goes."""
    is_gone: bool = False
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class TcChange:
    """A qdisc or filter of a device came or went."""

    index: int


Change = Link | LinkGone | InterfaceAddress | GatewayRoute | HostRoute | TcChange


@dataclass(frozen=True, slots=True)
class IngressFilters:
    """What filters do with what a device receives, besides dropping it."""

    programs: frozenset[str] = frozenset()
    """Names of BPF programs."""
    redirects: frozenset[int] = frozenset()
    """Devices that packets are sent by instead (tc-mirred)."""

    def plus(self, other: "IngressFilters") -> "IngressFilters":
        """What both do."""
        return IngressFilters(self.programs | other.programs, self.redirects | other.redirects)


def dump_request(kind: int, body: bytes, number: int) -> bytes:
    """A request for all objects of a type."""
    size = _HEADER.size + len(body)
    return _HEADER.pack(size, kind, NLM_F_REQUEST | NLM_F_DUMP, number, 0) + body


def route_body(family: int, index: int = 0) -> bytes:
    """For RTM_GETROUTE: the routes of a family, of one device if given (strict checking only)."""
    body = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    return body + _OIF_HEADER + struct.pack("=I", index) if index else body


def filter_body(index: int, parent: int) -> bytes:
    """For RTM_GETTFILTER: the filters of one device at `TC_EGRESS` or `TC_INGRESS`."""
    return _TC.pack(0, index, 0, parent, 0)


def first_header(data: bytes) -> tuple[int, int, int]:
    """Type, flags and number of the first message of a datagram."""
    _, kind, flags, number, _ = _HEADER.unpack_from(data)
    return kind, flags, number


def error_of(data: bytes) -> OSError:
    """The error of an NLMSG_ERROR datagram."""
    [code] = struct.unpack_from("=i", data, _HEADER.size)
    return OSError(-code or errno.EPROTO, os.strerror(-code or errno.EPROTO))


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message of a datagram."""
    for kind, _, body in flagged(data):
        yield kind, body


def flagged(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and body of each message of a datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            return
        yield kind, flags, data[at + _HEADER.size : at + size]
        at += size + 3 & ~3


def is_last(data: bytes, number: int) -> bool:
    """Whether a datagram of a dump ends with NLMSG_DONE: found from its end, by the number.

    OSError when the dump ended by an error.
    """
    at = data.rfind(struct.pack("=I", number)) - 8
    if at < 0:
        return False
    size, kind = _LENGTH.unpack_from(data, at)
    if kind != NLMSG_DONE or at + (size + 3 & ~3) != len(data):
        return False
    if code := -_signed(data[at + _HEADER.size : at + _HEADER.size + 4] or bytes(4)):
        raise OSError(code, os.strerror(code))
    return True


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


def changes(kind: int, flags: int, body: bytes) -> tuple[Change, ...]:
    """The changes in a notification; none if it is not relevant."""
    if kind in (RTM_NEWROUTE, RTM_DELROUTE):
        return tuple(_route_changes(body, kind == RTM_DELROUTE, bool(flags & NLM_F_REPLACE)))
    found = _change(kind, body)
    return () if found is None else (found,)


def _change(kind: int, body: bytes) -> Change | None:
    if kind == RTM_NEWLINK:
        # AF_BRIDGE messages describe a port of a bridge, with few of a link's attributes.
        return link(body) if body[0] == socket.AF_UNSPEC else None
    if kind == RTM_DELLINK:
        return LinkGone(_LINK.unpack_from(body)[2]) if body[0] == socket.AF_UNSPEC else None
    if kind in (RTM_NEWADDR, RTM_DELADDR):
        return address(kind, body)
    if kind in (RTM_NEWTFILTER, RTM_DELTFILTER, RTM_NEWQDISC, RTM_DELQDISC):
        return TcChange(struct.unpack_from("=i", body, 4)[0])  # struct tcmsg
    return None


def _route_changes(body: bytes, is_gone: bool, replaces: bool) -> Iterator[Change]:
    devices = gateway_devices(body)
    if devices or replaces:
        yield GatewayRoute(tuple(sorted(devices)), is_gone, replaces)
    host = host_route(body, is_gone=is_gone, replaces=replaces)
    if host is not None and (host.index or replaces):
        yield host


def link(body: bytes) -> Link:
    """The device of an RTM_NEWLINK."""
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
        peer_netns=_signed(found.get(_IFLA_LINK_NETNSID)),
    )


def address(kind: int, body: bytes) -> InterfaceAddress | None:
    """The address of an RTM_NEWADDR or RTM_DELADDR; None for other families than IP's."""
    family, prefix, _, scope, index = _ADDRESS.unpack_from(body)
    found = _attributes(body, _ADDRESS.size)
    peer = found.get(_IFA_ADDRESS, b"")
    raw = found.get(_IFA_LOCAL) or peer
    if len(raw) not in (4, 16):
        return None
    return InterfaceAddress(
        index=index,
        address=_MAPPED + raw if len(raw) == 4 else raw,
        is_ipv4=family == socket.AF_INET,
        prefix=prefix,
        is_link_scope=scope == RT_SCOPE_LINK,
        is_gone=kind == RTM_DELADDR,
        peer=peer if peer != raw else b"",
    )


def names_only(data: bytes, devices: Iterable[int]) -> bool:
    """Whether the routes of a datagram lead only through these devices, by a look at its bytes."""
    known = sum(data.count(_OIF_HEADER + struct.pack("=I", index)) for index in devices)
    return known == data.count(_OIF_HEADER) and _MULTIPATH_TYPE not in data


def gateway_devices(body: bytes) -> set[int]:
    """Devices that an RTM_NEWROUTE leads through to a gateway, or by default."""
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


def host_route(body: bytes, *, is_gone: bool = False, replaces: bool = False) -> HostRoute | None:
    """The route of an RTM_NEWROUTE or RTM_DELROUTE; None if it is not to one address."""
    family, prefix, _, tos, table, protocol, scope, kind, _ = _ROUTE.unpack_from(body)
    length = 4 if family == socket.AF_INET else 16
    if prefix != 8 * length:
        return None
    found = _attributes(body, _ROUTE.size)
    address = found.get(_RTA_DST, b"")
    if len(address) != length:
        return None
    is_direct = kind == RTN_UNICAST and _RTA_GATEWAY not in found and _RTA_VIA not in found
    key = RouteKey(
        _MAPPED + address if length == 4 else address,
        _number(found.get(_RTA_TABLE)) or table,
        tos,
        _number(found.get(_RTA_PRIORITY)),
    )
    source = found.get(_RTA_PREFSRC, b"")
    return HostRoute(
        index=_number(found.get(_RTA_OIF)) if is_direct else 0,
        key=key,
        scope=scope,
        protocol=protocol,
        source=_MAPPED + source if len(source) == 4 else b"",
        is_gone=is_gone,
        replaces=replaces,
    )


def neighbour_body(index: int) -> bytes:
    """For RTM_GETNEIGH: the neighbours at one device, of both families."""
    body = _NEIGHBOUR.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    return body + _ATTRIBUTE.pack(8, _NDA_IFINDEX) + struct.pack("=I", index)


def neighbour(body: bytes, index: int) -> tuple[bytes, bytes] | None:
    """Address (16 bytes) and link-layer address of an RTM_NEWNEIGH, if it is at this device."""
    family, of, _, _, kind = _NEIGHBOUR.unpack_from(body)
    if of != index or kind != RTN_UNICAST or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    found = _attributes(body, _NEIGHBOUR.size)
    address, station = found.get(_NDA_DST, b""), found.get(_NDA_LLADDR, b"")
    if len(address) not in (4, 16) or not station:
        return None
    return _MAPPED + address if len(address) == 4 else address, station


def program_of(body: bytes) -> int:
    """The id of the BPF program that the filter of an RTM_NEWTFILTER runs; 0 for none."""
    options = _attributes(body, _TC.size).get(_TCA_OPTIONS, b"")
    return _number(_attributes(options, 0).get(_TCA_BPF_ID))


def ingress_qdisc(body: bytes) -> int:
    """The device of an RTM_NEWQDISC that may have filters on what it receives; else 0."""
    name = _text(_attributes(body, _TC.size).get(_TCA_KIND, b""))
    return int(_TC.unpack_from(body)[1]) if name in _INGRESS_QDISCS else 0


def ingress_filter(body: bytes, index: int) -> IngressFilters:
    """What the filter of an RTM_NEWTFILTER does; nothing if it is not one of this device."""
    _, of, handle, _, _ = _TC.unpack_from(body)
    if of != index or not handle:  # each priority has a message, without a handle
        return IngressFilters()
    filter_ = _attributes(body, _TC.size)
    kind = _text(filter_.get(_TCA_KIND, b""))
    options = _attributes(filter_.get(_TCA_OPTIONS, b""), 0)
    programs = {_text(options.get(_TCA_BPF_NAME, b""))} if kind == "bpf" else set()
    redirects = _redirects(options.get(_TCA_ACT.get(kind, 0), b""))
    return IngressFilters(frozenset(programs), frozenset(redirects))


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


def _signed(value: bytes | None) -> int:
    return int.from_bytes(value, "little", signed=True) if value else -1


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
