"""One random fault schedule for agents, servers and the network between them, in virtual time.

The code from the agent's loop to the state file is kzn's own; kernel maps, network and clock are
fakes. The same seed gives the same run.
"""

import asyncio
import random
import tempfile
from collections.abc import Callable, ItemsView
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from cluster import cluster
from fakekernel import FakeKernel, FakeMaps, Killed, Pair
from faultnet import NEVER, End, Fault, connect
from virtual import play

from kzn.agent.deliver.shipper import Shipper, ShipTimeouts
from kzn.agent.loop import Loop
from kzn.agent.maps.spool import Spool
from kzn.agent.stats import AgentStats
from kzn.daemon.backoff import Backoff
from kzn.daemon.connect import Streams
from kzn.daemon.listen import HostPort
from kzn.errors import StateError
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.totals import Counts
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import Clocks, Pipeline
from kzn.server.receive.limits import ReceiveLimits
from kzn.server.receive.receiver import Receiver
from kzn.server.resolve.retry import RetryQueue
from kzn.server.state.checkpoint import Changes
from kzn.server.state.durability import Durability
from kzn.server.state.group_commit import CommitIntervals
from kzn.server.state.sqlite_store import StateFile
from kzn.topology.index import AddressIndex
from kzn.topology.static.file import parse_static
from kzn.topology.static.source import StaticSource
from kzn.wire.sequences import Key

CLUSTER = cluster("n0 a r\nn1 b r\nn2 a r", "d/p0 n0 10.1.0.1\nd/p1 n1 10.2.0.1\nd/p2 n2 10.3.0.1")
PODS = ("10.1.0.1", "10.2.0.1", "10.3.0.1")
DESTINATIONS = (*PODS, "8.8.8.8", "10.99.0.1")
"""Pods, the internet, and a private address without an owner: held, then unresolved."""

INTERVAL = 3.0
FAULT_SECONDS = 30.0
"""Faults are injected for so long; afterwards every byte must be delivered."""
DELIVERY_SECONDS = 1200.0
"""Time limit for that."""
TIMEOUTS = ShipTimeouts(connect=2.0, welcome=3.0, ack=6.0)
LIMITS = ReceiveLimits(durable=4.0, linger=0.2, handshake=5.0, idle=60.0)
INTERVALS = CommitIntervals(pending_ack=0.2, idle=5.0, after_error=0.5, snapshot=2.0)
NO_FAULT = Fault()


class DeliveryError(AssertionError):
    """Bytes were lost or counted twice."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The classes under test; a test replaces one by a broken one."""

    spool: Callable[..., Spool] = Spool
    durability: Callable[..., Durability] = Durability
    shipper: Callable[..., Shipper] = Shipper


class _Store(StateFile):
    """A state file that calls ``interrupt`` at the begin, middle and end of each commit."""

    def __init__(self, path: Path, interrupt: Callable[[str], None]) -> None:
        super().__init__(path, synchronous="OFF")
        self._interrupt = interrupt

    def write(self, changes: Changes) -> None:
        self._interrupt("begin")
        sequences = _Interrupted(changes.sequences, lambda: self._interrupt("middle"))
        super().write(replace(changes, sequences=sequences))
        self._interrupt("end")


class _Interrupted(dict[Key, int | None]):
    """Sequences of a commit; calls ``interrupt`` when the store reads them, its last step."""

    def __init__(self, sequences: dict[Key, int | None], interrupt: Callable[[], None]) -> None:
        super().__init__(sequences)
        self._interrupt = interrupt

    def items(self) -> ItemsView[Key, int | None]:  # type: ignore[override]
        self._interrupt()
        return super().items()


