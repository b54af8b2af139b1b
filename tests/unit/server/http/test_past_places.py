"""kzn/server/http/past_places.py: what the history says that bytes cost is what the meter says."""

import asyncio
from dataclasses import replace
from datetime import date
from typing import Any

import cost_world
import numpy as np
import pytest
from cost_world import ADDRESSES, OUTER, CostWorld, Flow
from hypothesis import given, settings
from hypothesis import strategies as st

from kzn.columns.arrays import I64
from kzn.errors import UsageError
from kzn.history.memory import answer
from kzn.history.query import Answer, TrafficQuery
from kzn.model.endpoint import EndpointIndex
from kzn.model.settled import SETTLED, End
from kzn.pricing import aws, gcp
from kzn.pricing.book import PriceBook
from kzn.pricing.places import AMBIGUOUS
from kzn.pricing.table import Place
from kzn.server.http.past_places import Entry, PastEnd, PastPlaces, past_places
from kzn.server.http.traffic_costs import Cost, costs_of
from kzn.server.recording.ends import end_of
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.retry import ObservedFlows
from kzn.server.resolve.verdict import CLASSES

BOOK = PriceBook([replace(one, valid_from=date(2000, 1, 1)) for one in (aws.PRICES, gcp.PRICES)])
GIB = 1 << 30
TOPOLOGY = (
    cost_world.TOPOLOGY.replace(
        "  - {name: n5, zone: a, region: eu-west-1, provider: gcp,",
        "  - {name: n5, zone: c, region: eu-west-1, provider: aws, price: free,",
    )
    .replace("addresses: [10.3.0.1]}", "addresses: [10.3.0.1], price: public-address}")
    .replace(
        "networks:\n",
        """networks:
  - {name: east-2, kind: Database, cidr: 10.9.6.0/24, zone: e2, region: us-east-2}
  - {name: west1, kind: Office, cidr: 10.9.7.0/24, zone: w1, region: us-west1}
""",
    )
)
"""Without a zone of two providers: the history does not say which of them a flow's node was of."""
OTHERS = (*OUTER, "10.9.6.1", "10.9.7.1")


class PastWorld(CostWorld):
    """It also keeps settled flows, as the history does."""

    def __init__(self, topology: str = TOPOLOGY) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cost_world, "TOPOLOGY", topology)
            super().__init__(BOOK)
        self.ends: list[End] = []
        self.rows: list[tuple[Any, ...]] = []

    def offer(
        self, observed: ObservedFlows, resolution: Resolution, chosen: I64, index: EndpointIndex
    ) -> None:
        """A flow sink."""
        minute = int(self.clock.wall()) // 60 * 60
        for row in chosen.tolist():
            rows = [int(resolution.src[row]), int(resolution.dst[row])]
            ends = index.endpoints(resolution.endpoints.take(rows).tolist())
            src, dst = len(self.ends), len(self.ends) + 1
            self.ends += [end_of(end, "") for end in ends]
            size, verdict = int(observed.flows.bytes[row]), resolution.verdict[row]
            self.rows.append((minute, src, dst, 443, 6, verdict, 1, 0, 1, size))

    def cost_of_history(self, places: PastPlaces | None = None, **ids: str) -> Cost:
        """The cost of all flows, priced from the history; ``ids`` are provider ids by node."""
        kept = np.zeros(len(self.rows), SETTLED)
        for number, row in enumerate(self.rows):
            for name, value in zip(SETTLED.names or (), row, strict=True):
                kept[number][name] = value
        verdicts = [(cls, "") for cls in CLASSES]
        verdicts += [("unresolved", "ambiguous")] * (256 - len(verdicts))

        async def ask(query: TrafficQuery) -> Answer:
            if not ids and any("provider_id" in name for name in query.by):
                raise UsageError("not kept")
            return answer(query, kept, self.ends, verdicts, 0, provider_ids=ids)

        async def priced() -> Cost:
            begin = int(self.clock.wall()) // 60 * 60
            found = await ask(TrafficQuery(begin, begin + 60, ("src_zone",)))
            _, total = await costs_of(found, ask, BOOK, places or past_places(self.index))
            return total

        return asyncio.run(priced())


def metered(world: CostWorld) -> tuple[float, int]:
    """Money and unpriced bytes of the metrics."""
    cost = sum(world.series("zone_cost").values())
    return cost, int(sum(world.series("unpriced").values()))


