"""Limits for data of a peer, checked before memory is allocated."""

from dataclasses import dataclass

MAX_HELLO = 16 << 10
"""Bytes of the first frame, from a peer that is not authenticated; a token has about 2 kB."""

MAX_TOTALS = 4 << 10
"""Bytes of the totals of a batch: a dozen rows of about 30 bytes."""

MAX_NODE_ADDRESSES = 4096
"""Addresses that an agent may send of its own node, 16 bytes each."""

MAX_AGE_MS = 366 * 24 * 3600 * 1000
"""A year. A greater age means that the peer uses another unit."""

MAX_SUM = float(1 << 60)
"""Packets or bytes of one batch, so that sums fit 64 bits: two years at 150 Gb/s."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A server's limits, sent to agents in Welcome. A map has 65,536 flows by default."""

    max_frame: int = 8 << 20
    max_flows: int = 262_144
    max_addresses: int = 262_144
