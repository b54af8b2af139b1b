"""The adviser: how often it asks, what it asks, and what it tells the metrics."""

import asyncio
from collections import Counter
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from advice_examples import answers
from advice_history import T0, Store, sources_of
from advice_world import GIB, party, talk, world

from kzn.advisor.facts import Window
from kzn.advisor.gather import Reporting
from kzn.columns.arrays import I32, U8
from kzn.daemon.http.messages import BusyError
from kzn.history.query import Answer, TrafficQuery
from kzn.model.ip import pack
from kzn.server.advice import (
    FRESH_SECONDS,
    LEAST_FRESH_SECONDS,
    MAX_GROUPS,
    PIECE,
    AdviceSums,
    Adviser,
)
from kzn.topology.facts import Network, PodFacts, Workload
from kzn.topology.index import AddressIndex
from kzn.topology.routing_facts import SliceFacts


class Ended(Exception):  # noqa: N818 - ends a loop of the test
    """The test has seen enough."""


def test_the_window_is_what_is_kept_and_no_more_than_a_week() -> None:
    store = Store()
    assert Adviser(sources_of(store)).usual == 86_400
    store.kept = {"raw": 86_400, "hour": 10_000_000}
    adviser = Adviser(sources_of(store))
    asyncio.run(adviser.advice())
    (query,) = store.asked
    assert (query.end - query.begin, query.end) == (7 * 86_400, T0 + 600)
    assert (query.points, query.limit) == (168, 4761)
    assert query.points * query.limit <= 800_000
    asyncio.run(Adviser(sources_of(store)).advice(3600))
    assert (store.asked[-1].points, store.asked[-1].limit) == (60, MAX_GROUPS)


def test_an_answer_is_kept_for_minutes_and_the_sums_are_those_of_the_usual_window() -> None:
    store, now = Store(), [1000.0]
    adviser = Adviser(replace(sources_of(store), clock=lambda: now[0]))
    assert adviser.sums() == AdviceSums()

    async def test() -> None:
        await adviser.advice(600)
        assert adviser.sums().by_rule is None
        first, again = await asyncio.gather(adviser.advice(), adviser.advice())
        assert first is again
        assert len(store.asked) == 2
        now[0] += FRESH_SECONDS
        assert await adviser.advice() is not first

    asyncio.run(test())
    sums = adviser.sums()
    assert sums.by_rule is not None
    assert sums.by_rule.keys() == {("same-zone", "USD")}
    assert sums.by_currency == {"USD": pytest.approx(600 / 1024 * 0.02 * 730 * 6)}
    assert sums.proposals == 1


@pytest.mark.parametrize(
    ("of_data", "fresh"),
    [
        pytest.param(0, LEAST_FRESH_SECONDS, id="no data"),
        pytest.param(60, LEAST_FRESH_SECONDS, id="the first minute"),
        pytest.param(600, 60.0, id="ten minutes"),
        pytest.param(86_400, FRESH_SECONDS, id="a day"),
    ],
)
def test_an_answer_of_little_data_is_made_anew_sooner(of_data: int, fresh: float) -> None:
    store, now = Store(), [1000.0]

    async def ask(query: TrafficQuery) -> Answer:
        answer = await store.ask(query)
        return replace(answer, complete_from=query.end - of_data if of_data else None, gaps=())

    adviser = Adviser(replace(sources_of(store), ask=ask, clock=lambda: now[0]))

    async def test() -> None:
        first = await adviser.advice(86_400)
        assert first.window.seconds == of_data
        now[0] += fresh - 0.5
        assert await adviser.advice(86_400) is first
        now[0] += 0.5
        assert await adviser.advice(86_400) is not first

    asyncio.run(test())


def test_an_error_of_any_kind_is_logged_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store()
    waits: list[float] = []

    async def ask(query: TrafficQuery) -> Answer:
        if len(waits) < 3:
            raise ValueError("invalid literal")
        return await store.ask(query)

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 3:
            raise Ended

    adviser = Adviser(replace(sources_of(store), ask=ask), sleep=sleep)
    with pytest.raises(Ended):
        asyncio.run(adviser.run())
    assert adviser.sums().proposals == 1
    assert [record.getMessage() for record in caplog.records] == [
        "advice: failed, trying again: ValueError: invalid literal"
    ]


