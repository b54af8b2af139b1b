"""The baseline of ingest.py: the same accounting in plain Python with dicts.

It looks up each end of each flow, and adds each flow to the sums of its pod, its workloads, its
pair and its zones: the obvious implementation, and that of kubezonnet.
"""

from collections import defaultdict

from kzn.model.batch import Batch
from kzn.topology.facts import NodeFacts, PodFacts, Workload

Owner = tuple[PodFacts, Workload, NodeFacts]
OPENED = ("unknown", "source", "destination", "unknown")


class PlainServer:
    """Owners by address, and sums by labels."""

    def __init__(self) -> None:
        self.owners: dict[bytes, Owner] = {}
        self.pods: defaultdict[tuple[str, ...], int] = defaultdict(int)
        self.workloads: defaultdict[tuple[str, ...], int] = defaultdict(int)
        self.pairs: defaultdict[tuple[str, ...], int] = defaultdict(int)
        self.zones: defaultdict[tuple[str, ...], int] = defaultdict(int)
        self.transit = 0

    def add_pod(self, pod: PodFacts, workload: Workload, node: NodeFacts) -> None:
        """Add the addresses of a pod."""
        for address in pod.addresses:
            self.owners[address] = (pod, workload, node)

    def apply(self, node: str, batch: Batch) -> None:
        """Add the flows of a batch."""
        flows = batch.flows
        addresses = [row.tobytes() for row in flows.addresses]
        columns = (flows.src, flows.dst, flows.flags, flows.bytes)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for src, dst, flags, size in rows:
            source = self.owners.get(addresses[src])
            target = self.owners.get(addresses[dst])
            if source is not None and source[2].name != node:
                self.transit += size
                continue
            self._add(source, target, OPENED[flags & 3], size)

    def _add(self, source: Owner | None, target: Owner | None, opened: str, size: int) -> None:
        src_zone = source[2].zone if source is not None else ""
        dst_zone = target[2].zone if target is not None else ""
        crossed = "external"
        if source is not None and target is not None:
            crossed = "same_zone" if src_zone == dst_zone else "cross_zone"
        self.zones[src_zone, dst_zone, crossed] += size
        for end, direction in ((source, "egress"), (target, "ingress")):
            if end is not None:
                pod, workload, _ = end
                labels = (pod.namespace, *workload, direction, crossed, src_zone, dst_zone)
                self.workloads[labels] += size
        if source is not None and target is not None and crossed == "cross_zone":
            src, dst = source[0], target[0]
            self.pods[src.namespace, src.name] += size
            pair = (src.namespace, source[1].name, src_zone, dst.namespace, target[1].name)
            self.pairs[*pair, dst_zone, opened] += size
