"""Zones by name, by id, and by default, through the index."""

from dataclasses import replace
from ipaddress import ip_network
from itertools import permutations

import numpy as np
import pytest
from cluster import flows_between

from kzn.model.ip import pack
from kzn.server.resolve.resolve import resolve
from kzn.server.resolve.verdict import NAMES
from kzn.topology.facts import Network, NodeFacts
from kzn.topology.index import AddressIndex
from kzn.topology.zones import Zones

FIRST, SECOND, THIRD = "192.0.2.1", "192.0.2.2", "192.0.2.3"
WITH_ID = NodeFacts("N1", "n1", "us-east-1a", "us-east-1", (pack(FIRST),), zone_id="use1-az1")
WITHOUT_ID = NodeFacts("N2", "n2", "us-east-1a", "us-east-1", (pack(SECOND),))
ELSEWHERE = NodeFacts("N3", "n3", "us-east-1b", "us-east-1", (pack(THIRD),))


def network(zone: str, region: str = "us-east-1") -> Network:
    return Network("db", "Database", (ip_network("10.9.0.0/24"),), zone, region)


def index_by_ids(**options: str) -> AddressIndex:
    zones = Zones(use_ids=True, **options)
    return AddressIndex(clock=lambda: 1000.0, wall=lambda: 1.7e9, zones=zones)


def zone_of(index: AddressIndex, address: str) -> str:
    rows = np.frombuffer(pack(address), np.uint8).reshape(1, 16)
    return index.endpoint(int(index.lookup(rows, 1000.0, 1000.0)[0])).zone


def verdict(index: AddressIndex, src: str, dst: str, node: str = "n1") -> str:
    found = resolve(flows_between((src, dst)), node, index, 1000.0, 1000.0)
    return NAMES[int(found.verdict[0])]


@pytest.mark.parametrize("order", [*permutations(["with", "without", "network"])])
def test_a_zone_has_one_id_in_any_order_of_its_nodes_and_networks(
    order: tuple[str, ...],
) -> None:
    index = index_by_ids()
    for one in order:
        if one == "network":
            index.put_networks([network("us-east-1a")])
        else:
            index.put_node(WITH_ID if one == "with" else WITHOUT_ID)
    assert [zone_of(index, a) for a in (FIRST, SECOND, "10.9.0.1")] == ["use1-az1"] * 3
    assert verdict(index, FIRST, SECOND) == "same_zone"
    assert verdict(index, FIRST, "10.9.0.1") == "same_zone"
    assert index.zones.failed == set()


def test_a_zone_without_a_known_id_is_unknown_and_never_another_zone() -> None:
    index = index_by_ids()
    index.put_node(WITH_ID)
    index.put_node(ELSEWHERE)
    index.put_networks([network("us-east-1c")])
    assert verdict(index, FIRST, THIRD) == "destination_zone_unknown"
    assert verdict(index, THIRD, FIRST, "n3") == "source_zone_unknown"
    assert verdict(index, FIRST, "10.9.0.1") == "destination_zone_unknown"
    assert verdict(index, "10.9.0.1", FIRST) == "source_zone_unknown"
    assert index.zones.failed == {("us-east-1", "us-east-1b"), ("us-east-1", "us-east-1c")}


def test_a_network_without_any_zone_is_still_outside_of_zones() -> None:
    index = index_by_ids()
    index.put_node(WITH_ID)
    index.put_networks([network("")])
    assert verdict(index, FIRST, "10.9.0.1") == "external"


def test_a_file_may_name_a_zone_by_its_id_or_without_its_region() -> None:
    index = index_by_ids()
    index.put_node(WITH_ID)
    index.put_networks([network("use1-az1")])
    assert verdict(index, FIRST, "10.9.0.1") == "same_zone"
    index.put_networks([network("us-east-1a", "")])
    assert zone_of(index, "10.9.0.1") == "use1-az1"


