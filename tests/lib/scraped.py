"""Days of scrapes of real servers on a clock that the test moves, read by a real Prometheus.

In: batches, scrapes and restarts at times of the clock. Out: the text of each scrape, stored as a
Prometheus that scraped it would have stored it, and its answers to queries at any time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster import EPOCH, Clock, flows_between, index_of
from promql import Prometheus, prometheus, promtool

from kzn.model.batch import AgentIdentity, Batch
from kzn.model.totals import Counts, Totals
from kzn.pricing.book import PriceBook
from kzn.server.cost.meter import CostMeter
from kzn.server.cost.opencost import OpenCostCounters
from kzn.server.ledger.family import FAMILIES
from kzn.server.ledger.first_scrape import FirstScrape
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.metrics.groups import group_metrics
from kzn.server.metrics.opencost import opencost_metrics
from kzn.server.metrics.text import lines, series
from kzn.server.metrics.traffic import FAMILY_METRICS
from kzn.server.pipeline import AccountingSnapshot, Clocks, Pipeline
from kzn.server.resolve.retry import RetryQueue
from kzn.server.state.checkpoint import CheckpointedState
from kzn.server.state.sqlite_store import StateFile
from kzn.topology.facts import PodFacts, Workload
from kzn.wire.sequences import AppliedSequences

TICK = 10.0


@dataclass
class Written:
    """What Prometheus stored so far: lines of OpenMetrics text with their time."""

    lines: list[str] = field(default_factory=list)

    def add(self, text: str, instance: str, when: float) -> None:
        """A scrape of the target ``instance``."""
        for line in text.splitlines():
            name, _, rest = line.partition("{")
            self.lines.append(f'{name}{{instance="{instance}",{rest} {when:.3f}')

    @contextmanager
    def in_prometheus(self, folder: Path) -> Iterator[Prometheus]:
        """A Prometheus that has stored all of it."""
        source = folder / "scrapes"
        source.write_text("\n".join([*self.lines, "# EOF", ""]))
        promtool("tsdb", "create-blocks-from", "openmetrics", source, folder / "data")
        with prometheus(folder, "") as found:
            yield found


class SimulatedServer:
    """Successive processes of one server, which Prometheus knows by the name ``instance``."""

    def __init__(
        self,
        clock: Clock,
        written: Written,
        topology: str,
        instance: str,
        *,
        wait: float = 75.0,
        state: Path | None = None,
        book: PriceBook | None = None,
    ) -> None:
        """With ``book`` it has prices, and the counters that OpenCost reads."""
        self.instance = instance
        self._book = book
        self.clock = clock
        self.index = index_of(topology, clock)
        self._written = written
        self._wait = wait
        self._path = state
        self._sequence = 0
        self._start()

    def restart(self) -> None:
        """End the process and start another, with its state file if it has one."""
        if self._file is not None:
            self._file.write(self._state.take())
            self._file.close()
        self._start()

    def apply(self, node: str, *flows: tuple[str, str, int]) -> None:
        """A batch of the last ten seconds: source, destination and bytes of each flow."""
        self._sequence += 1
        seen = Counts(len(flows), sum(size for *_, size in flows))
        batch = Batch(self._sequence, 10_000, 0, flows_between(*flows), Totals(seen))
        self._pipeline.apply(AgentIdentity(node, 1, "postrouting", "0"), batch)

    def pod(
        self, name: str, node: str, address: bytes, workload: Workload, group: str = ""
    ) -> None:
        """A pod begins, or changes its group."""
        uid, groups = f"uid-{name}", (group,) if group else ()
        facts = PodFacts(uid, "shop", name, node=node, addresses=(address,), groups=groups)
        self.index.put_pod(facts, workload)

    def pod_ends(self, name: str) -> None:
        """A pod is deleted."""
        self.index.drop_pod(f"uid-{name}")

    def tick(self) -> None:
        """Run the timer."""
        while self.index.describe_some():
            pass
        while self._pipeline.tick():
            pass

    def scrape(self, *, received: bool = True, by: str = "a", into: Written | None = None) -> None:
        """A scrape of the committed state; Prometheus does not get the answer unless received.

        ``into``: what another Prometheus, ``by``, stored.
        """
        if self._file is not None:
            self._file.write(self._state.take())
        if received:
            taken = AccountingSnapshot.of(self._pipeline)
            text = b"".join(
                piece
                for family in FAMILIES.values()
                if family.name in taken.ledger.views
                for piece in series(taken.ledger, family, FAMILY_METRICS[family.name])
            )
            if self.index.groups.is_used:
                for found in group_metrics(taken.ledger, self.index.groups.copy()):
                    if found is not None:
                        text += b"".join(lines(found.metric, found.samples))
            if self._opencost is not None:
                text += self._opencost_text(self._opencost)
            (into or self._written).add(text.decode(), self.instance, self.clock.wall())
            self._pipeline.scraped(taken.taken, is_prometheus=True, by=by)

    def _opencost_text(self, counters: OpenCostCounters) -> bytes:
        rule = self._pipeline.first_scrape
        found = counters.snapshot(rule.begun_before(self.clock.now()))
        return b"".join(
            piece
            for metric, samples, _ in filter(None, opencost_metrics(found))
            if metric.labels
            for piece in lines(metric, samples)
        )

    def _start(self) -> None:
        rule, book = FirstScrape(self._wait), self._book
        limits = LedgerLimits(priced=book is not None)
        ledger = Ledger(limits, holds=rule.holds, epoch=EPOCH)
        self._opencost = meter = None
        if book is not None:
            meter = CostMeter(ledger, lambda: book, self.clock.wall)
            self._opencost = OpenCostCounters(self.clock.now, epoch=EPOCH)
        node_totals = TotalsByNode(100, holds=rule.holds, epoch=EPOCH)
        self._pipeline = Pipeline(
            self.index,
            ledger,
            node_totals,
            RetryQueue(10_000),
            clocks=Clocks(self.clock.now, lambda: 0.0),
            first_scrape=rule,
            meter=meter,
            opencost=self._opencost,
        )
        self._state = CheckpointedState(
            ledger, node_totals, AppliedSequences(), settle=self._pipeline.settle
        )
        self._file = None if self._path is None else StateFile(self._path, synchronous="OFF")
        if self._file is not None:
            self._state.restore(self._file.read(), self.clock.now())
