"""/api/v1/traffic, /meta and /notices over a small server."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from cluster import index_of
from historic import CLUSTER
from questions import ENDS, T0, VERDICTS, settled
from smallserver import snapshot

from kzn.daemon.http.messages import Request, Response
from kzn.errors import UsageError
from kzn.history.export_query import Export
from kzn.history.memory import answer
from kzn.history.query import Answer, TrafficQuery
from kzn.model.settled import Sum
from kzn.pricing import aws, gcp
from kzn.pricing.book import PriceBook
from kzn.server.http.traffic import Exported, TrafficPages, notices
from kzn.server.snapshot import ServerSnapshot
from kzn.server.stats import HistoryCounts

FLOWS: list[tuple[int, ...]] = [(0, 0, 1, 443, 6, 1, 1, 700), (1, 1, 0, 443, 6, 0, 2, 30)]


class Store:
    """Answers from rows of the test."""

    kept = {"raw": 86_400, "hour": 700_000}  # noqa: RUF012 - read alone

    async def ask(self, query: TrafficQuery) -> Answer:
        return answer(query, settled(FLOWS), ENDS, VERDICTS, T0)

    async def export(self, export: Export) -> Exported:
        raise UsageError(f"no files for {export.format}")


async def state() -> ServerSnapshot:
    return snapshot()


def get(
    path: str, topology: str = CLUSTER, book: PriceBook | None = None, **parameters: str
) -> Any:
    index = index_of(topology)
    pages = TrafficPages(Store(), index, state, lambda: T0 + 300.0, lambda: book).routes()

    async def run() -> Response:
        found = pages[path].answer(
            Request("GET", path, {name: (value,) for name, value in parameters.items()})
        )
        assert not isinstance(found, Response)
        return await found

    response = asyncio.run(run())
    assert ("cache-control", "no-store") in response.headers
    assert not isinstance(response.body, bytes)
    assert response.body.tag
    return json.loads(b"".join(response.body.pieces()))


def test_traffic_of_a_span_by_dimensions() -> None:
    found = get("/api/v1/traffic", since="5m", by="cause_zone", points="5", compare="previous")
    assert found["rows"] == [
        {"cause_zone": "a", "bytes": 730, "packets": 2, "before": 0, "series": [700, 30, 0, 0, 0]}
    ]
    assert (found["from"], found["to"], found["step"]) == (T0, T0 + 300, 60)


def test_what_is_wrong_is_an_error_for_400() -> None:
    with pytest.raises(UsageError, match="not a dimension"):
        get("/api/v1/traffic", by="colour")


def test_meta_says_what_can_be_asked() -> None:
    found = get("/api/v1/meta")
    assert found["zones"] == ["a", "b", "c"]
    assert found["ranges"] == ["1h", "6h", "24h", "7d"]
    assert found["kept"] == {"raw": 86_400, "hour": 700_000}
    assert found["prices"] is None


@pytest.mark.parametrize("path", ["/api/v1/meta", "/api/v1/notices"])
def test_pages_of_all_nodes_are_made_once_for_all_that_ask_within_a_second(path: str) -> None:
    taken: list[ServerSnapshot] = []

    async def take() -> ServerSnapshot:
        taken.append(snapshot())
        return taken[-1]

    async def run() -> None:
        page = TrafficPages(Store(), index_of(CLUSTER), take, lambda: T0).routes()[path]
        for _ in range(3):
            found = page.answer(Request("GET", path))
            assert not isinstance(found, Response)
            await found

    asyncio.run(run())
    assert len(taken) == 1


def test_meta_has_the_price_lists_of_the_nodes_before_any_traffic() -> None:
    topology = (
        "nodes: [{name: n1, zone: a, region: eu-west-1, provider: aws, addresses: [10.0.0.1]}]"
    )
    found = get("/api/v1/meta", topology, PriceBook([aws.PRICES, gcp.PRICES]))
    assert found["prices"] == [
        {
            "list": "aws",
            "valid_from": str(aws.PRICES.valid_from),
            "date": str(aws.PRICES.date),
            "currency": "USD",
        }
    ]
    assert get("/api/v1/meta", book=PriceBook([aws.PRICES]))["prices"] is None


def test_notices_name_what_is_missing() -> None:
    index = index_of("nodes: [{name: n1, addresses: [10.0.0.1]}]")
    found = {notice.kind: notice for notice in notices(snapshot(), index)}
    assert found["node_without_zone"].names == ("n1",)
    assert found["missed"].text == "11.1 % of the bytes were seen and are in no flow."
    assert found["missed"].names == ("map_full",)
    kinds = {one["kind"] for one in get("/api/v1/notices")["notices"]}
    assert kinds == {"missed"}


@pytest.mark.parametrize("where", ["lost", "lost_before"])
def test_a_killed_server_is_a_notice_with_and_without_a_state(where: str) -> None:
    counts = HistoryCounts()
    missing: dict[str, Any] = {where: {"cross_zone": Sum(1, 1)}}
    killed = replace(counts, **missing)
    found = [
        [one.kind for one in notices(replace(snapshot(), history=history), index_of(CLUSTER))]
        for history in (counts, killed)
    ]
    assert found == [["missed"], ["missed", "restarted"]]
