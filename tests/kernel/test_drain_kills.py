"""An agent killed at each step of a drain: what it and the next one send is each byte once.

A child process cuts, sends and acknowledges a batch and kills itself before one of its accesses to
the maps. Rows, the hash behind them and carries are in use, in either buffer; rows are mapped and
entries deleted in several parts, so that it also dies between these.
"""

import os
import pickle
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from counting import Bench, loaded
from test_rows import BYTES, SIZE, datagram, on_cpu, words

from kzn.agent.maps import buffers, mapset
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.spool import Spool
from kzn.agent.maps.structs import Phase
from kzn.libbpf import map_batch
from kzn.libbpf.library import libbpf, possible_cpus
from kzn.libbpf.maps import Map
from kzn.model.batch import Batch
from kzn.model.totals import Counts
from kzn.probes.settings import Settings

SETTINGS = Settings(max_flows=64)
FLOWS = 160
"""More than the 128 rows of a buffer, so that some are in its hash of 64."""
PART, CHUNK = 4096, 8 * 56
"""A buffer's rows in two parts, its hash in chunks of eight entries or a bucket."""
RAISED = BYTES - 2 * SIZE[4]
"""What one flow is made to have, so that a few packets later its carry is used."""
Flow = tuple[str, int]
Sums = dict[Flow, Counts]


def flows_of(batch: Batch) -> Sums:
    """The counts of a batch by destination and its port."""
    flows = batch.flows
    return {
        (flows.addresses[flows.dst[at]].tobytes().hex(), int(flows.dst_port[at])): Counts(
            int(flows.packets[at]), int(flows.bytes[at])
        )
        for at in range(len(flows))
    }


@dataclass(slots=True)
class Server:
    """Applies each batch number once; a batch that comes again must be the same."""

    applied: dict[int, tuple[Sums, Counts]] = field(default_factory=dict)

    def apply(self, sequence: int, flows: Sums, seen: Counts) -> None:
        assert self.applied.setdefault(sequence, (flows, seen)) == (flows, seen)

    def sums(self) -> tuple[Sums, Counts]:
        """By flow, and what the programs saw."""
        total: Sums = {}
        seen = Counts()
        for flows, of_batch in self.applied.values():
            seen = seen.plus(of_batch)
            for flow, counts in flows.items():
                total[flow] = total.get(flow, Counts()).plus(counts)
        return total, seen


@dataclass(slots=True)
class Traffic:
    """Packets of all flows, and what they add up to."""

    bench: Bench
    sent: Counts = Counts()
    each: int = 0

    def send(self) -> None:
        for number in range(FLOWS):
            self.bench.give(datagram(4, number), 4)
        self.each += 1
        self.sent = self.sent.plus(Counts(FLOWS, FLOWS * SIZE[4]))

    def raise_a_row(self) -> None:
        """Give a flow in the active buffer as many bytes as it needs to reach its carry soon."""
        active = self.bench.maps.active()
        rows = words(self.bench.maps, active)
        at = np.flatnonzero(rows[:, 0])[0]
        rows[at, 6] += np.uint64(RAISED)
        del rows
        raw = bytearray(self.bench.maps.totals.read(active, 256 * possible_cpus()))
        packed, carry = struct.unpack_from("<QQ", raw)
        struct.pack_into("<QQ", raw, 0, packed + RAISED - BYTES, carry + 1)
        self.bench.maps.totals.write(active, bytes(raw))
        self.sent = self.sent.plus(Counts(0, RAISED))


def stepping(step: int) -> None:
    """Have this process kill itself before an access to the maps, counted from now."""
    left = [step]

    def stepped(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return work(*args, **kwargs)

        return run

    class Library:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            return stepped(getattr(libbpf(), name))

    map_batch.libbpf = Library  # type: ignore[attr-defined, assignment]
    for name in ("read", "write", "write_fd", "mapped"):
        setattr(Map, name, stepped(getattr(Map, name)))
    buffers._words = stepped(buffers._words)  # between a part that is mapped and its clearing
    mapset.ROWS_PART, map_batch.CHUNK_BYTES = PART, CHUNK


def agent(maps: MapSet, send: Callable[[int, Sums, Counts], None]) -> None:
    """Cut, send, acknowledge."""
    spool = Spool(maps)
    batch = spool.cut()
    send(batch.sequence, flows_of(batch), batch.totals.seen)
    spool.acknowledge(batch.sequence)
    assert spool.mismatches == 0


def killed_agent(maps: MapSet, server: Server, step: int) -> bool:
    """An agent in a child that is killed before a step; whether it was."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(out)

            def send(*batch: Any) -> None:
                with os.fdopen(into, "wb") as pipe:
                    pickle.dump(batch, pipe)

            stepping(step)
            agent(maps, send)
        except BaseException:  # noqa: BLE001 - a child must not run on as pytest
            os._exit(1)
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        sent = pipe.read()
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    if sent:
        server.apply(*pickle.loads(sent))  # noqa: S301 - of our own child
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("start", [0, 1])
def test_an_agent_killed_at_any_step_of_a_drain_sends_every_byte_once(start: int) -> None:
    with loaded(SETTINGS) as bench, on_cpu(0):
        phases, step, was_killed = set(), 0, True
        while was_killed:
            step += 1
            server, traffic = Server(), Traffic(bench)
            while bench.maps.active() != start:
                agent(bench.maps, lambda *_: None)
            traffic.send()
            traffic.raise_a_row()
            traffic.send()
            assert len(buffers.read_hash(bench.maps, start)[0]) > 8
            was_killed = killed_agent(bench.maps, server, step)
            state = bench.maps.state()
            phases.add((state.phase, state.buffer, bench.maps.active()))
            traffic.send()
            traffic.send()
            for _ in range(3):  # the next agent: what is under way, and both buffers
                agent(bench.maps, server.apply)
            flows, seen = server.sums()
            assert seen == traffic.sent, step
            assert len(flows) == FLOWS
            raised = {flow: counts for flow, counts in flows.items() if counts.bytes > RAISED}
            assert {counts.bytes - RAISED for counts in raised.values()} == {4 * SIZE[4]}
            assert {flows[flow] for flow in flows.keys() - raised.keys()} == {
                Counts(4, 4 * SIZE[4])
            }
            assert all(counts.packets == 4 for counts in flows.values())
            for buffer in (0, 1):
                assert not words(bench.maps, buffer).any()
                assert buffers.count_entries(bench.maps, buffer) == buffers.Entries(0, 0)
        # It died before, in and after each phase, and cleared in more than one part.
        assert {phase for phase, *_ in phases} == set(Phase)
        assert (Phase.CUT, start, start) in phases  # recorded, and not switched yet
        assert step > 25
