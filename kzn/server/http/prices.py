"""The JSON of /api/v1/prices: what applies between the zones of this cluster. Reads the index."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from kzn.client.prices import price_table
from kzn.pricing.book import PriceBook
from kzn.pricing.table import Place
from kzn.topology.facts import Network, NodeFacts


def answer(
    book: PriceBook | None, nodes: Iterable[NodeFacts], networks: Iterable[Network], now: float
) -> bytes:
    """The body, as of ``now`` (seconds of the epoch); ``networks`` are those of static files."""
    places = places_of(nodes, networks)
    table = price_table(book, places, datetime.fromtimestamp(now, UTC))
    return msgspec.json.encode(table.to_json()) + b"\n"


def places_of(nodes: Iterable[NodeFacts], networks: Iterable[Network]) -> Iterator[Place]:
    """The zones of nodes, and networks with a price class."""
    for node in nodes:
        if node.zone:
            yield Place(node.provider, node.region, node.zone)
    for network in networks:
        if network.price_class and not network.is_zone_unknown:
            yield Place("", network.region, network.zone, network.price_class, network.name)
