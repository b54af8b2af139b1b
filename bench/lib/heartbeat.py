"""How long the event loop of a server is held by one piece of work.

A task sleeps a millisecond at a time; what a sleep takes longer is time in which no ack is sent. Of
that counts no more than the CPU time that the process used meanwhile, in all its threads: the rest
is other load of the machine.
"""

import asyncio
import time

BEAT = 0.001
STALL = 0.010
"""Shorter gaps are the interpreter lock changing hands, and the scheduler of a shared machine."""


class Heartbeat:
    """Gaps between two turns of the loop: the longest, and the share of those above STALL."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin a new measurement."""
        self.began = time.monotonic()
        self.longest = 0.0
        self.stalled = 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        last, last_cpu = time.monotonic(), time.process_time()
        while True:
            await asyncio.sleep(BEAT)
            now, cpu = time.monotonic(), time.process_time()
            gap = min(now - last - BEAT, cpu - last_cpu)
            last, last_cpu = now, cpu
            self.longest = max(self.longest, gap)
            if gap > STALL:
                self.stalled += gap

    def numbers(self) -> dict[str, float]:
        """The longest gap in milliseconds, and the share of time in gaps above STALL."""
        took = time.monotonic() - self.began
        return {
            "longest_stall_ms": round(self.longest * 1e3, 1),
            "stalled_share": round(self.stalled / took, 4),
        }
