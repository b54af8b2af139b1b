"""A server's accounting with prices over a small cluster, and what each byte costs by itself.

In: batches, price books, ticks, restarts. Out: the series of the ledger, and the truth: each flow
priced when it is counted, by the book's answer for its two ends, without the meter.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from cluster import Clock, flows_between, index_of

from kzn.columns.arrays import I64
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.endpoint import Endpoint, EndpointIndex
from kzn.model.totals import Counts, Totals
from kzn.pricing.book import PriceBook
from kzn.pricing.traffic import Quote, Traffic, Unpriced
from kzn.server.cost.meter import OUTSIDE, CostMeter
from kzn.server.ledger.family import FAMILIES
from kzn.server.ledger.labels import Labels
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import Clocks, Pipeline
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.retry import ObservedFlows, RetryQueue
from kzn.server.resolve.verdict import CLASSES
from kzn.server.state.checkpoint import CheckpointedState
from kzn.server.state.sqlite_store import StateFile
from kzn.wire.sequences import AppliedSequences

TOPOLOGY = """
nodes:
  - {name: n1, zone: a, region: eu-west-1, provider: aws, addresses: [10.0.0.1]}
  - {name: n2, zone: b, region: eu-west-1, provider: aws, addresses: [10.0.0.2]}
  - {name: n3, zone: u, region: us-east-1, provider: aws, addresses: [10.0.0.3]}
  - {name: n4, zone: g, region: europe-west1, provider: gcp, addresses: [10.0.0.4]}
  - {name: n5, zone: a, region: eu-west-1, provider: gcp, addresses: [10.0.0.5]}
  - {name: n6, zone: lab-1, region: lab, addresses: [10.0.0.6]}
pods:
  - {namespace: shop, name: web-1, node: n1, addresses: [10.1.0.1], workload: web, workload_kind: D}
  - {namespace: shop, name: web-2, node: n2, addresses: [10.2.0.1], workload: web, workload_kind: D}
  - {namespace: shop, name: db-0, node: n2, addresses: [10.2.0.2], workload: db, workload_kind: S}
  - {namespace: far, name: copy, node: n3, addresses: [10.3.0.1]}
  - {namespace: far, name: gke, node: n4, addresses: [10.4.0.1]}
  - {namespace: shop, name: web-5, node: n5, addresses: [10.5.0.1], workload: web, workload_kind: D}
  - {namespace: lab, name: bench, node: n6, addresses: [10.6.0.1]}
networks:
  - {name: rds, kind: Database, cidr: 10.9.0.0/24, zone: b, region: eu-west-1,
     price: managed-database}
  - {name: bucket, kind: Store, cidr: 10.9.1.0/24, region: us-east-1}
  - {name: office, kind: Office, cidr: 10.9.2.0/24}
  - {name: partner, kind: Partner, cidr: 10.9.5.0/24, price: internet}
  - {name: mirror, kind: Mirror, cidr: 10.9.3.0/24, zone: b, region: eu-west-1, price: free}
  - {name: plain, kind: Database, cidr: 10.9.4.0/24, zone: b, region: eu-west-1}
"""
ADDRESSES = {
    "n1": ["10.0.0.1", "10.1.0.1"],
    "n2": ["10.0.0.2", "10.2.0.1", "10.2.0.2"],
    "n3": ["10.3.0.1"],
    "n4": ["10.4.0.1"],
    "n5": ["10.5.0.1"],
    "n6": ["10.6.0.1"],
}
"""The addresses of each node and its pods."""
OUTER = (
    "10.9.5.1",
    "10.9.0.1",
    "10.9.1.1",
    "10.9.2.1",
    "10.9.3.1",
    "10.9.4.1",
    "8.8.8.8",
    "9.9.9.9",
)
"""Addresses of no node: databases, a bucket of another region, an office, the internet."""

PROVIDERS = {"eu-west-1": "aws"}
"""By the region of static entries, which are of the provider of their zone's nodes."""

Flow = tuple[str, str, int, int]
"""Source, destination, bytes, initiator."""


class Truth:
    """Each byte priced by itself, in plain Python."""

    def __init__(self) -> None:
        self.sides: defaultdict[Labels, float] = defaultdict(float)
        self.caused: defaultdict[Labels, float] = defaultdict(float)
        self.zones: defaultdict[Labels, float] = defaultdict(float)
        self.priced: Counter[str] = Counter()
        self.unpriced: Counter[str] = Counter()
        self.attributed = 0

    def count(
        self,
        quote_of: "QuoteOf",
        cls: str,
        ends: tuple[Endpoint | int, ...],
        size: int,
        opener: int,
    ) -> None:
        """A flow of ``size`` bytes between two owners, opened by ``opener`` (kzn.model.flows)."""
        self.attributed += size
        quote = quote_of(cls, ends)
        if not isinstance(quote, Quote):
            self.unpriced[quote.reason] += size
            return
        self.priced[quote.currency] += size
        names = [_workload(end) for end in ends]
        prices = dict(zip(("sender", "receiver"), (quote.sender, quote.receiver), strict=True))
        for name, (side, price) in zip(names, prices.items(), strict=True):
            self.sides[(*name, side, cls, quote.currency)] += size * price
        causer = names[1] if opener == 2 else names[0]
        self.caused[(*causer, cls, quote.currency)] += size * quote.both
        zones = tuple(getattr(end, "zone", "") for end in ends)
        self.zones[(*zones, cls, quote.currency)] += size * quote.both


