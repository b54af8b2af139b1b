"""The cast of the demo: a shop in three zones, and what its workloads send each other. Pure.

In: the plan of a lab made by `spec`. Out: names for the server's topology, the ends of the report,
a `Worker` for each client. Never: two ends on one node, whose packets pass no uplink.

Postgres has its primary in the first zone, and checkout runs beside it until its rollout, which
starts it in the two other zones: what it reads then crosses zones. The ingress is on its node's
network, at an address of its own there, as a virtual address of a load balancer is: from the
node's address kzn would count what it sends as the node's.
"""

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from kzn.lab import traffic
from kzn.lab.jobs import FAMILIES, Worker
from kzn.lab.plan import Plan, Pod, host_pod
from kzn.lab.topology import PodName
from kzn.lab.traffic import Family, Sent

SPEC: dict[str, Any] = {
    "zones": ("zone-a", "zone-b", "zone-c"),
    "nodes_per_zone": 2,
    "pods_per_node": 3,
    "outside": True,
    "conntrack": True,
}
"""Arguments of the `Lab` that the shop needs."""
INGRESS_NODE = "b2"
OUTSIDE = "outside"
INGRESS = "ingress"
_INGRESS_POD = "edge/ingress-k7x2p"
ROLLOUT = "checkout moves from zone-a, where the primary of postgres is, to zone-b and zone-c"
CRON_ROUNDS = 8
"""Rounds from one run of the CronJob to the next."""
WAVE_ROUNDS = 45
"""Rounds of a rise and fall of what customers ask for."""
_FRONT = frozenset({OUTSIDE, INGRESS, "web"})
"""Clients whose load rises and falls."""

_PODS = {
    "a1": "shop/web-6d4b9-x2k7p shop/postgres-0 shop/kafka-0",
    "a2": "shop/cart-5f7c8-9wq4d shop/checkout-7b6d5-4hzxn shop/checkout-7b6d5-m8v2r",
    "b1": "shop/web-6d4b9-q5ntf shop/redis-0 shop/kafka-1",
    "b2": "shop/cart-5f7c8-tb6lz shop/checkout-84c9f-j2xwk shop/nightly-report-29403-h8t2w",
    "c1": "shop/web-6d4b9-zr8mc shop/postgres-1 shop/kafka-2",
    "c2": "kube-system/coredns-6c5d8-v7g4s shop/checkout-84c9f-p9d6t monitoring/prometheus-0",
}
"""The pods of each node, in order."""
_KINDS = {
    **dict.fromkeys(("postgres", "redis", "kafka", "prometheus"), "StatefulSet"),
    INGRESS: "DaemonSet",
    "nightly-report": "CronJob",
}
_GROUPS = {
    "storefront": {"web", "cart", "checkout"},
    "data": {"postgres", "redis", "kafka", "nightly-report"},
    "platform": {"coredns", "prometheus", INGRESS},
}
"""Teams, as a label of pods would name them."""


@dataclass(frozen=True, slots=True)
class End:
    """An end of traffic in the report; ``zone`` is empty outside the cluster."""

    name: str
    workload: str
    zone: str


@dataclass(frozen=True, slots=True)
class Call:
    """What a client asks of a service in a round, over IPv4 and IPv6.

    ``to`` is a workload, any of whose pods on other nodes is asked each round, or one pod.
    """

    client: str
    to: str
    port: int
    kind: Literal["tcp", "bulk", "udp", "icmp"]
    times: int
    ask: int
    answer: int = 0
    every: int = 1


_CALLS = (
    Call(OUTSIDE, INGRESS, 443, "tcp", 12, 700, 30_000),
    Call(INGRESS, "web", 8080, "tcp", 6, 800, 28_000),
    Call("web", "coredns", 53, "udp", 8, 60, 180),
    Call("web", "coredns", 53, "udp", 2, 60, 4_000),
    Call("web", "cart", 8080, "tcp", 6, 400, 6_000),
    Call("web", "checkout", 8080, "tcp", 3, 1_500, 3_000),
    Call("cart", "redis", 6379, "tcp", 20, 200, 2_500),
    Call("cart", "kafka", 9092, "bulk", 1, 60_000),
    Call("checkout", "postgres-0", 5432, "tcp", 18, 300, 45_000),
    Call("checkout", "kafka", 9092, "bulk", 1, 30_000),
    Call("checkout", OUTSIDE, 443, "tcp", 2, 2_000, 1_000),
    Call("postgres-1", "postgres-0", 5432, "tcp", 8, 100, 60_000),
    Call("kafka", "kafka", 9092, "tcp", 4, 150, 50_000),
    Call("prometheus", "web", 9100, "tcp", 1, 300, 25_000),
    Call("prometheus", "web", 0, "icmp", 8, 56),
    Call("prometheus", "cart", 9100, "tcp", 1, 300, 25_000),
    Call("prometheus", "kafka", 9404, "tcp", 1, 300, 60_000),
    Call("prometheus", "postgres", 9187, "tcp", 1, 300, 40_000),
    Call("prometheus", "redis", 9121, "tcp", 1, 300, 20_000),
    Call("nightly-report", "postgres-0", 5432, "tcp", 20, 200, 60_000, every=CRON_ROUNDS),
)