class SimServer:
    """One server behind the Service name, over successive processes."""

    def __init__(self, world: "World", number: int) -> None:
        self._world = world
        self._path = world.folder / f"state-{number}"
        self._ends: list[End] = []
        self._scraped: dict[str, int] = {}
        self._process: asyncio.Task[None] | None = None
        self.up = False
        self.disk_full_until = 0.0

    def start(self) -> None:
        """Start a process with the state file of the last one."""
        world = self._world
        self._store = _Store(self._path, self._commit_step)
        self.pipeline = Pipeline(
            world.index,
            Ledger(LedgerLimits({"pair": 2})),
            TotalsByNode(10),
            RetryQueue(10_000),
            clocks=Clocks(world.now, lambda: 0.0),
        )
        self._durability = world.parts.durability(
            self.pipeline, self._store, now=world.now(), intervals=INTERVALS
        )
        self._receiver = Receiver(
            self.pipeline.apply,
            limits=LIMITS,
            sequences=self._durability.sequences,
            durable=self._durability.durable,
            instance=self._durability.instance,
        )
        # Which batches are applied together must not depend on how fast the machine is.
        self._receiver._context.turns.clock = asyncio.get_running_loop().time
        self._process = asyncio.create_task(self._run_process())

    def accept(self, end: End) -> None:
        """Take a connection of an agent."""
        self._ends.append(end)
        streams = cast(Streams, (end, end))
        self._receiver.accept(*streams)

    def kill(self) -> None:
        """SIGKILL: nothing more is sent or written."""
        self.up = False
        for end in self._ends:
            end.abort()
        self._ends.clear()
        self._store.close()
        if self._process is not None:
            self._process.cancel()

    async def stop(self) -> None:
        """SIGTERM."""
        self.up = False
        await self._receiver.close(3.0)
        if self._process is not None and not self._process.done():
            await self._durability.close()
        self.kill()

    def check(self) -> None:
        """Check that node totals add up, and that zones and pairs have the attributed bytes."""
        for node, totals in self.pipeline.node_totals.items():
            if totals.gap() != Counts():
                raise DeliveryError(f"the totals of {node} do not add up: {totals.gap()}")
        rows = self.pipeline.node_totals.rows()
        attributed = sum(row.counts.bytes for row in rows if row.term == "attributed")
        snapshot = self.pipeline.ledger.snapshot()
        for family in ("zone", "pair"):
            view = snapshot.views[cast(Any, family)]
            total = int(view.bytes.sum()) + view.other.bytes + view.retired
            if family == "zone" and total != attributed:
                raise DeliveryError(f"zones hold {total} of {attributed} attributed bytes")

    def seen(self) -> Counts:
        """Sum of `seen` of all nodes on this server."""
        total = Counts()
        for row in self.pipeline.node_totals.rows():
            if row.term == "seen":
                total = total.plus(row.counts)
        return total

    async def _run_process(self) -> None:
        try:
            await self._serve()
        except* StateError:  # it cannot start while the disk is full; retry
            self._world.kill(self)

    async def _serve(self) -> None:
        async with self._durability.running():
            self.up = True
            scraped = asyncio.create_task(self._scrape())
            try:
                while True:
                    self.pipeline.tick()
                    await asyncio.sleep(1.0)
            finally:
                scraped.cancel()

    async def _scrape(self) -> None:
        """Check that no counter decreases between two scrapes, over crashes and restarts."""
        while True:
            await asyncio.sleep(self._world.rng.choice([0.05, 0.05, 1.0, 4.0]))
            counted = await self._durability.committed_snapshot()
            if not self.up:
                return
            rows = [row for totals in counted.totals for row in totals.rows()]
            for node, term, reason, counts, *_ in rows:
                key = f"{node} {term} {reason}"
                if counts.bytes < self._scraped.get(key, 0):
                    self._world.violations.append(f"{key} decreased to {counts.bytes}")
                self._scraped[key] = counts.bytes

    def _commit_step(self, step: str) -> None:
        world = self._world
        if step != "end" and world.now() < self.disk_full_until:
            raise StateError("no space left on device", reason="disk_full")
        if self.up and world.faulty and world.rng.random() < world.commit_crash_rate:
            asyncio.get_running_loop().call_soon(world.kill, self)
            self.up = False
            raise StateError(f"killed at the {step} of a commit", reason="killed")


class SimAgent:
    """The agent of one node, over successive processes, and the node's kernel."""

    def __init__(self, world: "World", number: int) -> None:
        self._world = world
        self.node = f"n{number}"
        self.kernel = FakeKernel(epoch=world.rng.getrandbits(64) or 1)
        self._ends: list[End] = []
        self._process: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._starts = 0
        self.failover_bytes = 0

    async def run(self) -> None:
        """Run, and restart after each crash, until `finish`."""
        while True:
            self._process = asyncio.create_task(self._run_process())
            await asyncio.wait({self._process})
            for end in self._ends:
                end.abort()
            self._ends.clear()
            if not self._process.cancelled() and (error := self._process.exception()) is not None:
                if not isinstance(error, Killed):
                    raise error
            elif not self._process.cancelled() and self._stop.is_set():
                return
            await asyncio.sleep(self._world.rng.uniform(0.0, 3.0))

    def kill(self) -> None:
        """SIGKILL at any point."""
        if self._process is not None:
            self._process.cancel()

    def finish(self) -> None:
        """SIGTERM: the agent cuts and delivers the last batch."""
        self._stop.set()

    async def _run_process(self) -> None:
        world, rng = self._world, self._world.rng
        self._starts += 1
        steps = rng.randrange(1, 200) if world.faulty and rng.random() < 0.5 else NEVER
        maps = FakeMaps(self.kernel, steps)
        spool = world.parts.spool(maps, self._boottime, maps)
        shipper = world.parts.shipper(
            AgentIdentity(self.node, self.kernel.epoch, "postrouting", "0.1.0", self._starts),
            HostPort("kzn", 7070),
            first=spool,
            dial=self._dial,
            timeouts=TIMEOUTS,
            backoff=Backoff(rng),
            search=Backoff(rng, longest=4.0),
            clock=world.now,
        )

        async def deliver(batch: Batch) -> None:
            before = shipper.stats.failovers
            try:
                await shipper.deliver(batch)
            finally:
                self.failover_bytes += batch.totals.seen.bytes * (shipper.stats.failovers - before)

        stats = AgentStats(probe="postrouting", interval=INTERVAL)
        try:
            await Loop(spool, deliver, stats, lambda: None, clock=world.now).run(self._stop)
        finally:
            await shipper.close()

    async def _dial(self) -> Streams:
        end = await self._world.dial()
        self._ends.append(end)
        return cast(Streams, (end, end))

    def _boottime(self) -> int:
        return max(0, int((self._world.now() + self._world.clock_offset) * 1e9))


