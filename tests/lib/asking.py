"""Questions to flows in memory, with the costs that a server's answers have."""

import asyncio
import datetime as dt
from dataclasses import replace

from questions import ENDS, VERDICTS, settled

from kzn.client.past_traffic import Ask, PastTraffic
from kzn.history.memory import answer
from kzn.history.query import MAX_LIMIT, Answer, TrafficQuery
from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import PriceList, Rule
from kzn.pricing.table import Place
from kzn.server.http.past_places import PastPlaces
from kzn.server.http.traffic import document
from kzn.server.http.traffic_costs import costs_of

DAY = dt.date(2026, 1, 1)
PRICES = PriceBook(
    [
        PriceList(
            name="aws",
            provider="aws",
            currency="USD",
            valid_from=DAY,
            source="a test",
            date=DAY,
            gb_bytes=1,
            rules=(Rule("cross_zone", 2.0, 3.0), Rule("same_zone")),
        )
    ]
)
PLACES = PastPlaces([Place("aws", "r", "a"), Place("aws", "r", "b")])


def asking(
    flows: list[tuple[int, ...]],
    since: int,
    *,
    prices: PriceBook | None = PRICES,
    most: int = MAX_LIMIT,
) -> Ask:
    """Ask flows as those of `questions`, of which there is data from ``since`` on.

    An answer has at most ``most`` groups.
    """
    rows = settled(flows)

    async def find(query: TrafficQuery) -> Answer:
        query = replace(query, limit=min(query.limit, most))
        return answer(query, rows, ENDS, VERDICTS, since)

    async def priced(query: TrafficQuery) -> PastTraffic:
        found = await find(query)
        costs = None if prices is None else await costs_of(found, find, prices, PLACES)
        return PastTraffic.from_json(document(found, costs))

    return lambda query: asyncio.run(priced(query))
