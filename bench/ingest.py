"""Cost of a flow in the server, from the frame to the ledger, in the largest cluster.

5,000 nodes, 150,000 pods of two addresses each, 30,000 workloads; batches of 10,000 flows over
1,000 addresses, parsed, inflated, checked, resolved and counted, with and without the text flow
log, one by one and in groups as the receiver makes them of batches that come at the same time. The
baseline is plain Python with dicts (lib/plain.py) on the same frames.

Then a complete server end to end, from TCP connections to acks (lib/endtoend.py): batches of 500,
2,000 and 10,000 flows from one node and from twenty at once, of the same typical mix and of a
random one in which no two flows have the same ends; CPU seconds per million flows, the same in
those of plain Python, and the longest stall.
"""

import gc
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial

from lib.endtoend import rows
from lib.fleet import Fleet, spread
from lib.plain import PlainServer
from lib.report import finish

from kzn.model.batch import AgentIdentity, Batch
from kzn.pricing import aws
from kzn.pricing.book import PriceBook
from kzn.server.cost.meter import CostMeter
from kzn.server.flows.queue import FlowLog
from kzn.server.ledger.family import FAMILIES
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import Clocks, Pipeline
from kzn.server.receive.turns import GROUP_FLOWS
from kzn.server.resolve.retry import RetryQueue
from kzn.topology.index import AddressIndex
from kzn.wire.codec import decode_to_server, encode_to_server
from kzn.wire.compression import Compression
from kzn.wire.decode_batch import decode_batch, decode_batches
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.limits import Limits

FLOWS, ADDRESSES = 10_000, 1_000
REPORTING = 100
ROUNDS, LOGGED_ROUNDS, PLAIN_ROUNDS = 11, 8, 3
GROUP = GROUP_FLOWS // FLOWS

Frame = tuple[str, bytes]
Seconds = tuple[float, float]
ZSTD = Compression.ZSTD


def encoded(frame: bytes) -> EncodedBatch:
    """The batch of a frame, as it is in the message."""
    message = decode_to_server(frame)
    if not isinstance(message, EncodedBatch):
        raise TypeError("no batch")
    return message


def decoded(frame: bytes) -> Batch:
    """The decoded batch of a frame."""
    return decode_batch(encoded(frame), Limits())


class Server:
    """The state of a server, and the work to measure."""

    def __init__(self, index: AddressIndex, *, priced: bool = False) -> None:
        self._index = index
        self.ledger = Ledger(LedgerLimits(priced=priced))
        book = PriceBook([aws.PRICES])
        self._meter = CostMeter(self.ledger, lambda: book, time.time) if priced else None
        self._parts = self.ledger, TotalsByNode(20_000), RetryQueue(1_000_000)
        self._plain = self._pipeline(None)

    def ingest(self, frames: list[Frame]) -> None:
        """Apply all frames once, and settle their costs if there are prices."""
        self.take(frames)
        self.settle()

    def take(self, frames: list[Frame]) -> None:
        """Apply all frames once, one by one."""
        self._take(self._plain, frames)

    def take_groups(self, frames: list[Frame]) -> None:
        """Apply all frames once, as many of them together as the receiver does."""
        for at in range(0, len(frames), GROUP):
            part = frames[at : at + GROUP]
            batches = decode_batches([encoded(frame) for _, frame in part], Limits())
            identities = [AgentIdentity(node, 1, "postrouting", "bench") for node, _ in part]
            errors = self._plain.apply_all(
                [
                    (identity, batch)
                    for identity, batch in zip(identities, batches, strict=True)
                    if isinstance(batch, Batch)
                ]
            )
            if any(errors) or len(errors) != len(part):
                raise SystemExit(f"batches were not applied: {errors}")

    def settle(self) -> None:
        """Settle the costs of what was applied, if there are prices."""
        self._plain.settle()

    def logging(self, frames: list[Frame], log: FlowLog) -> Callable[[], None]:
        """A function that applies all frames once and waits until the flow log has every line."""
        to = self._pipeline(log)

        def once() -> None:
            self._take(to, frames)
            while log.waiting:
                time.sleep(0.001)

        return once

    def _pipeline(self, log: FlowLog | None) -> Pipeline:
        clocks = Clocks(time.monotonic, time.perf_counter)
        return Pipeline(self._index, *self._parts, clocks=clocks, flow_log=log, meter=self._meter)

    @staticmethod
    def _take(to: Pipeline, frames: list[Frame]) -> None:
        for node, frame in frames:
            to.apply(AgentIdentity(node, 1, "postrouting", "bench"), decoded(frame))


def rate(work: Callable[[], None], flows: int) -> float:
    """Million flows per CPU second of all threads of this process."""
    began = time.process_time()
    work()
    return flows / (time.process_time() - began) / 1e6


