"""A very large cluster, computed from numbers: nodes, pods of workloads, and their traffic.

In: sizes and a seed. Out: facts for an index, and batches of agents.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import numpy as np

from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.ip import MAPPED_PREFIX
from kzn.model.totals import Counts, Totals
from kzn.topology.facts import NodeFacts, PodFacts, Workload
from kzn.topology.index import AddressIndex

ZONES = ("zone-a", "zone-b", "zone-c")
REGION = "region-1"
PODS_V6 = int(IPv6Address("fd00:64::"))
NODES_V6 = int(IPv6Address("fd00:10::"))
CIDRS_V4, CIDRS_V6 = int(IPv4Address("100.64.0.0")), int(IPv6Address("fd00:65::"))
"""The pod CIDRs of nodes, of which no pod has an address: a CNI plugin with its own addresses."""
WORLD = 20
PORTS = (80, 443, 8080, 5432, 6379, 9092, 53, 3306, 9090, 50051)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Nodes by number; pod ``p`` runs on node ``p % nodes``, in workload ``p % workloads``.

    Both have an IPv4 and an IPv6 address.
    """

    nodes: int = 5_000
    pods: int = 150_000
    workloads: int = 30_000

    def zone(self, node: int) -> str:
        """The zone of a node."""
        return ZONES[node % len(ZONES)]

    def node(self, number: int) -> NodeFacts:
        """A node."""
        return NodeFacts(
            uid=f"node-uid-{number}",
            name=f"node-{number}",
            zone=self.zone(number),
            region=REGION,
            addresses=(MAPPED_PREFIX + _v4(172, number), _v6(NODES_V6, number)),
            version=1 + number,
            provider="aws",
            pod_cidrs=(IPv4Network((CIDRS_V4 + (number << 8), 24)), IPv6Network(_cidr_v6(number))),
        )

    def pod(self, number: int) -> tuple[PodFacts, Workload]:
        """A pod and its workload."""
        workload = f"app-{number % self.workloads}"
        facts = PodFacts(
            uid=f"pod-uid-{number}",
            namespace=f"team-{number % self.workloads % 200}",
            name=f"{workload}-{number:08x}",
            node=f"node-{number % self.nodes}",
            addresses=(MAPPED_PREFIX + _v4(10, number), _v6(PODS_V6, number)),
            version=10_000 + number,
        )
        return facts, Workload("Deployment", workload)

    def fill(self, index: AddressIndex) -> None:
        """Add all nodes and pods to ``index``."""
        for number in range(self.nodes):
            index.put_node(self.node(number))
        for number in range(self.pods):
            index.put_pod(*self.pod(number))

    def pods_on(self, node: int) -> range:
        """The pods of a node."""
        return range(node, self.pods, self.nodes)

    def batch(self, node: int, flows: int, addresses: int, sequence: int = 1) -> Batch:
        """A batch of a node: its pods to and from pods of other nodes and outside addresses."""
        rng = np.random.default_rng([node, sequence])
        local = np.array(self.pods_on(node))
        remote = self._peers(addresses - len(local) - WORLD, rng)
        table = _table(np.concatenate([local, remote]), rng)
        here = rng.integers(0, len(local), flows)
        there = len(local) + rng.zipf(1.2, flows) % (len(table) - len(local))
        outward = rng.random(flows) < 0.5
        served = rng.random(flows) < 0.5  # whether the source is the service
        port = rng.choice(PORTS, flows)
        packets = np.maximum(1, rng.lognormal(3.0, 2.2, flows)).astype(np.uint64)
        size = np.clip(np.where(served, rng.normal(900, 350, flows), 180), 52, 1500)
        total = (packets * size).astype(np.uint64)
        made = Flows(
            table,
            src=np.where(outward, here, there).astype(np.uint32),
            dst=np.where(outward, there, here).astype(np.uint32),
            src_port=np.where(served, port, 0).astype(np.uint16),
            dst_port=np.where(served, 0, port).astype(np.uint16),
            protocol=np.where(port == 53, 17, 6).astype(np.uint8),
            flags=np.where(served, 2, 1).astype(np.uint8),
            packets=packets,
            bytes=total,
        )
        seen = Counts(int(packets.sum()), int(total.sum()))
        return Batch(sequence, 10_000, 0, made, Totals(seen))

    def random_batch(self, node: int, flows: int, sequence: int = 1) -> Batch:
        """A batch in which each flow is between other ends, of which one is on the node.

        No two flows have the same source, destination and port, and sizes are uniform.
        """
        rng = np.random.default_rng([node, sequence, flows])
        local = rng.choice(np.array(self.pods_on(node)), flows)
        remote = rng.integers(0, self.pods, flows)
        outward = rng.random(flows) < 0.5
        pods, row = np.unique(np.concatenate([local, remote]), return_inverse=True)
        rows = [MAPPED_PREFIX + _v4(10, pod) for pod in pods.tolist()]
        packets = rng.integers(1, 10_000, flows).astype(np.uint64)
        total = packets * rng.integers(52, 1500, flows).astype(np.uint64)
        made = Flows(
            np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16),
            src=np.where(outward, row[:flows], row[flows:]).astype(np.uint32),
            dst=np.where(outward, row[flows:], row[:flows]).astype(np.uint32),
            src_port=np.zeros(flows, np.uint16),
            dst_port=rng.integers(1024, 1 << 16, flows).astype(np.uint16),
            protocol=np.full(flows, 6, np.uint8),
            flags=np.ones(flows, np.uint8),
            packets=packets,
            bytes=total,
        )
        seen = Counts(int(packets.sum()), int(total.sum()))
        return Batch(sequence, 10_000, 0, made, Totals(seen))

    def _peers(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """All pods of some other workloads."""
        replicas = self.pods // self.workloads
        workloads = rng.choice(self.workloads, -(-count // replicas), replace=False)
        pods = workloads[:, None] + self.workloads * np.arange(replicas)
        return pods.ravel()[:count]


def _table(pods: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Addresses of pods, one in four IPv6, and some outside addresses."""
    rows = [
        _v6(PODS_V6, pod) if pod % 4 == 3 else MAPPED_PREFIX + _v4(10, pod) for pod in pods.tolist()
    ]
    world = rng.integers(1 << 24, 2 << 24, WORLD, dtype=np.uint32) | np.uint32(0x50 << 24)
    rows += [MAPPED_PREFIX + int(number).to_bytes(4, "big") for number in world]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16)


def spread(fleet: Fleet, count: int) -> Iterator[int]:
    """``count`` nodes spread over the fleet."""
    step = max(1, fleet.nodes // count)
    yield from range(0, step * count, step)


def _cidr_v6(number: int) -> tuple[int, int]:
    return CIDRS_V6 + (number << 64), 64


def _v4(first: int, number: int) -> bytes:
    return (first << 24 | 0x10000 + number).to_bytes(4, "big")


def _v6(base: int, number: int) -> bytes:
    return (base + number).to_bytes(16, "big")
