"""Words for protocols and flags, and the lines of ``kzn agent --print``: largest flow first."""

import socket
from collections.abc import Iterator

import numpy as np

from kzn.model import ip
from kzn.model.batch import Batch
from kzn.model.flows import (
    ENCRYPTED,
    INITIATOR_DESTINATION,
    INITIATOR_MASK,
    INITIATOR_SOURCE,
    Flows,
)

_NAMES = {
    socket.IPPROTO_TCP: "tcp",
    socket.IPPROTO_UDP: "udp",
    socket.IPPROTO_ICMP: "icmp",
    socket.IPPROTO_ICMPV6: "icmpv6",
    socket.IPPROTO_SCTP: "sctp",
    socket.IPPROTO_ESP: "esp",
}
NUMBERS: dict[str, int] = {name: int(number) for number, name in _NAMES.items()}
"""Protocol numbers by usual name."""
INITIATORS = {INITIATOR_SOURCE: "source", INITIATOR_DESTINATION: "destination"}


def protocol_name(number: int) -> str:
    """The usual name of an IP protocol, or else its number."""
    return _NAMES.get(number, str(number))


def initiator(flags: int) -> str:
    """The end that opened the connection: "source", "destination", or "" when unknown."""
    return INITIATORS.get(flags & INITIATOR_MASK, "")


def is_encrypted(flags: int) -> bool:
    """Whether a flow is an encrypted tunnel, so that its inner addresses are unknown."""
    return bool(flags & ENCRYPTED)


def by_bytes(flows: Flows) -> list[int]:
    """Row numbers, most bytes first."""
    return [int(row) for row in np.argsort(flows.bytes)[::-1]]


def ends(flows: Flows, row: int) -> tuple[str, str]:
    """Source and destination of a flow as text, with the port that was kept."""
    places = []
    for index, port in ((flows.src, flows.src_port), (flows.dst, flows.dst_port)):
        address, number = ip.text(flows.addresses[index[row]].tobytes()), int(port[row])
        shown = f"[{address}]" if ":" in address and number else address
        places.append(f"{shown}:{number}" if number else address)
    return places[0], places[1]


def lines(batch: Batch) -> Iterator[str]:
    """The text of a batch: a summary, a line for each flow, what is in no flow by reason."""
    totals = batch.totals
    seconds = (batch.opened_ms_ago - batch.closed_ms_ago) / 1000
    yield (
        f"batch {batch.sequence}: {len(batch.flows)} flows in {seconds:.1f} s, "
        f"seen {totals.seen.bytes} bytes in {totals.seen.packets} packets"
    )
    flows = batch.flows
    for row in by_bytes(flows):
        src, dst = ends(flows, row)
        kind = protocol_name(int(flows.protocol[row]))
        kind += " encrypted" if is_encrypted(int(flows.flags[row])) else ""
        yield (
            f"  {src} > {dst} {kind} "
            f"{int(flows.bytes[row])} bytes {int(flows.packets[row])} packets"
        )
    for kind, rows in (("missed", totals.missed), ("ignored", totals.ignored)):
        for reason, counts in rows.items():
            yield f"  {kind} ({reason}) {counts.bytes} bytes {counts.packets} packets"
