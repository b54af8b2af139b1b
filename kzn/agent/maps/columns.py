"""Converts the rows of a buffer to columns: distinct addresses once, flows refer to them by row.

In: flow keys, counts summed over the CPUs (buffers.py), the far ends of tunnels, and
senders. Out: `Flows`.
Never: a call to the kernel, except by the ``far_end`` that is given.
"""

from collections.abc import Callable, Sequence
from socket import IPPROTO_TCP, IPPROTO_UDP
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import U8, U16, U32, U64
from kzn.columns.distinct_rows import distinct_rows
from kzn.model.flows import (
    BY_DEVICE,
    FAR_END_UNKNOWN,
    FLAGS,
    INITIATOR_MASK,
    NO_SENDER,
    NO_VIA,
    PORT_OF_SOURCE,
    TUNNEL_WITHOUT_ID,
    Flows,
)
from kzn.model.totals import Counts

FarEnd = Callable[[int], bytes | None]
"""The address (16 bytes) of a tunnel's far end by its id; None if it is not known."""


def to_flows(
    keys: npt.NDArray[Any],
    counts: U64,
    far_end: FarEnd = lambda _: None,
    senders: Sequence[bytes] = (),
) -> Flows:
    """Columns from keys (m,) and counts (m, 2) of packets and bytes.

    ``senders`` are addresses, by the numbers that keys with BY_DEVICE have (senders.py).
    """
    if not len(keys):
        return Flows.empty()
    by_device = (keys["flags"] & np.uint8(BY_DEVICE)) != 0
    tunnels = np.where(by_device, np.uint16(0), keys["tunnel"])
    ids, ends = _far_ends(tunnels, far_end)
    sent_by = np.frombuffer(b"".join(senders), np.uint8).reshape(-1, 16)
    addresses, index = distinct(np.concatenate((keys["src"], keys["dst"], ends, sent_by)))
    src, dst, rest = np.split(index, [len(keys), 2 * len(keys)])
    port, peer = keys["port"], keys["peer_port"]
    of_source = (keys["flags"] & PORT_OF_SOURCE) != 0
    return Flows(
        addresses=addresses,
        src=src,
        dst=dst,
        src_port=np.where(of_source, port, peer),
        dst_port=np.where(of_source, peer, port),
        protocol=keys["protocol"].copy(),
        flags=_flags(keys["flags"], tunnels),
        packets=counts[:, 0].copy(),
        bytes=counts[:, 1].copy(),
        via=_via(tunnels, ids, rest[: len(ids)]),
        sender=_sender(np.where(by_device, keys["tunnel"], np.uint16(0)), rest[len(ids) :]),
    )


def _sender(numbers: U16, rows: U32) -> U32 | None:
    if not len(rows):
        return None
    return np.append(np.uint32(NO_SENDER), rows).take(numbers)


LOWER_PORT_PROTOCOLS = {int(IPPROTO_TCP): "tcp", int(IPPROTO_UDP): "udp"}
"""By protocol number; all others with ports are "other"."""


def by_lower_port(flows: Flows) -> dict[str, Counts]:
    """What has the lower port for its service's, by protocol: "tcp", "udp" and "other".

    That is so for flows with ports whose initiator is unknown (`keep_ports` in
    bpf/src/protocols.bpf.h); what tells the initiator also tells the service's port.
    """
    unknown = (flows.flags & np.uint8(INITIATOR_MASK)) == 0
    unknown &= (flows.src_port | flows.dst_port) != 0
    found, others = {}, unknown.copy()
    for number, name in LOWER_PORT_PROTOCOLS.items():
        found[name] = _sum(flows, unknown & (flows.protocol == number))
        others &= flows.protocol != number
    return found | {"other": _sum(flows, others)}


def _sum(flows: Flows, which: npt.NDArray[np.bool_]) -> Counts:
    return Counts(int(flows.packets[which].sum()), int(flows.bytes[which].sum()))


def _flags(of_keys: U8, tunnels: U16) -> U8:
    flags: U8 = of_keys & np.uint8(FLAGS & ~FAR_END_UNKNOWN)
    flags[tunnels == TUNNEL_WITHOUT_ID] |= np.uint8(FAR_END_UNKNOWN)
    return flags


def _far_ends(tunnels: U16, far_end: FarEnd) -> tuple[list[int], U8]:
    """The ids among ``tunnels`` whose far end is known, and the far ends, 16 bytes each."""
    if not tunnels.any():
        return [], np.zeros((0, 16), np.uint8)
    present = np.zeros(TUNNEL_WITHOUT_ID + 1, np.bool_)
    present[tunnels] = True
    found = {
        number: end
        for number in np.flatnonzero(present[:TUNNEL_WITHOUT_ID]).tolist()
        if number and (end := far_end(number)) is not None
    }
    return list(found), np.frombuffer(b"".join(found.values()), np.uint8).reshape(-1, 16)


def _via(tunnels: U16, ids: list[int], rows: U32) -> U32 | None:
    if not ids:
        return None
    row_of = np.full(TUNNEL_WITHOUT_ID + 1, NO_VIA, np.uint32)
    row_of[ids] = rows
    return row_of.take(tunnels)


def distinct(addresses: U8) -> tuple[U8, U32]:
    """Distinct rows of (n, 16), and the number of each input row among them."""
    first, index = distinct_rows(addresses.view(np.uint64).reshape(-1, 2))
    return addresses[first], index.astype(np.uint32)
