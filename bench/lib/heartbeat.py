"""How long the event loop of a server is held by one piece of work.

A task sleeps a millisecond at a time; what a sleep takes longer is time in which no ack is sent, a
stall. Of that counts no more than the CPU time that the process used meanwhile, in all its threads:
the rest is other load of the machine. On a loaded machine a stall may still be a wait of the loop's
thread for a CPU, while others of the process have one; a *slice* is the CPU time of its own.
"""

import asyncio
import time

BEAT = 0.001
STALL = 0.010
"""Shorter gaps are the interpreter lock changing hands, and the scheduler of a shared machine."""


class Heartbeat:
    """Gaps between two turns of the loop: the longest, and the share of those above STALL."""

    def __init__(self) -> None:
        self._beats = asyncio.Event()
        self._beats.set()
        self.reset()

    def rest(self) -> None:
        """Stop until `reset`: a thousand turns a second take CPU time that is not the server's."""
        self._beats.clear()

    def reset(self) -> None:
        """Begin a new measurement."""
        self._beats.set()
        self.began = time.monotonic()
        self.longest = 0.0
        self.stalled = 0.0
        self.longest_slice = 0.0
        self.long_slices = 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        last, last_cpu, last_own = time.monotonic(), time.process_time(), time.thread_time()
        while True:
            if not self._beats.is_set():
                await self._beats.wait()
                last, last_cpu, last_own = time.monotonic(), time.process_time(), time.thread_time()
            await asyncio.sleep(BEAT)
            now, cpu, own = time.monotonic(), time.process_time(), time.thread_time()
            gap, part = min(now - last - BEAT, cpu - last_cpu), own - last_own
            last, last_cpu, last_own = now, cpu, own
            self.longest_slice = max(self.longest_slice, part)
            if part > STALL:
                self.long_slices += part
            self.longest = max(self.longest, gap)
            if gap > STALL:
                self.stalled += gap

    def numbers(self) -> dict[str, float]:
        """The longest gap and slice in milliseconds, and the share of time in those above STALL."""
        took = time.monotonic() - self.began
        return {
            "longest_stall_ms": round(self.longest * 1e3, 1),
            "stalled_share": round(self.stalled / took, 4),
            "longest_slice_ms": round(self.longest_slice * 1e3, 1),
            "long_slices_share": round(self.long_slices / took, 4),
        }
