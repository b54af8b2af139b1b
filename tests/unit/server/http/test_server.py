"""HTTP routes and their JSON, over a real loopback connection."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from kzn.client.api import MAX_LIMIT
from kzn.daemon.http.places import HttpLimits
from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.model.totals import Counts, Totals
from kzn.server.flows.queue import LogCounts
from kzn.server.http.api import parse_limit
from kzn.server.http.server import HttpApi, RenderLimits
from kzn.server.ledger.family import LedgerSnapshot, Row
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import AccountingSnapshot, Clocks, Pipeline
from kzn.server.receive.stats import ReceiveStats
from kzn.server.resolve.retry import RetryQueue
from kzn.server.snapshot import ServerSnapshot, Sources
from kzn.server.topology import SourceState
from kzn.topology.index import AddressIndex
from kzn.topology.source import ResourceStats, TopologyStats

Session = aiohttp.ClientSession
Asking = Callable[[Session], Coroutine[Any, Any, None]]


def take() -> ServerSnapshot:
    index = AddressIndex(clock=lambda: 0.0, wall=lambda: 0.0)
    ledger = Ledger(LedgerLimits())
    ledger.load(
        [
            Row("pair", ("shop", "web", "a", "shop", "db", "b", "source"), 3),
            Row("pair", ("shop", "web", "a", "shop", "cache", "b", "source"), 30),
            Row("zone", ("a", "b", "cross_zone"), 33),
            Row("workload", ("shop", "Deployment", "web", "egress", "cross_zone", "a", "b"), 33),
        ],
        0.0,
    )
    node_totals = TotalsByNode(10)
    node_totals.of("n1").add_batch(
        Totals(Counts(9, 90), {"map_full": Counts(1, 10)}), Counts(8, 80)
    )
    node_totals.of("n1").add("attributed", "", Counts(6, 60))
    node_totals.of("n1").hold(Counts(2, 20))
    sources = Sources(
        pipeline=Pipeline(
            index, ledger, node_totals, RetryQueue(10), clocks=Clocks(lambda: 0.0, lambda: 0.0)
        ),
        receiver=ReceiveStats,
        topology=lambda: (SourceState("static", True, TopologyStats(index.counts())),),
        flow_log=LogCounts,
    )
    return sources.snapshot(AccountingSnapshot.of(sources.pipeline), 4.0)


@asynccontextmanager
async def serving(api: HttpApi) -> AsyncIterator[Session]:
    sockets = listen(HostPort("127.0.0.1", 0))
    base = f"http://127.0.0.1:{bound_port(sockets)}"
    await api.start(sockets)
    try:
        async with Session(base, timeout=aiohttp.ClientTimeout(10.0)) as session:
            yield session
    finally:
        await api.close()


def ask(
    asking: Asking,
    take: Callable[[], ServerSnapshot] = take,
    why_not_ready: str = "",
    limits: HttpLimits | None = None,
    rendering: RenderLimits | None = None,
) -> None:
    async def taken(_families: frozenset[str]) -> ServerSnapshot:
        return take()

    async def main() -> None:
        api = HttpApi(taken, lambda: why_not_ready, limits, rendering=rendering)
        async with serving(api) as session:
            await asking(session)

    asyncio.run(main())


async def body(session: Session, path: str) -> Any:
    async with session.get(path) as response:
        assert response.status == 200
        return json.loads(await response.text())


def test_metrics_are_text_for_prometheus() -> None:
    async def asking(session: Session) -> None:
        async with session.get("/metrics") as response:
            assert response.status == 200
            assert response.headers["Content-Type"].startswith("text/plain; version=")
            lines = (await response.text()).splitlines()
        assert 'kzn_seen_bytes_total{node="n1"} 90' in lines
        assert any(line.startswith("process_cpu_seconds_total ") for line in lines)

    ask(asking)


def test_a_server_waiting_for_its_topology_is_healthy_but_not_ready() -> None:
    async def asking(session: Session) -> None:
        async with session.get("/healthz") as response:
            assert (response.status, await response.text()) == (200, "ok\n")
        async with session.get("/readyz") as response:
            assert (response.status, await response.text()) == (503, "waiting for pods\n")

    ask(asking, why_not_ready="waiting for pods")


def test_a_ready_server_answers_readyz_with_ok() -> None:
    async def asking(session: Session) -> None:
        async with session.get("/readyz") as response:
            assert (response.status, await response.text()) == (200, "ok\n")

    ask(asking)


def test_pairs_are_sorted_by_bytes_and_cut_at_the_limit() -> None:
    async def asking(session: Session) -> None:
        found = await body(session, "/api/v1/pairs?limit=1")
        assert found["of"] == 2
        assert found["pairs"] == [
            {
                "src_namespace": "shop",
                "src_workload": "web",
                "src_zone": "a",
                "dst_namespace": "shop",
                "dst_workload": "cache",
                "dst_zone": "b",
                "initiator": "source",
                "bytes": 30,
                "cost": None,
                "currency": "",
                "unpriced_bytes": 30,
                "src_group": "",
                "dst_group": "",
            }
        ]

    ask(asking)


def test_zones_workloads_nodes_and_status() -> None:
    async def asking(session: Session) -> None:
        zones = await body(session, "/api/v1/zones")
        zone_pair = {"src_zone": "a", "dst_zone": "b", "class": "cross_zone"}
        crossed = zone_pair | {"bytes": 33, "cost": None, "currency": "", "unpriced_bytes": 33}
        assert zones == {"zones": [crossed], "of": 1}
        workloads = await body(session, "/api/v1/workloads")
        assert workloads["workloads"][0]["workload"] == "web"
        (node,) = (await body(session, "/api/v1/nodes"))["nodes"]
        assert (node["node"], node["seen_bytes"], node["held_bytes"]) == ("n1", 90, 20)
        assert (node["missed_by_reason"], node["seconds_since_batch"]) == ({"map_full": 10}, 4.0)
        status = await body(session, "/api/v1/status")
        assert (status["ready"], status["nodes"], status["bytes"]["attributed"]) == (True, 1, 60)

    ask(asking)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/metrics", 405),
        ("DELETE", "/api/v1/pairs", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/secrets", 404),
        ("GET", "/api/v1/pairs?limit=many", 400),
        ("GET", "/api/v1/pairs?limit=-1", 400),
        ("GET", "/api/v1/pairs?limt=5", 400),
        ("GET", "/api/v1/pairs?limit=5&limit=6", 400),
        ("GET", "/api/v1/status?limit=5", 400),
        ("GET", "/metrics?collect[]=pods", 400),
        ("GET", "/healthz?verbose", 200),
        ("GET", "/readyz?verbose", 200),
        ("HEAD", "/metrics", 200),
    ],
)
def test_methods_paths_and_limits_have_their_status_code(
    method: str, path: str, status: int
) -> None:
    async def asking(session: Session) -> None:
        async with session.request(method, path) as response:
            assert response.status == status

    ask(asking)


def test_an_exception_in_a_route_is_answered_with_500_and_no_traceback() -> None:
    def broken() -> ServerSnapshot:
        raise ZeroDivisionError

    async def asking(session: Session) -> None:
        async with session.get("/metrics") as response:
            assert (response.status, await response.text()) == (
                500,
                '{"error": "internal error"}\n',
            )
        async with session.get("/healthz") as response:
            assert response.status == 200

    ask(asking, take=broken)


def test_requests_beyond_the_limit_are_answered_with_503() -> None:
    async def asking(session: Session) -> None:
        async with session.get("/metrics") as response:
            assert response.status == 503
        async with session.get("/healthz") as response:
            assert response.status == 200

    ask(asking, rendering=RenderLimits(waiting=0))


def test_a_request_that_takes_too_long_is_answered_with_503() -> None:
    async def asking(session: Session) -> None:
        async with session.get("/metrics") as response:
            assert (response.status, await response.text()) == (
                503,
                '{"error": "the answer took too long", "hint": "try again"}\n',
            )

    ask(asking, limits=HttpLimits(answer=0.0))


@pytest.mark.parametrize(("text", "limit"), [(None, 1000), ("5", 5), ("0", 0)])
def test_the_limit_of_rows_has_a_default_and_bounds(text: str | None, limit: int) -> None:
    assert parse_limit(text) == limit
    assert parse_limit("999999999") == MAX_LIMIT


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (
            "/api/v1/pairs?limt=5",
            {"error": "unknown parameter 'limt'", "hint": "known here: limit"},
        ),
        (
            "/api/v1/status?limit=5",
            {"error": "unknown parameter 'limit'", "hint": "known here: none"},
        ),
        ("/api/v1/pairs?limit=x", {"error": "limit 'x' is not a number", "hint": "0 to 100000"}),
        (
            "/api/v1/zones?limit=1&limit=2",
            {"error": "parameter limit is given 2 times", "hint": "give it once"},
        ),
        ("/api/v1/secrets", {"error": "there is no such page"}),
    ],
)
def test_an_error_is_json_with_the_reason(path: str, error: dict[str, str]) -> None:
    async def asking(session: Session) -> None:
        async with session.get(path) as response:
            assert response.status in {400, 404}
            assert response.headers["Content-Type"] == "application/json"
            assert await response.json() == error

    ask(asking)


def test_limit_0_asks_for_the_number_of_rows_alone() -> None:
    async def asking(session: Session) -> None:
        assert await body(session, "/api/v1/pairs?limit=0") == {"pairs": [], "of": 2}

    ask(asking)


def test_clients_that_ask_within_a_second_share_a_snapshot_and_a_rendering() -> None:
    taken: list[int] = []

    def counted() -> ServerSnapshot:
        taken.append(1)
        return take()

    async def asking(session: Session) -> None:
        texts = await asyncio.gather(*(text_of(session, "/metrics") for _ in range(5)))
        assert len(set(texts)) == 1  # the CPU seconds of the process differ in two renderings
        assert len(taken) == 1
        for topic in ("zones", "pairs", "workloads", "nodes", "status"):
            await body(session, f"/api/v1/{topic}")
        assert len(taken) == 1  # a snapshot with all families serves them, too

    ask(asking, take=counted)


def test_prices_are_made_once_for_all_that_ask_within_a_second() -> None:
    made: list[bytes] = []

    def prices() -> bytes:
        made.append(b"[%d]" % len(made))
        return made[-1]

    async def state(_families: frozenset[str]) -> ServerSnapshot:
        return take()

    async def main() -> None:
        async with serving(HttpApi(state, str, prices=prices)) as session:
            asked = [body(session, "/api/v1/prices") for _ in range(5)]
            assert await asyncio.gather(*asked) == [[0]] * 5

    asyncio.run(main())
    assert made == [b"[0]"]


def test_answers_that_have_not_changed_are_not_sent_again() -> None:
    async def asking(session: Session) -> None:
        async with session.get("/api/v1/pairs") as response:
            tag = response.headers["ETag"]
        async with session.get("/api/v1/pairs", headers={"If-None-Match": tag}) as response:
            assert (response.status, await response.read()) == (304, b"")
            assert response.headers["ETag"] == tag
            assert "Content-Length" not in response.headers
        without_weakness = {"If-None-Match": '"old", ' + tag.removeprefix("W/")}
        async with session.get("/api/v1/pairs", headers=without_weakness) as response:
            assert response.status == 304
        async with session.get("/api/v1/zones", headers={"If-None-Match": tag}) as response:
            assert response.status == 200
        async with session.get("/metrics") as response:
            assert "ETag" not in response.headers

    ask(asking)


async def text_of(session: Session, path: str) -> str:
    async with session.get(path) as response:
        assert response.status == 200
        return await response.text()


def test_the_reason_for_not_ready_names_the_missing_lists() -> None:
    def resource(name: str, *, is_listed: bool) -> ResourceStats:
        return ResourceStats(name, is_listed, 0, 1.0, 0, 0, 0, {})

    counts = AddressIndex(clock=lambda: 0.0, wall=lambda: 0.0).counts()
    resources = (resource("pods", is_listed=False), resource("nodes", is_listed=True))
    state = SourceState("kubernetes", False, TopologyStats(counts, resources))
    waiting = replace(take(), sources=(state,))
    assert waiting.why_not_ready == (
        "the kubernetes topology is waiting for the first full list of pods"
    )


class Scrapes:
    """The scrapes that a server was told of: the time of the snapshot, and by whom."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, bool]] = []

    def __call__(self, taken: float, *, is_prometheus: bool, by: str) -> None:
        assert by == "127.0.0.1"
        self.seen.append((taken, is_prometheus))


