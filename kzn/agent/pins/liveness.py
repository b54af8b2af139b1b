"""Whether the programs of a set count at a netfilter hook: by packets that pass it.

In: a hook and the set's maps. Out: yes, no, or not known.
Never: a packet that leaves the node, or a capability.

Which program has a priority is not told to an agent: the kernel lists links to CAP_SYS_ADMIN alone,
and without their network namespace, and the hooks of a namespace by nfnetlink_hook, which a running
agent may not ask. So the agent sends datagrams to itself over loopback. They pass LOCAL_OUT,
POSTROUTING, PREROUTING and LOCAL_IN before they are received, and a program counts each packet as
seen, even if it is ignored.
"""

import socket
from typing import Protocol

from kzn.model.totals import Counts
from kzn.probes.declaration import Family, NetfilterHook

DATAGRAMS = 16
"""More than the few other packets that may pass in the same instant."""
RECEIVE_SECONDS = 0.2
_PAYLOAD = b"kzn agent: a packet to see whether the hook counts"
_NF_INET_FORWARD = 2
"""The hook that loopback does not pass (include/uapi/linux/netfilter.h)."""
_LOOPBACK: dict[Family, tuple[socket.AddressFamily, str]] = {
    "ipv4": (socket.AF_INET, "127.0.0.1"),
    "ipv6": (socket.AF_INET6, "::1"),
}


class Counting(Protocol):
    """The methods of `kzn.agent.maps.mapset.MapSet` that are asked."""

    def active(self) -> int: ...
    def seen(self, buffer: int) -> Counts: ...


def counts_loopback(hook: NetfilterHook, maps: Counting) -> bool | None:
    """Whether programs with these maps count packets at this hook of the thread's namespace.

    None when no packet could be sent through the hook, the buffers were switched meanwhile, or the
    program does not count every packet.
    """
    if hook.hook == _NF_INET_FORWARD or not hook.counts_all:
        return None
    active, before = maps.active(), _seen(maps)
    if not _send(hook.family):
        return None
    after = _seen(maps)
    if sum(max(0, b - a) for a, b in zip(before, after, strict=True)) >= DATAGRAMS:
        return True
    is_steady = maps.active() == active and all(a <= b for a, b in zip(before, after, strict=True))
    return False if is_steady else None


def _seen(maps: Counting) -> list[int]:
    """Packets seen, by buffer."""
    return [maps.seen(buffer).packets for buffer in (0, 1)]


def _send(family: Family) -> bool:
    """Whether all datagrams were received, and so have passed every hook between."""
    domain, address = _LOOPBACK[family]
    try:
        with socket.socket(domain, socket.SOCK_DGRAM) as sock:
            sock.settimeout(RECEIVE_SECONDS)
            sock.bind((address, 0))
            for _ in range(DATAGRAMS):
                sock.sendto(_PAYLOAD, sock.getsockname())
                sock.recv(len(_PAYLOAD))
    except OSError:  # the family or the loopback device is not in use, or a rule drops them
        return False
    return True