@st.composite
def flows(draw: st.DrawFn) -> tuple[str, list[Flow]]:
    node = draw(st.sampled_from([*ADDRESSES]))
    everyone = [*OTHERS, *(one for some in ADDRESSES.values() for one in some)]
    made = []
    for _ in range(draw(st.integers(1, 6))):
        ends = [draw(st.sampled_from(ADDRESSES[node])), draw(st.sampled_from(everyone))]
        if draw(st.booleans()) and ends[1] in OTHERS:
            ends.reverse()
        made.append((ends[0], ends[1], draw(st.integers(1, 1 << 40)), 1))
    return node, made


@settings(max_examples=15)
@given(st.lists(flows(), min_size=1, max_size=4))
def test_the_history_costs_what_the_meter_says(batches: list[tuple[str, list[Flow]]]) -> None:
    world = PastWorld()
    for node, (address, *_) in ADDRESSES.items():  # the meter knows the providers of all zones
        world.apply(node, (address, "8.8.8.8", 1, 1))
    for node, made in batches:
        world.apply(node, *made)
    found = world.cost_of_history()
    cost, unpriced = metered(world)
    assert found.unpriced == unpriced
    assert found.both.get("USD", 0.0) == pytest.approx(cost)


@pytest.mark.parametrize(
    ("node", "src", "dst", "price"),
    [
        ("n3", "10.0.0.3", "10.9.6.1", 0.01),  # us-east-1 to us-east-2
        ("n4", "10.4.0.1", "10.9.7.1", None),  # a region without a node, whose price is not known
        ("n1", "10.1.0.1", "10.0.0.5", 0.0),  # a free node
        ("n1", "10.1.0.1", "10.5.0.1", 0.02),  # a pod on it
        ("n3", "10.0.0.3", "10.3.0.1", 0.02),  # a pod by its public address, in one zone
    ],
)
def test_regions_and_price_classes_of_entries_are_in_the_history(
    node: str, src: str, dst: str, price: float | None
) -> None:
    world = PastWorld()
    world.apply(node, (src, dst, GIB, 1))
    found = world.cost_of_history()
    assert found.both == ({} if price is None else {"USD": pytest.approx(price)})
    assert found.unpriced == (GIB if price is None else 0)
    cost, unpriced = metered(world)
    assert cost == pytest.approx(price or 0.0)
    assert unpriced == found.unpriced


def test_a_zone_whose_last_node_is_gone_keeps_its_provider() -> None:
    world = PastWorld()
    world.apply("n3", ("10.0.0.3", "8.8.8.8", GIB, 1))
    world.apply("n2", ("10.2.0.1", "10.2.0.2", GIB, 1), ("10.2.0.1", "10.1.0.1", GIB, 1))
    before = world.cost_of_history()
    assert before.both == {"USD": pytest.approx(0.11)}
    assert before.unpriced == 0
    left = [one for one in world.index.nodes() if one.name in {"n4", "n6"}]
    others = PastPlaces(_zones(left))
    assert world.cost_of_history(others).unpriced > 0  # nothing tells
    ids = {name: f"aws:///{name}" for name in ("n1", "n2", "n3")}
    assert world.cost_of_history(PastPlaces(_zones(left)), **ids) == before
    of_region = [*left, *(one for one in world.index.nodes() if one.name == "n1")]
    only_one_zone = world.cost_of_history(PastPlaces(_zones(of_region)))
    assert only_one_zone.unpriced == GIB  # us-east-1 alone is of no known provider


def _zones(nodes: list[Any]) -> Any:
    return [Place(node.provider, node.region, node.zone) for node in nodes]


def test_what_was_added_up_and_entries_of_two_classes_have_no_place() -> None:
    one = PastEnd("r", "a", "Static", "", "db")
    places = PastPlaces([], [Entry(one, "free"), Entry(one._replace(zone="b"), "peering")])
    assert places.of(one).price_class == "free"
    assert places.of(one._replace(zone="b")).price_class == "peering"
    assert places.of(one._replace(zone="c")) == AMBIGUOUS  # moved since
    assert places.of(one._replace(workload="other")) == AMBIGUOUS
    assert places.of(one._replace(kind="Pod", workload="other")).price_class == ""