class Turns(AddressIndex):
    """An index that notes at which turn of the event loop it is asked for how much."""

    turn = 0

    def __init__(self) -> None:
        super().__init__(clock=lambda: 1000.0, wall=lambda: 1000.0)
        self.asked: list[tuple[str, int, int]] = []

    def lookup(self, addresses: U8, *args: Any, **more: Any) -> I32:
        self.asked.append(("addresses", self.turn, len(addresses)))
        return super().lookup(addresses, *args, **more)

    def pods_of(self, node: str) -> list[tuple[PodFacts, Workload | None]]:
        found = super().pods_of(node)
        self.asked.append(("pods", self.turn, len(found)))
        return found


def test_the_topology_of_a_large_cluster_is_copied_in_pieces_that_leave_the_loop_its_turns() -> (
    None
):
    store, index = Store(), Turns()
    addresses = [pack(f"10.0.{number >> 8}.{number & 255}") for number in range(3 * PIECE)]
    for number, address in enumerate(addresses):
        node = f"n{number % 60}"
        pod = PodFacts(f"u{number}", "shop", f"p{number}", node, (address,), started=0.0)
        index.put_pod(pod, Workload("Deployment", "cart"))
    count = len(addresses)
    names, joined = ("x",) * count, b"".join(addresses)
    store.routing.put_slice(
        SliceFacts("big", "shop", "cart", (), joined, bytes(count), names, names)
    )

    async def test() -> None:
        async def tick() -> None:
            while True:
                index.turn += 1
                await asyncio.sleep(0)

        ticker = asyncio.create_task(tick())
        await Adviser(replace(sources_of(store), index=index)).advice()
        ticker.cancel()

    asyncio.run(test())
    for kind, turns in (("addresses", 3), ("pods", 3)):
        by_turn: Counter[int] = Counter()
        for name, turn, number in index.asked:
            if name == kind:
                by_turn[turn] += number
        assert len(by_turn) >= turns
        assert max(by_turn.values()) <= PIECE
        assert sum(by_turn.values()) >= count


def test_a_store_that_is_busy_is_asked_again_later() -> None:
    store = Store()
    waits: list[float] = []

    async def ask(query: TrafficQuery) -> Answer:
        if len(waits) < 2:
            raise BusyError("too many queries at once")
        return await store.ask(query)

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 2:
            raise Ended

    adviser = Adviser(replace(sources_of(store), ask=ask), sleep=sleep)
    with pytest.raises(Ended):
        asyncio.run(adviser.run())
    assert waits == [120.0, 600.0, 600.0]
    assert adviser.sums().proposals == 1


@pytest.mark.parametrize(
    ("here", "known", "notes", "sure"),
    [(0, 0, 0, "high"), (6, 6, 0, "high"), (19, 20, 1, "high"), (2, 6, 1, "low")],
)
def test_a_server_of_one_zone_says_that_it_sees_a_part_and_is_less_sure(
    here: int, known: int, notes: int, sure: str
) -> None:
    sources = replace(sources_of(Store()), reporting=lambda: Reporting(here, known))
    found = asyncio.run(Adviser(sources).advice())
    assert len([one for one in found.notes if f"{here} of {known} nodes report" in one]) == notes
    (proposal,) = found.proposals
    assert proposal.draft.confidence == sure
    assert ("what other servers' agents count" in proposal.draft.unknown) == (sure == "low")


def test_a_server_without_agents_says_that_none_reports() -> None:
    sources = replace(sources_of(Store()), reporting=lambda: Reporting(0, 6))
    (note,) = asyncio.run(Adviser(sources).advice()).notes
    assert note.startswith("no agent reports to this server at present, of 6 nodes")


def test_a_static_entry_has_the_price_that_its_file_says() -> None:
    reads = talk(
        party("shop/web"), party("orders-db", "Static"), {("a", "b"): (GIB, 500 * GIB)}, 5432
    )
    answered = answers(replace(world(reads), window=Window(T0, T0 + 3600, 3600)))

    async def ask(query: TrafficQuery) -> Answer:
        return answered(query)

    def cost(price: str) -> float:
        sources = replace(sources_of(Store()), ask=ask)
        cidr = ip_network("192.0.2.0/24")
        entry = Network("orders-db", "Database", (cidr,), "b", "us-east-1", price_class=price)
        sources.index.put_networks([entry])
        (one,) = asyncio.run(Adviser(sources).advice()).proposals
        assert one.rule == "database-reads"
        return one.cost["USD"]

    assert cost("managed-database") == pytest.approx(cost("") / 2)
