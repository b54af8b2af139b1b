"""For each rule of advice a world in which it proposes something, beside traffic of others.

In: the name of a rule. Out: a `World`; the same flows as a history that can be asked.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from advice_world import CLUSTER, GIB, ZONES, party, service, talk, workload, world

from kzn.advisor.facts import Flow, Party, Service, Window
from kzn.advisor.world import World
from kzn.client.past_traffic import Ask, PastTraffic
from kzn.history.memory import INITIATORS, PROTOCOLS, answer
from kzn.history.query import Answer, TrafficQuery
from kzn.model.settled import SETTLED, End

T0 = 1_700_006_400
WEB, CART, PROXY = party("shop/web"), party("shop/cart"), party("shop/proxy")
OTHER = party("shop/other")
DB = party("data/db", "StatefulSet")
WEB_STS = party("shop/web", "StatefulSet")
"""Of the same name as a Deployment."""
EVEN = {(client, server): 100 * GIB for client in ZONES for server in ZONES}
ONE_WAY = {("a", "b"): 100 * GIB, ("a", "a"): 7 * GIB}
READS = {("a", "b"): (GIB, 50 * GIB), ("b", "b"): (GIB, 9 * GIB)}
TWO = dict.fromkeys(ZONES, 2)
NODES = [f"{zone}{number}" for zone in ZONES for number in (0, 1)]
CARTS = workload(CART, TWO, selector=(("app", "cart"),))
NOISE = [
    *talk(OTHER, CART, ONE_WAY, 9090),
    *talk(CART, OTHER, ONE_WAY, 8080),
    *talk(WEB, OTHER, ONE_WAY, 8080),
    *talk(WEB_STS, OTHER, ONE_WAY, 8080),
    *talk(OTHER, DB, {("a", "b"): (5 * GIB, GIB)}, 7000),
]
"""The same workloads at other ports, in the other direction, and another kind of one name."""


def _of_cart(**routing: object) -> Service:
    return service("shop/cart", CART, TWO, **routing)  # type: ignore[arg-type]


def _same_zone() -> World:
    return world([*talk(WEB, CART, EVEN), *NOISE], [_of_cart()], [CARTS])


def _same_node() -> World:
    logs = party("ops/log", "DaemonSet")
    return world(
        [*talk(WEB, logs, EVEN), *NOISE],
        [service("ops/log", logs, TWO)],
        [workload(WEB, TWO, nodes=NODES), workload(logs, TWO, nodes=NODES)],
    )


def _spread_first() -> World:
    cart = service("shop/cart", CART, {"a": 2, "b": 2})
    return world(
        [*talk(WEB, CART, EVEN), *NOISE],
        [cart],
        [replace(CARTS, pods={"a": 2, "b": 2}, replicas=4)],
    )


def _dns() -> World:
    dns = party("kube-system/coredns")
    kube_dns = service("kube-system/kube-dns", dns, TWO, 53, "udp")
    return world([*talk(WEB, dns, EVEN, 53, "udp"), *NOISE], [kube_dns])


def _no_effect() -> World:
    return world(
        [*talk(WEB, CART, EVEN), *NOISE],
        [_of_cart(hints=True, distribution="PreferClose")],
        [CARTS],
        replace(CLUSTER, proxy="cilium", cilium={}),
    )


def _hints_annotation() -> World:
    return world([*talk(WEB, CART, EVEN), *NOISE], [_of_cart(topology_mode="Auto")], [CARTS])


def _unlabelled_node() -> World:
    cart = service("shop/cart", CART, TWO, hints=True, distribution="PreferClose")
    first = replace(cart.endpoints[0], has_hint=False, is_labelled=False)
    cart = replace(cart, endpoints=(first, *cart.endpoints[1:]))
    return world([*talk(WEB, CART, EVEN), *NOISE], [cart], [CARTS])


def _node_port() -> World:
    node = party("n1", "Node")
    return world(
        [*talk(node, CART, EVEN), *talk(WEB, CART, ONE_WAY), *NOISE],
        [_of_cart(type="NodePort", external_policy="Cluster", distribution="PreferClose")],
        [CARTS],
    )


def _public_address() -> World:
    outer = party("shop/cart", "Service")
    flows = [
        replace(flow, cls="external")
        for flow in talk(WEB, outer, {("a", ""): 60 * GIB, ("b", ""): 40 * GIB}, 443)
    ]
    cart = replace(_of_cart(type="LoadBalancer"), outer_addresses=("203.0.113.9",))
    return world([*flows, *NOISE], [cart], [CARTS])


def _single_zone_volume() -> World:
    server = workload(DB, {"b": 2}, has_claims=True, volume_zones=("b",))
    return world([*talk(OTHER, DB, {("a", "b"): 90 * GIB}, 5432)], workloads=[
        server, workload(OTHER, {"a": 3})
    ])  # fmt: skip


def _batch() -> World:
    job = party("shop/report", "CronJob")
    flows = talk(job, DB, {("a", "b"): 80 * GIB, ("a", "a"): 10 * GIB}, 5432)
    return world([*flows, *talk(job, OTHER, {("a", "c"): 20 * GIB}), *NOISE])


def _apart() -> World:
    one, other = party("shop/one"), party("shop/two")
    return world(
        [*talk(one, other, {("a", "b"): 80 * GIB}), *NOISE],
        workloads=[workload(one, {"a": 2}), workload(other, {"b": 2})],
    )


def _kafka() -> World:
    kafka = party("data/kafka", "StatefulSet")
    brokers = service("data/kafka", kafka, dict.fromkeys(ZONES, 1), 9092, is_headless=True)
    return world([*talk(WEB, kafka, READS, 9092), *NOISE], [brokers], [workload(kafka, TWO)])


def _scrapers() -> World:
    prometheus = party("ops/prometheus", "StatefulSet")
    flows = [
        flow
        for number in range(6)
        for flow in talk(prometheus, party(f"x/w{number}"), {("a", "b"): (GIB, 99 * GIB)}, 9100)
    ]
    return world([*flows, *NOISE], workloads=[workload(prometheus, {"a": 1})])


def _database_reads() -> World:
    return world([*talk(WEB, DB, READS, 5432), *NOISE])


def _proxy_chain() -> World:
    return world(
        [*talk(WEB, PROXY, EVEN), *talk(PROXY, CART, EVEN), *NOISE[3:]],
        [_of_cart(), service("shop/proxy", PROXY, TWO)],
        [CARTS, workload(PROXY, TWO), workload(WEB, TWO)],
    )


def _replication() -> World:
    return world(
        [*talk(DB, DB, EVEN, 2380), *NOISE], workloads=[workload(DB, TWO, has_claims=True)]
    )


EXAMPLES: dict[str, Callable[[], World]] = {
    "same-zone": _same_zone,
    "same-node": _same_node,
    "spread-first": _spread_first,
    "dns": _dns,
    "no-effect": _no_effect,
    "hints-annotation": _hints_annotation,
    "unlabelled-node": _unlabelled_node,
    "node-port": _node_port,
    "public-address": _public_address,
    "single-zone-volume": _single_zone_volume,
    "batch": _batch,
    "apart": _apart,
    "kafka-consumers": _kafka,
    "scrapers": _scrapers,
    "database-reads": _database_reads,
    "proxy-chain": _proxy_chain,
    "replication": _replication,
}
_VERDICTS = [("same_zone", ""), ("cross_zone", ""), ("external", "")]


def example(rule: str) -> World:
    """The world of a rule, measured in the hour from `T0` on."""
    return replace(EXAMPLES[rule](), window=Window(T0, T0 + 3600, 3600))


def answers(found: World, *, after: Iterable[Flow] = ()) -> Callable[[TrafficQuery], Answer]:
    """The flows of a world as a history of an hour from the begin of its window on.

    ``after`` are those of the hour that follows.
    """
    ends: dict[tuple[Party, str], int] = {}
    rows = []
    begin = found.window.begin
    for start, flows in ((begin, found.flows), (begin + 3600, tuple(after))):
        for flow in flows:
            numbers = [
                ends.setdefault(end, len(ends))
                for end in ((flow.src, flow.src_zone), (flow.dst, flow.dst_zone))
            ]
            verdict = [name for name, _ in _VERDICTS].index(flow.cls)
            protocol = {name: number for number, name in PROTOCOLS.items()}[flow.protocol]
            initiator = INITIATORS.index(flow.initiator)
            rows.append(
                (start, *numbers, flow.port, protocol, verdict, initiator, (0, 0, 0), 1, flow.bytes)
            )
    made = [
        End(one.kind, one.namespace, one.workload_kind, one.workload, "", "", zone, "us-east-1", "")
        for one, zone in ends
    ]
    settled = np.array(rows, SETTLED)
    return lambda query: answer(query, settled, made, _VERDICTS, begin)


def asker(found: World, *, after: Iterable[Flow] = ()) -> Ask:
    """The same as `kzn diff` asks."""
    ask = answers(found, after=after)
    return lambda query: PastTraffic.from_json(ask(query).to_json())
