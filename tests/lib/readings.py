"""Readings of a small cluster, for the pages of kzn top."""

from collections import Counter
from dataclasses import replace

from smallserver import status

from kzn.client.api import PriceListRow
from kzn.top.history import History
from kzn.top.reading import Cost, Pair, Reading, Workload, ZonePair

STATUS = status(agents=3, batches=9, seen=4_000_000, unresolved=40_000)


def look(at: float, scale: int) -> Reading:
    """A reading; its sums grow with ``scale``."""
    cart, db = Workload("shop", "Deployment", "cart"), Workload("shop", "StatefulSet", "db")
    return Reading(
        at,
        STATUS,
        {
            ZonePair("a", "a", "same_zone"): 3000 * scale,
            ZonePair("a", "b", "cross_zone"): 1000 * scale,
            ZonePair("b", "", "external"): 10 * scale,
        },
        {
            cart: {"sent": 1000 * scale, "egress_same_zone": 3000 * scale},
            db: {"sent": 0, "received": 1000 * scale},
        },
        {Pair("shop", "cart", "a", "shop", "db", "b"): 1000 * scale},
    )


def two_looks() -> History:
    """Two readings, ten seconds apart."""
    history = History(60)
    history.add(look(0, 1000))
    history.add(look(10, 3000))
    return history


def with_costs() -> History:
    """The same with prices."""
    prices = (PriceListRow("aws", "aws", "USD", "2022-04-01", "2026-07-01"),)
    history = History(60)
    pair, cart = (
        Pair("shop", "cart", "a", "shop", "db", "b"),
        Workload("shop", "Deployment", "cart"),
    )
    for at, cost in ((0, 0.0), (36, 0.25)):
        money = Cost(Counter({"USD": cost}))
        free = Cost(Counter({"USD": 0.0}), 5)
        history.add(
            replace(
                look(at, 1000 + at),
                status=replace(STATUS, prices=prices),
                zone_costs={ZonePair("a", "b", "cross_zone"): money},
                pair_costs={pair: free},
                workload_costs={cart: money},
            )
        )
    return history