class QuoteOf:
    """What the book of a moment answers for two owners."""

    def __init__(self, book: PriceBook, at: datetime) -> None:
        self._book, self._at = book, at

    def __call__(self, cls: str, ends: tuple[Endpoint | int, ...]) -> Quote | Unpriced:
        (src, dst), names = ends, ("provider", "region", "price_class")
        one, two = ([getattr(end, name, "") for name in names] for end in (src, dst))
        for end in (one, two):
            end[0] = end[0] or PROVIDERS.get(end[1], "")
        traffic = Traffic(cls, one[0], one[1], two[0], two[1], one[2], two[2])
        return self._book.quote(traffic, self._at)


class CostWorld:
    """Successive processes of one server on one state file, with a clock that the test moves."""

    def __init__(
        self, book: PriceBook, path: Path | None = None, limits: LedgerLimits | None = None
    ) -> None:
        self.clock = Clock()
        self.book = book
        self.truth = Truth()
        self.limits = replace(limits or LedgerLimits(), priced=True)
        self.index = index_of(TOPOLOGY, self.clock)
        self._path = path
        self._quote = QuoteOf(book, self._at())
        self._start()

    def _start(self) -> None:
        ledger = Ledger(self.limits)
        meter = CostMeter(ledger, lambda: self.book, self.clock.wall)
        self.meter = meter if self.limits.has_costs else None  # as in the server
        self.pipeline = Pipeline(
            self.index,
            ledger,
            TotalsByNode(100),
            RetryQueue(1000),
            clocks=Clocks(self.clock.now, lambda: 0.0),
            flow_log=self,
            meter=self.meter,
        )
        self._state = CheckpointedState(
            ledger, self.pipeline.node_totals, AppliedSequences(), settle=self.pipeline.settle
        )
        if self._path is not None:
            self._file = StateFile(self._path, synchronous="OFF")
            self._state.restore(self._file.read(), self.clock.now())
        if self.meter is not None:
            self.meter.begin(self.clock.now())
        self._quote = QuoteOf(self.book, self._at())

    def restart(self) -> None:
        """An orderly end, and a new process."""
        self.commit()
        self._file.close()
        self._start()

    def commit(self) -> None:
        """Commit as the server does."""
        self._file.write(self._state.take())

    def close(self) -> None:
        """Close the file."""
        if self._path is not None:
            self._file.close()

    def apply(self, node: str, *flows: Flow) -> None:
        """A batch of a node."""
        made = flows_between(*(flow[:3] for flow in flows))
        made = replace(made, flags=np.array([opener for *_, opener in flows], np.uint8))
        sent = sum(size for _, _, size, _ in flows)
        batch = Batch(1, 10_000, 0, made, Totals(Counts(len(flows), sent)))
        self.pipeline.apply(AgentIdentity(node, 1, "postrouting", "0"), batch)

    def tick(self, seconds: float = 0.5) -> None:
        """Time passes; the server uses the prices of the new time."""
        self.clock.seconds += seconds
        while self.pipeline.tick():
            pass
        self._quote = QuoteOf(self.book, self._at())

    def offer(
        self, observed: ObservedFlows, resolution: Resolution, chosen: I64, index: EndpointIndex
    ) -> None:
        """A flow sink: each attributed flow is added to the truth."""
        for row in chosen.tolist():
            if resolution.verdict[row] >= len(CLASSES):
                continue
            rows = [int(resolution.src[row]), int(resolution.dst[row])]
            ends = tuple(index.endpoints(resolution.endpoints.take(rows).tolist()))
            cls, size = CLASSES[resolution.verdict[row]], int(observed.flows.bytes[row])
            self.truth.count(self._quote, cls, ends, size, int(observed.flows.flags[row]))

    def series(self, family: str) -> dict[Labels, float]:
        """Label values and amount of each series of a family."""
        return dict(self.pipeline.snapshot().ledger.rows(family))

    def total(self, family: str) -> dict[str, float]:
        """By currency, or all under "": what was ever added to a family."""
        view = self.pipeline.snapshot().ledger.views[family]
        found: defaultdict[str, float] = defaultdict(float)
        at = FAMILIES[family].labels.index("currency") if family != "unpriced" else None
        for labels, size in self.series(family).items():
            found["" if at is None else labels[at]] += size
        if view.retired:
            found["retired"] += view.retired
        return dict(found)

    def _at(self) -> datetime:
        return datetime.fromtimestamp(self.clock.wall(), UTC)


def _workload(end: Endpoint | int) -> Labels:
    if isinstance(end, int):
        return OUTSIDE
    return end.namespace, end.workload_kind, end.workload or end.name


def some(found: Mapping[Labels, float]) -> dict[Labels, float]:
    """Without what is 0."""
    return {labels: size for labels, size in found.items() if size}
