"""kzn/topology/tables/endpoint_table.py."""

from dataclasses import replace

import numpy as np
import pytest

from kzn.errors import KznError
from kzn.model.endpoint import NO_CODE, NODE, UNKNOWN, Endpoint
from kzn.topology.tables.endpoint_table import FIRST_CAPACITY, CountedCodes, EndpointTable


def node(name: str, zone: str = "", region: str = "") -> Endpoint:
    return Endpoint(NODE, "", name, "Node", name, name, zone, region)


def test_equal_zone_names_in_two_regions_are_different_zones() -> None:
    table = EndpointTable()
    ids = [table.add(node("n", "a", region), 0.0) for region in ("r1", "r2", "r1")]
    zones = table.columns.zone[ids].tolist()
    assert zones[0] == zones[2] != zones[1]


def test_an_unknown_node_zone_or_region_has_no_code() -> None:
    table = EndpointTable()
    number = table.add(Endpoint("Static", "", "db", "Database", "db", "", "", ""), 0.0)
    columns = table.columns
    codes = columns.node[number], columns.zone[number], columns.region[number]
    assert codes == (NO_CODE, NO_CODE, NO_CODE)


def test_billing_is_by_provider_and_price_class() -> None:
    table = EndpointTable()
    asked = [("", ""), ("aws", ""), ("gcp", ""), ("aws", "free"), ("", "free"), ("aws", "")]
    ids = [
        table.add(replace(node("n"), provider=provider, price_class=price_class), 0.0)
        for provider, price_class in asked
    ]
    codes = table.columns.billing[ids].tolist()
    assert codes[0] == NO_CODE
    assert codes[1] == codes[5]
    assert len(set(codes)) == 5
    for number in ids:
        table.free(number)
    assert table.columns.billing.tolist() == [NO_CODE] * len(ids)
    later = table.add(replace(node("n"), provider="azure"), 0.0)
    assert table.columns.billing[later] < 4  # a code of before


def test_columns_grow_beyond_their_first_capacity() -> None:
    table = EndpointTable()
    count = FIRST_CAPACITY * 2 + 1
    for number in range(count):
        assert table.add(node(f"n{number}", "ab"[number % 2], "r"), float(number)) == number
    assert len(table.columns.zone) == count
    assert np.array_equal(table.columns.zone, np.arange(count) % 2)
    assert len(set(table.columns.node.tolist())) == count
    assert np.array_equal(table.times[:count, 0], np.arange(count, dtype=float))


def test_a_freed_id_is_an_error_until_it_is_reused() -> None:
    table = EndpointTable()
    first = table.add(node("n1", "a", "r"), 0.0)
    table.free(first)
    with pytest.raises(KznError, match="endpoint id 0"):
        table[first]
    assert table.node_code("n1") == NO_CODE
    assert table.add(node("n2"), 0.0) == first
    assert table.columns.zone[first] == NO_CODE
    with pytest.raises(KznError):
        table[-1]


def test_many_ids_are_read_at_once_and_unused_ones_are_an_error() -> None:
    table = EndpointTable()
    first, second = table.add(node("n1"), 0.0), table.add(node("n2"), 0.0)
    assert table.all_of([second, UNKNOWN, first]) == [node("n2"), UNKNOWN, node("n1")]
    table.free(first)
    for unused in (first, 99):
        with pytest.raises(KznError, match="not in use"):
            table.all_of([second, unused])


def test_a_code_is_reused_after_its_last_user_released_it() -> None:
    codes: CountedCodes[str] = CountedCodes()
    a, b = codes.acquire("a"), codes.acquire("b")
    assert codes.acquire("a") == a
    codes.release(a)
    assert codes.get("a") == a
    codes.release(a)
    assert codes.get("a") == NO_CODE
    assert codes.acquire("c") == a != b