def test_a_name_with_two_ids_in_a_region_is_unknown() -> None:
    index = index_by_ids()
    index.put_node(WITH_ID)
    index.put_node(WITHOUT_ID)
    index.put_node(replace(ELSEWHERE, zone="us-east-1a", zone_id="use1-az6"))
    assert zone_of(index, SECOND) == ""
    assert zone_of(index, FIRST) == "use1-az1"


def test_the_same_name_in_two_regions_is_two_zones() -> None:
    index = index_by_ids()
    index.put_node(WITH_ID)
    index.put_node(replace(WITHOUT_ID, zone="a", region="r1", zone_id="r1-id"))
    index.put_node(replace(ELSEWHERE, zone="a", region="r2"))
    assert zone_of(index, THIRD) == ""


def test_an_id_stays_known_when_the_node_that_had_it_is_gone() -> None:
    index = index_by_ids()
    index.put_node(WITH_ID)
    index.drop_node("N1")
    index.put_node(WITHOUT_ID)
    assert zone_of(index, SECOND) == "use1-az1"


def test_the_default_zone_is_for_nodes_that_have_none() -> None:
    index = AddressIndex(
        clock=lambda: 1000.0, wall=lambda: 1.7e9, zones=Zones(default_zone="hall-1")
    )
    index.put_node(replace(WITHOUT_ID, zone=""))
    index.put_node(ELSEWHERE)
    index.put_networks([network("")])
    assert [zone_of(index, a) for a in (SECOND, THIRD, "10.9.0.1")] == ["hall-1", "us-east-1b", ""]
    assert verdict(index, SECOND, THIRD, "n2") == "cross_zone"
    assert verdict(index, SECOND, SECOND, "n2") == "same_zone"


def test_the_default_zone_does_not_replace_a_zone_without_an_id() -> None:
    index = index_by_ids(default_zone="hall-1")
    index.put_node(WITHOUT_ID)
    assert zone_of(index, SECOND) == ""


@pytest.mark.parametrize("default", ["us-east-1a", "use1-az1"])
@pytest.mark.parametrize("region", ["us-east-1", ""])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_default_zone_is_compared_by_its_id(default: str, region: str, is_first: bool) -> None:
    index = index_by_ids(default_zone=default)
    nodes = [replace(WITHOUT_ID, zone="", region=region), WITH_ID]
    for node in nodes if is_first else reversed(nodes):
        index.put_node(node)
    assert zone_of(index, SECOND) == "use1-az1"
    assert verdict(index, FIRST, SECOND) == ("same_zone" if region else "region_unknown")
    assert index.zones.failed == set()


def test_a_default_zone_that_has_no_id_is_a_zone_of_its_own() -> None:
    index = index_by_ids(default_zone="hall-1")
    index.put_node(replace(WITHOUT_ID, zone=""))
    index.put_node(WITH_ID)
    assert zone_of(index, SECOND) == "hall-1"


@pytest.mark.parametrize("name", ["use1-az6", "usw2-lax1-az1", "use1-wl1-bos-wlz1"])
def test_an_id_needs_no_node_in_its_zone(name: str) -> None:
    index = index_by_ids()
    index.put_node(WITH_ID)
    index.put_networks([network(name)])
    assert zone_of(index, "10.9.0.1") == name
    assert verdict(index, FIRST, "10.9.0.1") == "cross_zone"
    assert index.zones.failed == set()


@pytest.mark.parametrize("name", ["us-west-2-lax-1a", "us-east-1-wl1-bos-wlz-1", "eastus-1"])
def test_a_name_is_not_taken_for_an_id(name: str) -> None:
    index = index_by_ids()
    index.put_node(WITH_ID)
    index.put_networks([network(name)])
    assert zone_of(index, "10.9.0.1") == ""


def test_without_ids_every_zone_keeps_its_name() -> None:
    index = AddressIndex(clock=lambda: 1000.0, wall=lambda: 1.7e9)
    for one in (WITH_ID, WITHOUT_ID, ELSEWHERE):
        index.put_node(one)
    assert verdict(index, FIRST, SECOND) == "same_zone"
    assert verdict(index, FIRST, THIRD) == "cross_zone"
