"""A history and a topology for advice: shop/web in three zones calls the Service shop/cart.

In: nothing. Out: a store that answers from rows in memory, and the sources of an `Adviser`.
"""

from dataclasses import dataclass, field

import numpy as np
from advice_world import rules

from kzn.history.memory import answer
from kzn.history.query import Answer, TrafficQuery
from kzn.model.endpoint import POD
from kzn.model.ip import pack
from kzn.model.settled import SETTLED, End
from kzn.pricing.aws import PRICES
from kzn.pricing.book import PriceBook
from kzn.server.advice import Sources
from kzn.topology.facts import NodeFacts, PodFacts, ServiceFacts, Workload
from kzn.topology.index import AddressIndex
from kzn.topology.routing import Routing
from kzn.topology.routing_facts import (
    READY,
    ControllerFacts,
    ServiceRouting,
    SliceFacts,
    SlicePort,
)

T0 = 1_700_006_400
ZONES = ("a", "b", "c")
MIB = 1 << 20
VERDICTS = [("same_zone", ""), ("cross_zone", "")]
PODS = [(app, zone, number) for app in ("web", "cart") for zone in ZONES for number in (0, 1)]


def address_of(app: str, zone: str, number: int) -> bytes:
    return pack(f"10.{1 + ('web', 'cart').index(app)}.{ZONES.index(zone)}.{1 + number}")


def ends() -> list[End]:
    return [
        End(POD, "shop", "Deployment", app, "", "", zone, "us-east-1", "")
        for app in ("web", "cart")
        for zone in ZONES
    ]


@dataclass
class Store:
    """Ten minutes of history in which each zone's clients used all zones alike: 100 MiB each."""

    asked: list[TrafficQuery] = field(default_factory=list)
    routing: Routing = field(default_factory=Routing)
    kept: dict[str, int] = field(default_factory=lambda: {"raw": 86_400})

    async def ask(self, query: TrafficQuery) -> Answer:
        self.asked.append(query)
        rows = [
            (T0 + 60 * (src % 3), *pair, 8080, 6, verdict, initiator, (0, 0, 0), 1, 50 * MIB)
            for src in range(3)
            for dst in range(3, 6)
            for pair, initiator in (((src, dst), 1), ((dst, src), 2))
            for verdict in [int(src % 3 != dst % 3)]
        ]
        return answer(query, np.array(rows, SETTLED), ends(), VERDICTS, T0, T0 + 600)


def sources_of(store: Store) -> Sources:
    """The sources of an adviser at ten minutes after `T0`."""
    index = AddressIndex(clock=lambda: 1000.0, wall=lambda: T0 + 600.0)
    for zone in ZONES:
        for number in (0, 1):
            node = NodeFacts(
                f"{zone}{number}", f"{zone}{number}", zone, "us-east-1", provider="aws",
                kubelet="v1.34.1",
            )  # fmt: skip
            index.put_node(node)
    for app, zone, number in PODS:
        name = f"{app}-{zone}{number}"
        pod = PodFacts(
            name, "shop", name, f"{zone}{number}", (address_of(app, zone, number),), started=0.0
        )
        index.put_pod(pod, Workload("Deployment", app))
    fill(store.routing)
    return Sources(
        ask=store.ask,
        longest=lambda: max(store.kept.values()),
        index=index,
        routing=store.routing,
        book=lambda: PriceBook([PRICES]),
        wall=lambda: T0 + 600.0,
        clock=lambda: 1000.0,
        rules=rules(),
    )


def fill(routing: Routing) -> None:
    """The Service shop/cart with its endpoints, and the controllers."""
    routing.api_version = "v1.34.2"
    routing.put_service(ServiceFacts("s1", "shop", "cart", routing=ServiceRouting()))
    carts = [(zone, number) for app, zone, number in PODS if app == "cart"]
    routing.put_slice(
        SliceFacts(
            "e1",
            "shop",
            "cart",
            (SlicePort("http", 8080, "TCP"),),
            b"".join(address_of("cart", *one) for one in carts),
            bytes([READY] * len(carts)),
            tuple(f"{zone}{number}" for zone, number in carts),
            tuple(zone for zone, _ in carts),
        )
    )
    routing.put_controller(ControllerFacts("c1", "Deployment", "shop", "cart", 6))
    routing.put_controller(ControllerFacts("c2", "DaemonSet", "kube-system", "kube-proxy"))
