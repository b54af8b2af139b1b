"""What one peer may make the other allocate, checked before anything is allocated."""

from dataclasses import dataclass

MAX_HELLO = 16 << 10
"""Bytes of the first frame, from somebody who has proved nothing yet: a token is some 2 kB."""

MAX_TOTALS = 4 << 10
"""Bytes of the totals of a batch: a dozen rows of some 30."""

MAX_AGE_MS = 366 * 24 * 3600 * 1000
"""No buffer is older than a year; a greater age is a peer that counts in something else."""

MAX_SUM = float(1 << 60)
"""Packets or bytes of one batch, so that no sum overflows 64 bits: two years at 150 Gb/s."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes, told to its agents in Welcome. A map is 65,536 flows by default."""

    max_frame: int = 8 << 20
    max_flows: int = 262_144
    max_addresses: int = 262_144