class Shop:
    """The cast on the pods of a plan; ``rolled_out`` is whether checkout's rollout has happened."""

    def __init__(self, plan: Plan, rolled_out: Callable[[], bool] = lambda: False) -> None:
        if plan.outside is None:
            raise ValueError("the shop needs a host outside")
        self._mtu = plan.spec.mtu
        self._rolled_out = rolled_out
        self._locks: dict[tuple[str, int], threading.Lock] = defaultdict(threading.Lock)
        slots = {node: text.split() for node, text in _PODS.items()}
        node = next(node for node in plan.nodes if node.name == INGRESS_NODE)
        self.ingress = host_pod(node, INGRESS)
        """On its node's network; the plan has no such pod."""
        self.names: Mapping[str, PodName] = {
            pod.name: _named(slots[pod.node][pod.number - 1]) for pod in plan.pods
        } | {INGRESS: _named(_INGRESS_POD)}
        """What the server calls the pods of the plan, and the ingress."""
        self.workloads = sorted({named.workload for named in self.names.values()})
        """The names of the pods' workloads, and of the ingress."""
        self._workloads: dict[str, list[Pod]] = defaultdict(list)
        for pod in plan.pods:
            self._workloads[self.names[pod.name].workload].append(pod)
        self._workloads |= {INGRESS: [self.ingress], OUTSIDE: [plan.outside]}
        ends = {pod: self._end(pod) for pods in self._workloads.values() for pod in pods}
        self.ends: Mapping[str, End] = {
            address: end for pod, end in ends.items() for address in (pod.ipv4, pod.ipv6)
        }
        """The ends of traffic by address."""

    def workers(self, rest: float) -> list[Worker]:
        """A worker for each client, which rests ``rest`` seconds between two rounds."""
        clients = dict.fromkeys(call.client for call in _CALLS)
        return [
            Worker(self._end(pod).name, partial(self._round, name, pod), rest)
            for name in clients
            for pod in self._pods(name)
        ]

    def _round(self, name: str, client: Pod, number: int) -> Iterator[Callable[[], list[Sent]]]:
        if not self._runs(client):
            return
        for call in _CALLS:
            if call.client != name or number % call.every:
                continue
            for server in self._pods(call.to):
                if server.node != client.node and self._runs(server):
                    for family in FAMILIES:
                        yield partial(self._exchange, call, client, server, family, number)

    def _exchange(
        self, call: Call, client: Pod, server: Pod, family: Family, number: int
    ) -> list[Sent]:
        with self._locks[server.name, call.port]:  # one listener at a time
            times = self._times(call, number)
            if call.kind == "icmp":
                return traffic.echo(
                    client, server, family, requests=times, size=call.ask, mtu=self._mtu
                )
            if call.kind == "bulk":
                size = times * call.ask
                return traffic.tcp_bulk(client, server, family, size=size, port=call.port)
            send = partial(traffic.udp_calls, mtu=self._mtu)
            return (send if call.kind == "udp" else traffic.tcp_calls)(
                *(client, server, family),
                calls=times,
                ask=call.ask,
                answer=call.answer,
                port=call.port,
            )

    def _times(self, call: Call, number: int) -> int:
        if call.client not in _FRONT:
            return call.times
        return round(call.times * (1 + 0.5 * math.sin(2 * math.pi * number / WAVE_ROUNDS)))

    def _pods(self, name: str) -> list[Pod]:
        """The pods of a workload, or the pod of that name."""
        if name in self._workloads:
            return self._workloads[name]
        workload = name.rpartition("-")[0]
        return [pod for pod in self._workloads[workload] if self.names[pod.name].name == name]

    def _runs(self, pod: Pod) -> bool:
        named = self.names.get(pod.name)
        if named is None or named.workload != "checkout":
            return True
        return (pod.node == "a2") != self._rolled_out()

    def _end(self, pod: Pod) -> End:
        named = self.names.get(pod.name)
        if named is not None:
            return End(named.name, f"{named.namespace}/{named.workload}", pod.zone)
        return End(pod.name, pod.name, "")


def ends_of(plan: Plan) -> dict[str, End]:
    """The ends of a plain lab by address: each pod is a workload."""
    return {
        address: End(pod.name, pod.name, pod.zone)
        for pod in plan.pods
        for address in (pod.ipv4, pod.ipv6)
    }


def _named(text: str) -> PodName:
    """Namespace, name and workload of ``shop/web-6d4b9-x2k7p``, as Kubernetes makes such names."""
    namespace, name = text.split("/")
    workload = name.rpartition("-")[0]
    if workload not in _KINDS:
        workload = workload.rpartition("-")[0]
    group = next(group for group, names in _GROUPS.items() if workload in names)
    return PodName(namespace, name, _KINDS.get(workload, "Deployment"), workload, group)