def logged_rate(server: Server, frames: list[Frame]) -> tuple[float, float]:
    """The rate with a text flow log to a file, and the mean bytes of a line."""
    with tempfile.NamedTemporaryFile() as file:
        log = FlowLog(file, "text", epoch_of=lambda _: 1.7e9, max_lines=1 << 62)
        take = server.logging(frames, log)

        def once() -> None:
            file.seek(0)  # reuse the pages of the file, so that their allocation is not measured
            take()

        rates = [rate(once, len(frames) * FLOWS) for _ in range(LOGGED_ROUNDS)]
        log.close(60.0)
        if log.counts.dropped:
            raise SystemExit(f"{log.counts.dropped} lines were dropped")
        return statistics.median(rates[1:]), file.tell() * LOGGED_ROUNDS / log.counts.written


def paired(without: Server, with_prices: Server, frames: list[Frame], number: int) -> Seconds:
    """CPU seconds of both servers for all frames once, and for the settlement of both.

    They take turns frame by frame, and who is first changes: what else the machine does meanwhile
    concerns both.
    """
    seconds = [0.0, 0.0]

    def measure(which: int, work: Callable[[], None]) -> None:
        began = time.process_time()
        work()
        seconds[which] += time.process_time() - began

    servers = without, with_prices
    for at, frame in enumerate(frames):
        for which in ((0, 1), (1, 0))[(at + number) % 2]:
            measure(which, partial(servers[which].take, [frame]))
    for which, one in enumerate(servers):
        measure(which, one.settle)
    return seconds[0], seconds[1]


def decode(frames: list[Frame]) -> None:
    """Decode all frames without applying them."""
    for _, frame in frames:
        decoded(frame)


def in_turns(server: Server, fleet: Fleet, frames: list[Frame]) -> tuple[float, float, PlainServer]:
    """The rate in groups, that of plain Python between them, and its sums."""
    plain = PlainServer()
    for number in range(fleet.pods):
        plain.add_pod(*fleet.pod(number), fleet.node(number % fleet.nodes))

    def once() -> None:
        for node, frame in frames:
            plain.apply(node, decoded(frame))

    flows, ours, theirs = len(frames) * FLOWS, [], []
    for number in range(ROUNDS):
        ours.append(rate(lambda: server.take_groups(frames), flows))
        if number % (ROUNDS // PLAIN_ROUNDS) == 0 and len(theirs) < PLAIN_ROUNDS:
            theirs.append(rate(once, flows))
    return statistics.median(ours), statistics.median(theirs), plain


def check(server: Server, plain: PlainServer, times: int) -> None:
    """SystemExit unless both counted the same in each round."""
    snapshot = server.ledger.snapshot()
    counted = [name for name, family in FAMILIES.items() if not family.of_cost]
    both = zip(counted, (plain.pods, plain.workloads, plain.pairs, plain.zones), strict=True)
    for family, sums in both:
        ours = sum(size for _, size in snapshot.rows(family)) // times
        if ours != sum(sums.values()) // PLAIN_ROUNDS:
            raise SystemExit(f"{family}: {ours} bytes, but plain Python has {sum(sums.values())}")


def main() -> None:
    """Measure, check that both counted the same, and print."""
    fleet = Fleet()
    index = AddressIndex(clock=time.monotonic, wall=time.time)
    fleet.fill(index)
    gc.freeze()
    frames = [
        (f"node-{node}", encode_to_server(encode_batch(fleet.batch(node, FLOWS, ADDRESSES), ZSTD)))
        for node in spread(fleet, REPORTING)
    ]
    server, flows = Server(index), REPORTING * FLOWS
    first = rate(lambda: server.ingest(frames), flows)
    priced = Server(index, priced=True)
    priced.ingest(frames)
    pairs = [paired(server, priced, frames, number) for number in range(ROUNDS)]
    rates = [flows / without / 1e6 for without, _ in pairs]
    with_prices = statistics.median(without / with_ for without, with_ in pairs)
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    logged, line = logged_rate(server, frames)
    grouped, baseline, plain = in_turns(server, fleet, frames)
    check(server, plain, 1 + ROUNDS + LOGGED_ROUNDS + ROUNDS)
    ours = statistics.median(rates)
    end_to_end = {}
    for row in rows():
        end_to_end[f"{row.name}_cpu_s_per_million"] = round(row.seconds, 3)
        end_to_end[f"{row.name}_of_plain"] = round(row.seconds * baseline, 3)
        end_to_end[f"{row.name}_longest_stall_ms"] = row.longest_stall_ms
    finish(
        "ingest",
        grouped,
        baseline,
        "million flows per CPU-second",
        {
            **end_to_end,
            "one_by_one": round(ours, 3),
            "one_by_one_ratio": round(ours / baseline, 2),
            "best_one_by_one": round(max(rates), 3),
            "first_sight": round(first, 3),
            "ms_a_batch": round(FLOWS / grouped / 1e3, 3),
            "with_text_flow_log": round(logged, 3),
            "with_prices_ratio": round(with_prices, 3),
            "bytes_a_line": round(line, 1),
            "decode_alone": round(rate(lambda: decode(frames), flows), 3),
            "wire_bytes_a_flow": round(sum(len(f) for _, f in frames) / flows, 2),
            "rss_mb": size,
            "nodes": fleet.nodes,
            "pods": fleet.pods,
            "workloads": fleet.workloads,
        },
    )


if __name__ == "__main__":
    main()
