"""What a line of the flow log says of the cost of its flow."""

import io
import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from cluster import flows_between, index_of

from kzn.errors import UsageError
from kzn.model.flows import Flows
from kzn.pricing import aws
from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import Rule
from kzn.server.config import ServerConfig
from kzn.server.flows.costs import FlowPrices
from kzn.server.flows.queue import FlowLog
from kzn.server.prices import PriceSources
from kzn.server.resolve.resolve import resolve
from kzn.server.resolve.retry import ObservedFlows

WEB, DB, OFFICE, RDS, OUT, LOST = (
    "10.1.0.1", "10.2.0.1", "10.9.2.1", "10.9.0.1", "8.8.8.8", "10.200.0.1",
)  # fmt: skip
TOPOLOGY = f"""
nodes:
  - {{name: n1, zone: a, region: eu-west-1, provider: aws, addresses: [10.0.0.1]}}
  - {{name: n2, zone: b, region: eu-west-1, provider: aws, addresses: [10.0.0.2]}}
pods:
  - {{namespace: shop, name: web, node: n1, addresses: [{WEB}]}}
  - {{namespace: shop, name: db, node: n2, addresses: [{DB}]}}
networks:
  - {{name: rds, kind: Database, cidr: 10.9.0.0/24, zone: b, region: eu-west-1,
     price: managed-database}}
  - {{name: office, kind: Office, cidr: 10.9.2.0/24}}
"""
INDEX = index_of(TOPOLOGY)
BOOK = PriceBook([replace(aws.PRICES, valid_from=date(2000, 1, 1))])
DEAREST = PriceBook([replace(aws.PRICES, valid_from=date(2000, 1, 1), gb_bytes=1)])
GIB = 1 << 30


def lines(form: str, flows: Flows, *books: PriceBook | None) -> list[str]:
    """The lines of these flows, once with each of ``books``."""
    stream, current = io.BytesIO(), [books[0]]
    assert form in ("text", "json")
    prices = FlowPrices(lambda: current[0])
    observed = ObservedFlows("n1", flows, 90.0, 100.0, 10.0, 0)
    found = resolve(flows, "n1", INDEX, 90.0, 100.0)
    for book in books:
        current[0] = book
        log = FlowLog(
            stream,
            "text" if form == "text" else "json",
            epoch_of=lambda _: 2e9,
            prices=prices,
        )
        log.offer(observed, found, np.arange(len(flows)), INDEX)
        assert log.close(10)
    return stream.getvalue().decode().splitlines()


FLOWS = flows_between(
    (WEB, DB, GIB), (WEB, "10.0.0.1", 7), (WEB, OUT, GIB), (WEB, OFFICE, 5), (WEB, RDS, 2 * GIB),
    (WEB, LOST, 9),
)  # fmt: skip


def test_json_lines_have_both_ends_cost_or_why_there_is_none() -> None:
    found = list(map(json.loads, lines("json", FLOWS, BOOK)))
    keys = [list(row)[-5:] for row in found]
    assert keys == [["class", "reason", "cost", "currency", "unpriced"]] * 6
    rows = [(row["cost"], row["currency"], row["unpriced"]) for row in found]
    assert rows == [
        (pytest.approx(0.02), "USD", ""),
        (0.0, "USD", ""),
        (pytest.approx(0.09), "USD", ""),
        (None, "", "no_zone"),
        (pytest.approx(0.02), "USD", ""),
        (None, "", ""),
    ]


def test_text_lines_leave_out_what_is_empty() -> None:
    found = [line.partition(" class=")[2] for line in lines("text", FLOWS, BOOK)]
    assert found == [
        "cross_zone cost=0.02 currency=USD",
        "same_zone cost=0.0 currency=USD",
        "external cost=0.09 currency=USD",
        "external unpriced=no_zone",
        "cross_zone cost=0.02 currency=USD",
        "unresolved reason=unknown_destination",
    ]


def test_other_prices_count_from_the_next_batch_and_without_a_book_there_is_no_cost() -> None:
    flows = flows_between((WEB, DB, 100))
    costs = [json.loads(line)["cost"] for line in lines("json", flows, BOOK, DEAREST, None)]
    assert costs == [pytest.approx(2 / GIB), pytest.approx(2.0), None]


def test_the_end_that_is_charged_decides_and_not_its_address() -> None:
    """An address that nothing owns, sent by a pod that the agent knows."""
    flows = flows_between((LOST, DB, GIB), (WEB, DB, 1))
    web = int(flows.src[1])
    made = replace(flows, sender=np.array([web, web], np.uint32))
    here = Rule("cross_zone", 0.03, 0.0, src_regions=("eu-*",))
    book = PriceBook([replace(BOOK.lists[0], rules=(here,))])
    (first, _) = map(json.loads, lines("json", made, book))
    assert (first["src_name"], first["cost"]) == ("web", pytest.approx(0.03))


def test_costs_without_prices_are_refused() -> None:
    with pytest.raises(UsageError, match="--flow-log-cost needs prices"):
        ServerConfig(flow_log_cost=True, prices=PriceSources(shipped=False))
