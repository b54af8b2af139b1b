"""Servers that are killed while they record, merge and roll up: forked from one warm process.

In: lines ``SEED BEGIN`` on stdin, and a directory as argument. Out: for each line a child process
that records batches on a clock that runs from BEGIN on, its process id, and its counts after the
start as JSON. It goes on until it is killed; with SEED ``end`` it ends in order.

The sums of the ledger are in a mapped file, as exact as a state file that commits each batch.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from random import Random

from cluster import Clock
from historic import DB, JOB, NODES, STORE, WEB1, WEB2, HistoricWorld, InProcessWriter

from kzn.history.directory import Journal
from kzn.history.retention import Keep

INSTANCE = 9
KEEP = Keep(raw=400 * 86_400, hour=400 * 86_400, day=400 * 86_400)


def main() -> None:
    """Serve the lines."""
    root = Path(sys.argv[1])
    for line in sys.stdin:
        seed, begin = line.split()
        child = os.fork()
        if child == 0:
            asyncio.run(victim(root, seed, float(begin)))
            os._exit(0)
        print(child, flush=True)  # noqa: T201 - the answer
        os.waitpid(child, 0)
        print("ended", flush=True)  # noqa: T201 - the answer


async def victim(root: Path, seed: str, begin: float) -> None:
    """Record until killed; `flushed` has the ledger of the last flush that was complete."""
    chance = Random(seed)
    (root / "flushed").mkdir(exist_ok=True)
    flushed = Journal(root / "flushed")
    world = HistoricWorld(
        root,
        InProcessWriter(root, KEEP),
        journal=Journal(root),
        clock=Clock(begin),
    )
    world.recorder.totals.sums = Journal(root).read()[1]
    await world.recorder.start(INSTANCE)
    counts = world.recorder.books()
    assert counts.missing() == {}, counts
    document = {"recorded": counts.recorded, "lost": counts.lost, "ledger": counts.ledger}
    print(json.dumps(document), flush=True)  # noqa: T201 - the answer
    while True:
        for _ in range(chance.randrange(1, 4)):
            src, dst = chance.choice([WEB1, WEB2, DB]), chance.choice([JOB, STORE, "8.8.8.8"])
            age = chance.choice([0.0, 0.0, 5000.0])
            world.apply(NODES[src], (src, dst, chance.randrange(1, 1 << 40)), age=age)
        before = dict(world.recorder.totals.sums)
        await world.recorder.flush()
        flushed.write(INSTANCE, before)
        world.clock.seconds += chance.choice([60, 60, 1800])
        if seed == "end":
            await world.recorder.close()
            return


if __name__ == "__main__":
    main()
