"""Resolving: every cell of the table of source and destination, and every rule of zones."""

import numpy as np
import pytest
from cluster import cluster, flows_between, index_of
from decisions import (
    CELLS,
    ELSEWHERE,
    HERE,
    OUTSIDE,
    SERVICE,
    STATIC,
    ZONES,
    World,
)

from kzn.model.endpoint import UNKNOWN
from kzn.model.flows import Flows
from kzn.model.ip import pack
from kzn.server.resolve.reporting import AbsentNodes
from kzn.server.resolve.resolve import resolve
from kzn.server.resolve.verdict import NAMES, TRANSIT
from kzn.topology.facts import ServiceFacts


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(("ends", "expected"), CELLS.items())
def test_each_cell_of_the_table(world: World, ends: tuple[str, str], expected: str) -> None:
    assert world.verdict(*ends) == expected


def test_a_forwarded_flow_is_charged_to_the_node_that_forwards_it(world: World) -> None:
    assert world.charged(OUTSIDE, ELSEWHERE) == ("n1", "p2")
    assert world.charged(STATIC, ELSEWHERE) == ("n1", "p2")
    assert world.charged(STATIC, "10.9.1.1") == world.charged(OUTSIDE, "10.9.1.1") == ("n1", "db-a")
    assert world.charged(STATIC, OUTSIDE) == world.charged(OUTSIDE, "1.1.1.1") == ("n1", "")
    assert world.verdict(OUTSIDE, "10.1.3.1") == "same_zone"


def test_an_answer_translated_back_to_its_service_is_counted_by_the_node_that_sent_it() -> None:
    index = index_of(cluster("client a r\nbackend b r", "d/web client 10.1.1.1"))
    index.networks.put_service(ServiceFacts("s", "d", "api", (pack("10.96.0.10"),)))
    flows = flows_between(("10.96.0.10", "10.1.1.1", 10_560))
    found = resolve(flows, "client", index, 0.0, 0.0)
    assert [int(sizes[TRANSIT]) for sizes in found.by_verdict(flows.bytes)] == [10_560]


def test_while_a_node_has_no_agent_an_answer_of_a_service_may_be_its_own(world: World) -> None:
    by_code = np.zeros(10, np.bool_)
    absent = AbsentNodes(by_code)
    flows, now = flows_between((SERVICE, HERE)), world.clock.now()

    def verdict() -> str:
        found = resolve(flows, "n1", world.index, now, now, absent=absent)
        return NAMES[int(found.verdict[0])]

    assert verdict() == "transit"
    by_code[world.index.node_code("n3")] = True
    assert verdict() == "service_address"


def test_a_source_without_node_is_charged_itself_where_it_arrives(world: World) -> None:
    assert world.charged(STATIC, HERE) == ("db-b", "p1")
    assert world.charged(OUTSIDE, HERE) == ("", "p1")


def test_the_node_itself_is_an_endpoint_of_the_node(world: World) -> None:
    assert world.verdict("10.0.0.1", ELSEWHERE) == "cross_zone"
    assert world.verdict("10.0.0.2", HERE) == "transit"


def test_the_same_flow_is_transit_for_one_node_and_counted_by_the_other(world: World) -> None:
    assert world.verdict(HERE, ELSEWHERE, node="n1") == "cross_zone"
    assert world.verdict(HERE, ELSEWHERE, node="n2") == "transit"


@pytest.mark.parametrize(("flow", "expected"), ZONES.items())
def test_each_rule_of_zones(world: World, flow: tuple[str, str, str], expected: str) -> None:
    node, src, dst = flow
    assert world.verdict(src, dst, node) == expected


def test_zones_without_regions_are_compared_by_name() -> None:
    index = index_of(cluster("x a\ny b"))
    found = resolve(flows_between(("10.0.0.1", "10.0.0.2")), "x", index, 0.0, 0.0)
    assert NAMES[found.verdict[0]] == "cross_zone"


def test_all_flows_of_an_unknown_node_are_unresolved(world: World) -> None:
    found = world.resolve((HERE, ELSEWHERE), node="not-there")
    assert NAMES[found.verdict[0]] == "unknown_node"
    assert set(found.endpoints.tolist()) == {UNKNOWN}


@pytest.mark.parametrize("address", ["169.254.172.2", "169.254.0.1", "fe80::1", "febf::9"])
def test_a_link_local_address_is_the_reporting_nodes(world: World, address: str) -> None:
    assert world.verdict(address, STATIC) == "cross_zone"
    assert world.verdict(STATIC, address) == "cross_zone"
    assert world.verdict(address, "10.1.1.2") == "same_zone"
    assert world.verdict(address, STATIC, "n2") == "same_zone"
    found = world.resolve((address, STATIC))
    assert world.index.endpoint(int(found.endpoints[found.src[0]])).name == "n1"


@pytest.mark.parametrize("address", ["169.253.255.255", "169.255.0.0", "fec0::1", "fd00::1"])
def test_an_address_beside_the_link_local_ones_is_not(world: World, address: str) -> None:
    found = world.resolve((address, STATIC))
    assert min(found.endpoints.tolist()) < 0


def test_no_flows_give_no_verdicts(world: World) -> None:
    found = resolve(Flows.empty(), "n1", world.index, 0.0, 1.0)
    assert len(found.verdict) == 0
    assert len(found.endpoints) == 1


def test_each_flow_is_resolved_by_its_own_ends(world: World) -> None:
    found = world.resolve((HERE, ELSEWHERE), (ELSEWHERE, HERE), (HERE, OUTSIDE), (OUTSIDE, HERE))
    names = [NAMES[code] for code in found.verdict]
    assert names == ["cross_zone", "transit", "external", "external"]


def test_the_verdict_by_locations_is_that_of_every_attributed_flow(world: World) -> None:
    found = world.resolve(*(ends for ends, name in CELLS.items() if name in NAMES[:4]))
    by_location = found.verdicts[found.location[found.src], found.location[found.dst]]
    assert by_location.tolist() == found.verdict.tolist()
