"""Settings of a probe's object, fixed when it is loaded (`struct settings` in flow.h)."""

import hashlib
import secrets
import struct
import time
from dataclasses import dataclass
from typing import Literal

from kzn.probes.declaration import API

PortsMode = Literal["none", "service", "all"]

PORTS: dict[PortsMode, int] = {"none": 0, "service": 1, "all": 2}
MAX_FLOWS = 65536
DORMANT_SECONDS = 600.0

CLOCK_MONOTONIC_COARSE = 6  # include/uapi/linux/time.h; the time module lacks it

MAX_ROWS_BITS = 17
"""A buffer has at most 2^17 rows, 8 MiB; flows that find no row go to the hash."""
ROWS_A_FLOW = 2
"""For each flow of `Settings.max_flows`, up to that limit: a flow has a row on each CPU, and of as
many rows as flows one in six finds all of its places taken (docs/adr/0007)."""

FACTORS = 6
"""Factors of the hash of rows (rows.bpf.h)."""

_SETTINGS = struct.Struct(f"<QIIQ{FACTORS}Q")


@dataclass(frozen=True, slots=True)
class Settings:
    """Which ports are kept, how many flows a buffer holds, and when a program goes dormant.

    ``dormant_seconds`` 0 means never.
    """

    ports: PortsMode = "service"
    max_flows: int = MAX_FLOWS
    dormant_seconds: float = DORMANT_SECONDS

    @property
    def rows(self) -> int:
        """The rows of a buffer: two for each flow, rounded up to a power of two, with a limit."""
        return 1 << self._row_bits

    @property
    def _row_bits(self) -> int:
        return min(MAX_ROWS_BITS, (ROWS_A_FLOW * self.max_flows - 1).bit_length())

    def constants(self) -> bytes:
        """The bytes of the object's variable `settings`; the hash's factors differ at each call.

        A jiffy is the resolution of the coarse clock (kernel/time: TICK_NSEC), so the kernel's HZ
        need not be known.
        """
        jiffies = round(self.dormant_seconds / time.clock_getres(CLOCK_MONOTONIC_COARSE))
        factors = (secrets.randbits(64) | 1 for _ in range(FACTORS))
        return _SETTINGS.pack(jiffies, PORTS[self.ports], API, 64 - self._row_bits, *factors)

    def digest(self, image: bytes) -> bytes:
        """32 bytes that are equal if pinned maps and programs have the same object and settings."""
        text = f"{self.ports} {self.max_flows} {self.rows} {self.dormant_seconds} ".encode()
        return hashlib.sha256(text + image).digest()
