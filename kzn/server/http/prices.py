"""The JSON of /api/v1/prices: what applies between the zones of this cluster. Reads the index."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from kzn.client.prices import price_table
from kzn.pricing.book import PriceBook
from kzn.pricing.table import Place
from kzn.server.prices import places_of
from kzn.topology.describe import price_class_of
from kzn.topology.facts import Network, NodeFacts, PodFacts, Workload

Pods = Iterable[tuple[PodFacts, Workload | None]]


def answer(
    book: PriceBook | None,
    nodes: Iterable[NodeFacts],
    networks: Iterable[Network],
    now: float,
    pods: Pods = (),
) -> bytes:
    """The body, as of ``now`` (seconds of the epoch).

    ``networks`` are those of static files, ``pods`` all pods or those of static files.
    """
    known = list(nodes)
    places = [*places_of(known, ()), *_entries(known, networks, pods)]
    table = price_table(book, places, datetime.fromtimestamp(now, UTC))
    return msgspec.json.encode(table.to_json()) + b"\n"


def _entries(
    nodes: Iterable[NodeFacts], networks: Iterable[Network], pods: Pods
) -> Iterator[Place]:
    """Networks whose place is known, and nodes and pods with a price class."""
    by_name = {node.name: node for node in nodes}
    for network in networks:
        price_class = price_class_of(network)
        if not network.is_zone_unknown and (network.zone or price_class):
            yield Place("", network.region, network.zone, price_class, network.name)
    for node in by_name.values():
        if node.price_class:
            yield _on(node, node.price_class, node.name)
    for pod, _ in pods:
        if pod.price_class and pod.node in by_name:
            yield _on(by_name[pod.node], pod.price_class, f"{pod.namespace}/{pod.name}")


def _on(node: NodeFacts, price_class: str, name: str) -> Place:
    return Place(node.provider, node.region, node.zone, price_class, name, is_counted=True)