def test_a_scrape_counts_once_its_body_was_read() -> None:
    scrapes = Scrapes()
    large = replace(take(), ledger=many_pods(200_000), taken=7.0)

    async def taken(_families: frozenset[str]) -> ServerSnapshot:
        return large

    async def main() -> None:
        async with serving(HttpApi(taken, lambda: "", scraped=scrapes)) as session:
            async with session.head("/metrics") as response:
                assert response.status == 200
            async with session.get("/api/v1/pairs") as response:
                assert response.status == 200
            async with session.get("/metrics") as response:
                assert response.status == 200
                await response.content.read(1000)
                response.close()  # a scrape that gives up
            assert scrapes.seen == []
            headers = {"X-Prometheus-Scrape-Timeout-Seconds": "10"}
            async with session.get("/metrics", headers=headers) as response:
                assert len(await response.read()) > 1 << 23
            async with session.get("/healthz") as response:  # after it on the same connection
                assert response.status == 200
            assert scrapes.seen == [(7.0, True)]

    asyncio.run(main())


def test_a_scrape_of_the_counters_for_opencost_is_not_one_of_all_metrics() -> None:
    all_metrics, opencost = Scrapes(), Scrapes()

    async def taken(_families: frozenset[str]) -> ServerSnapshot:
        return replace(take(), taken=7.0)

    async def main() -> None:
        api = HttpApi(taken, lambda: "", scraped=all_metrics, opencost=opencost)
        async with serving(api) as session:
            async with session.get("/metrics/opencost") as response:
                assert response.status == 200
                await response.read()
            async with session.get("/healthz") as response:  # after it on the same connection
                assert response.status == 200
        assert all_metrics.seen == []
        assert opencost.seen == [(7.0, False)]

    asyncio.run(main())


def many_pods(number: int) -> LedgerSnapshot:
    """A ledger whose scrape fills the buffers of sockets."""
    ledger = Ledger(LedgerLimits())
    ledger.load([Row("pod", ("shop", f"pod-{n}"), n) for n in range(number)], 0.0)
    return ledger.snapshot()


def test_a_server_that_stops_is_not_scraped_any_more_and_still_answers_the_rest() -> None:
    async def taken(_families: frozenset[str]) -> ServerSnapshot:
        return take()

    async def main() -> None:
        api = HttpApi(taken, lambda: "")
        async with serving(api) as session:
            api.stop_scrapes()
            async with session.get("/metrics") as response:
                assert response.status == 503
            async with session.get("/api/v1/pairs") as response:
                assert response.status == 200

    asyncio.run(main())
