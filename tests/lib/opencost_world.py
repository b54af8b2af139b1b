"""The counters for OpenCost over a small cluster, with a clock that the test moves."""

import numpy as np
from cluster import Clock, cluster, flows_between, index_of

from kzn.model.batch import Batch
from kzn.model.ip import pack
from kzn.model.totals import Counts, Totals
from kzn.server.cost.opencost import OpenCostCounters
from kzn.server.ledger.first_scrape import FirstScrape
from kzn.server.metrics.opencost import opencost_metrics
from kzn.server.resolve.resolve import resolve
from kzn.server.resolve.retry import ObservedFlows
from kzn.topology.facts import PodFacts, Workload

WEB, DB, FAR, OUT = "10.1.0.1", "10.2.0.1", "10.3.0.1", "8.8.8.8"
TOPOLOGY = cluster(
    "n1 a r\nn2 b r\nn3 c s",
    f"""
    shop/web n1 {WEB} Deployment/web
    shop/db n2 {DB} StatefulSet/db
    shop/far n3 {FAR}
    """,
)
EGRESS, INGRESS = (f"kubecost_pod_network_{way}_bytes_total" for way in ("egress", "ingress"))


class OpenCostWorld:
    """Counters over the cluster, and a clock."""

    def __init__(self, limit: int = 100, wait: float = 0.0) -> None:
        self.clock = Clock()
        self.index = index_of(TOPOLOGY, self.clock)
        self.counters = OpenCostCounters(
            self.clock.now, limit=limit, first_scrape=FirstScrape(wait)
        )

    def late(self, *flows: tuple[str, str, int]) -> None:
        """A batch of the time before the sender of the first flow ended."""
        ends = [one.end for one in self.index.intervals(pack(flows[0][0]))]
        self.send("n1", *flows, at=min(ends) - 3)

    def of(self, pod: str) -> dict[tuple[str, str], float]:
        """By metric and uid, the bytes of a pod's series."""
        return {(key[0], key[3]): n for key, n in self.series().items() if key[1] == pod}

    def send(self, node: str, *flows: tuple[str, str, int], at: float | None = None) -> None:
        made = flows_between(*flows)
        batch = Batch(1, 10_000, 0, made, Totals(Counts()))
        now = self.clock.now() if at is None else at
        observed = ObservedFlows.of(node, batch, now)
        found = resolve(made, node, self.index, now - 10, now)
        self.counters.offer(observed, found, np.arange(len(made)), self.index)

    def pod(self, uid: str, address: str) -> None:
        facts = PodFacts(uid, "shop", "job", node="n1", addresses=(pack(address),))
        self.index.put_pod(facts, Workload("Job", "job"))

    def series(self, begun_before: float = np.inf) -> dict[tuple[str, ...], float]:
        return {
            (metric.name, *labels): value
            for metric, samples, _ in filter(
                None, opencost_metrics(self.counters.snapshot(begun_before))
            )
            for labels, value in samples
            if labels
        }