@dataclass
class World:
    """Agents, servers, topology and random numbers of one schedule."""

    seed: int
    folder: Path
    parts: Parts
    rng: random.Random = field(init=False)
    servers: list[SimServer] = field(default_factory=list)
    agents: list[SimAgent] = field(default_factory=list)
    faulty: bool = True
    violations: list[str] = field(default_factory=list)
    clock_offset: float = 1000.0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.commit_crash_rate = self.rng.choice([0.0, 0.02, 0.1])
        self.index = AddressIndex(clock=self.now, wall=lambda: self.now() + 1e9)
        StaticSource(self.index, parse_static("cluster.yaml", CLUSTER))

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def play(self) -> None:
        """Inject faults, stop them, check the totals; DeliveryError if they are wrong."""
        self.servers = [SimServer(self, n) for n in range(self.rng.choice([1, 1, 2]))]
        self.agents = [SimAgent(self, n) for n in range(self.rng.randrange(1, 4))]
        for server in self.servers:
            server.start()
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(agent.run()) for agent in self.agents]
            await self._inject_faults()
            await self._stop_faults()
            for agent in self.agents:
                agent.finish()
            await asyncio.wait(running, timeout=DELIVERY_SECONDS)
            self._check_nothing_left()
        for server in self.servers:
            await server.stop()
        self._check_totals()

    def kill(self, server: SimServer) -> None:
        """Kill a server and start it again some time later."""
        server.kill()
        self._start_later(server, self.rng.uniform(0.1, 12.0))

    def _start_later(self, server: SimServer, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, server.start)

    async def dial(self) -> End:
        """Connect to a random server, with a random fault."""
        server = self.rng.choice(self.servers)
        fault = self._fault()
        await asyncio.sleep(fault.latency)
        if not server.up:
            if self.faulty and self.rng.random() < 0.2:
                await asyncio.Event().wait()  # a host that is down does not refuse
            raise ConnectionRefusedError("refused")
        near, far = connect(fault)
        server.accept(far)
        return near

    def _fault(self) -> Fault:
        rng = self.rng
        if not self.faulty or rng.random() < 0.35:
            return NO_FAULT
        here = (rng.randrange(1, 500), NEVER)
        there = (NEVER, rng.randrange(1, 90))
        kind = rng.randrange(6)
        if kind < 2:
            return Fault(cut=(here, there)[kind])
        if kind < 4:
            return Fault(hole=(here, there)[kind - 2])
        return replace(NO_FAULT, latency=rng.choice([1.0, 4.0, 9.0]))

    async def _inject_faults(self) -> None:
        rng = self.rng
        while self.now() < FAULT_SECONDS:
            await asyncio.sleep(rng.uniform(0.0, 1.5))
            self._send()
            what, server = rng.random(), rng.choice(self.servers)
            if what < 0.03 and server.up:
                self.kill(server)
            elif what < 0.05 and server.up:
                await server.stop()
                self._start_later(server, rng.uniform(0.1, 12.0))
            elif what < 0.08:
                server.disk_full_until = self.now() + rng.uniform(0.0, 15.0)
            elif what < 0.12:
                rng.choice(self.agents).kill()
            elif what < 0.14:
                self.clock_offset += rng.choice([-500.0, 3600.0])

    def _send(self) -> None:
        rng = self.rng
        for agent in self.agents:
            for _ in range(rng.randrange(4)):
                pair: Pair = (rng.choice(PODS), rng.choice(DESTINATIONS))
                packets = rng.randrange(1, 9)
                counts = Counts(packets, packets * rng.randrange(40, 1500))
                agent.kernel.account(pair, counts, late=rng.random() < 0.1)

    async def _stop_faults(self) -> None:
        self.faulty = False
        for agent in self.agents:
            agent.kernel.fence()
        await asyncio.sleep(10.0)

    def _check_nothing_left(self) -> None:
        left = [agent.node for agent in self.agents if agent.kernel.left]
        if left:
            raise DeliveryError(f"bytes of {left} were never delivered")

    def _check_totals(self) -> None:
        if self.violations:
            raise DeliveryError("; ".join(self.violations))
        sent, counted = Counts(), Counts()
        for agent in self.agents:
            sent = sent.plus(agent.kernel.sent)
        for server in self.servers:
            server.check()
            counted = counted.plus(server.seen())
        surplus = counted.bytes - sent.bytes
        if not 0 <= surplus <= sum(agent.failover_bytes for agent in self.agents):
            raise DeliveryError(f"sent {sent}, counted {counted}")


def play_schedule(seed: int, parts: Parts | None = None) -> World:
    """Run a schedule; DeliveryError (maybe in a group) if a byte is lost or counted twice."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:

        async def act() -> World:
            world = World(seed, Path(folder), parts or Parts())
            await world.play()
            return world

        return play(act())


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a file system in memory, for speed
