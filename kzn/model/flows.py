"""Flows as columns: the shape in which counts travel from the kernel's map to the ledger."""

from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import U8, U16, U32, U64

FLOW_KEY = np.dtype(
    [
        ("src", "u1", 16),
        ("dst", "u1", 16),
        ("port", "<u2"),
        ("protocol", "u1"),
        ("flags", "u1"),
        ("peer_port", "<u2"),
        ("tunnel", "<u2"),
    ]
)
"""``struct flow_key`` of bpf/src/flow.h: IPv4 is ::ffff:a.b.c.d; ports in host order, 0 = not kept.

``port`` is that of the side that was connected to, the source's when `PORT_OF_SOURCE` is set;
``peer_port`` is that of the other side, 0 unless ``--ports all``. ``tunnel`` is the id of the far
end if the node encapsulated the packet, else 0; with `BY_DEVICE` the low half of the index of the
device that the packet came in by, or, once the agent knows it, the number of the sender.
"""

FLOW_COUNTS = np.dtype([("packets", "<u8"), ("bytes", "<u8")])
"""``struct flow_counts`` of bpf/src/flow.h."""

INITIATOR_MASK = 0x03
INITIATOR_UNKNOWN = 0x00
INITIATOR_SOURCE = 0x01
INITIATOR_DESTINATION = 0x02
PORT_OF_SOURCE = 0x04
"""``flags``: the end that opened the connection (by conntrack); in a key also the port's end."""
ENCRYPTED = 0x08
"""``flags``: WireGuard or ESP; what is inside is charged to the ends of the tunnel."""
RELAYED = 0x10
"""``flags``: came in by a tunnel device of the reporting node and left the node again."""
DELIVERED = 0x20
"""``flags``: came in by a tunnel device of the reporting node, for a local device."""
FAR_END_UNKNOWN = 0x40
"""``flags``: the reporting node encapsulated it, and there was no room for the tunnel's far end."""
BY_DEVICE = 0x80
"""``flags`` of a key alone: ``tunnel`` tells where the packet came in."""
FLAGS = INITIATOR_MASK | ENCRYPTED | RELAYED | DELIVERED | FAR_END_UNKNOWN
"""The ``flags`` of `Flows`."""

TUNNEL_WITHOUT_ID = 0xFFFF
"""``tunnel`` of a key: KZN_TUNNEL_WITHOUT_ID."""
NO_VIA = 0xFFFFFFFF
"""``via`` of a flow that the reporting node did not encapsulate."""
NO_SENDER = NO_VIA
"""``sender`` of a flow whose source tells the sender, as far as the node knows."""


@dataclass(frozen=True, slots=True, eq=False)
class Flows:
    """m flows over n distinct addresses; every per-flow column has shape (m,).

    ``addresses`` is (n, 16) uint8; ``src`` and ``dst`` are row numbers in it. Of ``flags``, `FLAGS`
    are kept. With ``--ports service`` the port that is not 0 is that of the service. ``via`` is
    the row of the outer destination of flows that the reporting node encapsulated, `NO_VIA` for the
    others; None when there are only others. ``sender`` is the row of an address of the pod behind
    the device that the flow came in by, where that is not its source's; `NO_SENDER` and None
    likewise.
    """

    addresses: U8
    src: U32
    dst: U32
    src_port: U16
    dst_port: U16
    protocol: U8
    flags: U8
    packets: U64
    bytes: U64
    via: U32 | None = None
    sender: U32 | None = None

    def __len__(self) -> int:
        return len(self.src)

    @staticmethod
    def empty() -> "Flows":
        """No flows over no addresses."""
        return Flows(
            addresses=np.zeros((0, 16), np.uint8),
            src=np.zeros(0, np.uint32),
            dst=np.zeros(0, np.uint32),
            src_port=np.zeros(0, np.uint16),
            dst_port=np.zeros(0, np.uint16),
            protocol=np.zeros(0, np.uint8),
            flags=np.zeros(0, np.uint8),
            packets=np.zeros(0, np.uint64),
            bytes=np.zeros(0, np.uint64),
        )
