"""Converts the rows of a buffer to columns: distinct addresses once, flows refer to them by row.

In: flow keys, and counts summed over the CPUs (buffers.py). Out: `Flows`. Never: a call to the
kernel.
"""

from socket import IPPROTO_TCP, IPPROTO_UDP
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import U8, U32, U64
from kzn.model.flows import ENCRYPTED, INITIATOR_MASK, PORT_OF_SOURCE, Flows
from kzn.model.totals import Counts

_MIX = np.uint64(0x9E3779B97F4A7C15)


def to_flows(keys: npt.NDArray[Any], counts: U64) -> Flows:
    """Columns from keys (m,) and counts (m, 2) of packets and bytes."""
    if not len(keys):
        return Flows.empty()
    addresses, index = distinct(np.concatenate((keys["src"], keys["dst"])))
    port, peer = keys["port"], keys["peer_port"]
    of_source = (keys["flags"] & PORT_OF_SOURCE) != 0
    return Flows(
        addresses=addresses,
        src=index[: len(keys)],
        dst=index[len(keys) :],
        src_port=np.where(of_source, port, peer),
        dst_port=np.where(of_source, peer, port),
        protocol=keys["protocol"].copy(),
        flags=keys["flags"] & np.uint8(INITIATOR_MASK | ENCRYPTED),
        packets=counts[:, 0].copy(),
        bytes=counts[:, 1].copy(),
    )


LOWER_PORT_PROTOCOLS = {int(IPPROTO_TCP): "tcp", int(IPPROTO_UDP): "udp"}
"""By protocol number; all others with ports are "other"."""


def by_lower_port(flows: Flows) -> dict[str, Counts]:
    """What has the lower port for its service's, by protocol: "tcp", "udp" and "other".

    That is so for flows with ports whose initiator is unknown (`keep_ports` in
    bpf/src/protocols.bpf.h); whatever tells the initiator also tells the service's port.
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


def distinct(addresses: U8) -> tuple[U8, U32]:
    """Distinct rows of (n, 16), and the number of each input row among them.

    Sorts 64-bit hashes, which is several times faster than sorting rows of 16 bytes. The rows are
    compared afterwards; in case of a hash collision the rows themselves are sorted.
    """
    halves = addresses.view(np.uint64).reshape(-1, 2)
    hashes = (halves[:, 0] ^ (halves[:, 0] >> np.uint64(29))) * _MIX + halves[:, 1]
    _, first, index = np.unique(hashes, return_index=True, return_inverse=True)
    rows = addresses[first]
    if not np.array_equal(rows[index], addresses):
        rows, index = np.unique(addresses, axis=0, return_inverse=True)
    return rows, index.reshape(-1).astype(np.uint32)
