"""Resolving: every cell of the table of source and destination, and every rule of zones."""

from dataclasses import replace

import numpy as np
import pytest
from cluster import cluster, flows_between, index_of, sent_by, tunnelled
from decisions import (
    CELLS,
    ELSEWHERE,
    HERE,
    OUTSIDE,
    SERVICE,
    STATIC,
    TWO_OWNERS,
    UNOWNED,
    ZONES,
    World,
)

from kzn.model.endpoint import UNKNOWN
from kzn.model.flows import (
    DELIVERED,
    FAR_END_UNKNOWN,
    INITIATOR_DESTINATION,
    INITIATOR_SOURCE,
    INITIATOR_UNKNOWN,
    RELAYED,
    Flows,
)
from kzn.model.ip import pack
from kzn.server.resolve.reporting import NONE_ABSENT, AbsentNodes
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


@pytest.mark.parametrize(
    ("initiator", "is_captured", "expected"),
    [
        (INITIATOR_DESTINATION, True, "transit"),  # IPVS: the pod asked, another pod answered
        (INITIATOR_DESTINATION, False, "external"),  # ipMode Proxy: the load balancer answered
        (INITIATOR_SOURCE, True, "external"),  # it hands a client's connection on
        (INITIATOR_UNKNOWN, True, "external"),
    ],
)
def test_an_answer_of_a_public_load_balancer_is_counted_by_the_node_that_sent_it(
    initiator: int, expected: str, *, is_captured: bool
) -> None:
    balancer = pack("8.8.4.4")
    index = index_of(cluster("client a r\nbackend b r", "d/web client 10.1.1.1"))
    index.networks.put_service(
        ServiceFacts(
            "s",
            "d",
            "api",
            outer_addresses=(balancer,),
            captured_addresses=(balancer,) if is_captured else (),
        )
    )
    flows = flows_between(
        ("8.8.4.4", "10.1.1.1", 10_560), ("8.8.8.8", "10.1.1.1", 7), ("10.1.1.1", "8.8.4.4", 5)
    )
    flows = replace(flows, flags=np.full(3, initiator, np.uint8))
    found = resolve(flows, "client", index, 0.0, 0.0)
    assert [NAMES[code] for code in found.verdict.tolist()] == [expected, "external", "external"]
    ports = replace(flows, src_port=np.full(3, 443, np.uint16))
    by_port = "transit" if is_captured and initiator == INITIATOR_UNKNOWN else expected
    found = resolve(ports, "client", index, 0.0, 0.0)
    assert [NAMES[code] for code in found.verdict.tolist()] == [by_port, "external", "external"]
    absent = AbsentNodes(np.ones(2, np.bool_))
    one = resolve(flows, "client", index, 0.0, 0.0, absent=absent)
    assert {NAMES[code] for code in one.verdict.tolist()} == {"external"}


@pytest.mark.parametrize(
    ("captured", "cluster_ips", "expected"),
    [
        (("10.77.0.1",), (), "transit"),  # IPVS translated an answer back
        ((), (), "service_address"),  # ipMode Proxy: the load balancer connects to the pod
        ((), ("10.77.0.1",), "transit"),  # another Service has it as its cluster IP
    ],
)
def test_what_a_private_load_balancer_sends_itself_is_not_lost_in_transit(
    captured: tuple[str, ...], cluster_ips: tuple[str, ...], expected: str
) -> None:
    index = index_of(cluster("client a r\nbackend b r", "d/web client 10.1.1.1"))
    outer = (pack("10.77.0.1"),)
    index.networks.put_service(
        ServiceFacts(
            "s", "d", "api", outer_addresses=outer, captured_addresses=tuple(map(pack, captured))
        )
    )
    index.networks.put_service(ServiceFacts("t", "d", "db", tuple(map(pack, cluster_ips))))
    flows = flows_between(
        ("10.77.0.1", "10.1.1.1", 10_560), ("10.1.1.1", "10.77.0.1", 5), ("10.1.1.1", "8.8.8.8", 7)
    )
    found = resolve(flows, "client", index, 0.0, 0.0)
    assert [NAMES[code] for code in found.verdict.tolist()] == [
        expected, "service_address", "external",
    ]  # fmt: skip
    assert sum(int(size) for [*sizes] in found.by_verdict(flows.bytes) for size in sizes) == 10_572
    tunnelled = replace(flows, flags=np.full(3, DELIVERED, np.uint8))
    found = resolve(tunnelled, "client", index, 0.0, 0.0)
    assert {NAMES[code] for code in found.verdict.tolist()} == {"transit"}


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
    by_location = found.classes[found.location[found.src], found.location[found.dst]]
    assert by_location.tolist() == found.verdict.tolist()


NODE_1, NODE_2, NODE_3 = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def carried(
    world: World,
    src: str,
    dst: str,
    via: str = "",
    *,
    node: str = "n1",
    flags: int = 0,
    final: bool = True,
    absent: AbsentNodes = NONE_ABSENT,
) -> tuple[str, str, str]:
    """The verdict on a flow that a tunnel of ``node`` carries, and who is charged at both ends."""
    flows = tunnelled(flows_between((src, dst)), via, flags=flags)
    now = world.clock.now()
    found = resolve(flows, node, world.index, now - 50, now + 50, final=final, absent=absent)
    ids = found.endpoints[[found.src[0], found.dst[0]]].tolist()
    names = (world.index.endpoint(i).name if i >= 0 else "" for i in ids)
    src_name, dst_name = names
    return NAMES[int(found.verdict[0])], src_name, dst_name


def test_an_overlay_changes_nothing(world: World) -> None:
    assert carried(world, HERE, ELSEWHERE, NODE_2) == ("cross_zone", "p1", "p2")
    assert carried(world, HERE, ELSEWHERE, flags=DELIVERED, node="n2")[0] == "transit"


def test_an_egress_gateway_is_the_far_end_of_its_clients_and_a_sender_of_its_own(
    world: World,
) -> None:
    assert carried(world, HERE, OUTSIDE, NODE_2) == ("cross_zone", "p1", "n2")
    assert carried(world, HERE, OUTSIDE, flags=RELAYED, node="n2") == ("external", "n2", "")
    assert carried(world, OUTSIDE, HERE, NODE_1, node="n2") == ("cross_zone", "n2", "p1")
    assert carried(world, OUTSIDE, HERE, flags=DELIVERED)[0] == "transit"


def test_direct_return_goes_to_the_node_of_the_server(world: World) -> None:
    vip = "34.1.2.3"
    assert carried(world, OUTSIDE, vip, NODE_2) == ("cross_zone", "n1", "n2")
    assert carried(world, OUTSIDE, vip, flags=DELIVERED, node="n2")[0] == "transit"
    assert carried(world, vip, OUTSIDE, node="n2") == ("external", "n2", "")
    assert carried(world, SERVICE, OUTSIDE, node="n2") == ("external", "n2", "")


@pytest.mark.parametrize("src", [HERE, ELSEWHERE, STATIC])
@pytest.mark.parametrize("dst", [HERE, ELSEWHERE, STATIC, OUTSIDE, UNOWNED, TWO_OWNERS, SERVICE])
def test_a_mirror_goes_to_its_collector_with_any_inner_packet(
    world: World, src: str, dst: str
) -> None:
    sender = "p1" if src == HERE else "n1"
    assert carried(world, src, dst, NODE_3) == ("same_zone", sender, "n3")
    assert carried(world, src, dst, "10.1.3.1") == ("same_zone", sender, "p3")
    assert carried(world, src, dst, "10.9.2.9") == ("cross_zone", sender, "db-b")
    if dst != OUTSIDE:
        assert carried(world, src, dst, "8.8.4.4") == ("external", sender, "")


@pytest.mark.parametrize("via", [UNOWNED, TWO_OWNERS, SERVICE])
def test_where_the_outer_destination_is_not_known_the_inner_one_says_where_it_goes(
    world: World, via: str
) -> None:
    assert carried(world, HERE, ELSEWHERE, via) == ("cross_zone", "p1", "p2")
    assert carried(world, HERE, OUTSIDE, via) == ("external", "p1", "")


def test_a_flow_to_an_unknown_address_in_a_tunnel_waits_for_a_new_pod(world: World) -> None:
    assert carried(world, HERE, UNOWNED, NODE_2, final=False)[0] == "unknown_destination"
    assert carried(world, HERE, UNOWNED, NODE_2) == ("cross_zone", "p1", "n2")
    assert carried(world, HERE, OUTSIDE, NODE_2, final=False) == ("cross_zone", "p1", "n2")


@pytest.mark.parametrize("flags", [RELAYED, FAR_END_UNKNOWN])
def test_what_came_in_by_a_tunnel_and_leaves_again_is_the_nodes(world: World, flags: int) -> None:
    assert carried(world, "10.1.3.1", ELSEWHERE, flags=flags) == ("cross_zone", "n1", "p2")
    assert carried(world, "10.1.3.1", OUTSIDE, flags=flags) == ("external", "n1", "")
    assert carried(world, HERE, ELSEWHERE, flags=flags) == ("cross_zone", "p1", "p2")
    assert carried(world, UNOWNED, ELSEWHERE, flags=flags)[0] == "unknown_source"
    assert carried(world, ELSEWHERE, HERE, flags=flags)[0] == "transit"


def test_a_hub_counts_its_second_leg(world: World) -> None:
    assert carried(world, HERE, ELSEWHERE, NODE_3) == ("same_zone", "p1", "n3")
    assert carried(world, HERE, ELSEWHERE, NODE_2, node="n3") == ("cross_zone", "n3", "p2")


@pytest.mark.parametrize("src", [UNOWNED, TWO_OWNERS, SERVICE, STATIC, OUTSIDE, ELSEWHERE, HERE])
def test_what_a_tunnel_delivers_was_counted_by_the_node_that_sent_it(
    world: World, src: str
) -> None:
    assert carried(world, src, HERE, flags=DELIVERED)[0] == "transit"


def test_what_a_tunnel_delivers_from_a_node_without_an_agent_is_counted_here(world: World) -> None:
    by_code = np.zeros(10, np.bool_)
    by_code[world.index.node_code("n2")] = True
    absent = AbsentNodes(by_code)
    found = carried(world, ELSEWHERE, HERE, flags=DELIVERED, absent=absent)
    assert found == ("cross_zone", "p2", "p1")
    found = carried(world, ELSEWHERE, OUTSIDE, flags=RELAYED, absent=absent)
    assert found == ("external", "n1", "")


def test_flows_with_and_without_tunnels_are_resolved_each_by_its_own(world: World) -> None:
    ends = [(HERE, OUTSIDE), (HERE, OUTSIDE), (ELSEWHERE, OUTSIDE), (ELSEWHERE, OUTSIDE)]
    flows = tunnelled(flows_between(*ends), NODE_2, "", NODE_3, "")
    now = world.clock.now()
    found = resolve(flows, "n1", world.index, now, now)
    names = [NAMES[code] for code in found.verdict]
    assert names == ["cross_zone", "external", "same_zone", "transit"]
    assert found.verdicts.ravel()[found.cell].tolist() == found.verdict.tolist()
    assert int(found.by_verdict(flows.bytes)[0].sum()) == int(flows.bytes.sum())


@pytest.mark.parametrize("src", [OUTSIDE, UNOWNED, SERVICE, STATIC, NODE_1, ELSEWHERE])
def test_a_pod_behind_the_input_device_is_the_source_with_any_address(
    world: World, src: str
) -> None:
    flows, now = (
        sent_by(flows_between((src, STATIC), (src, OUTSIDE)), HERE, HERE),
        world.clock.now(),
    )
    found = resolve(flows, "n1", world.index, now, now)
    assert [NAMES[one] for one in found.verdict.tolist()] == ["cross_zone", "external"]
    names = {world.index.endpoint(int(found.endpoints[row])).name for row in found.src.tolist()}
    assert names == {"p1"}


@pytest.mark.parametrize("sender", [ELSEWHERE, UNOWNED, NODE_1, NODE_2, OUTSIDE, SERVICE])
def test_a_sender_that_is_not_a_pod_of_the_reporting_node_changes_nothing(
    world: World, sender: str
) -> None:
    now = world.clock.now()
    for src in (HERE, OUTSIDE, NODE_1, UNOWNED):
        flows = flows_between((src, STATIC))
        plain = resolve(flows, "n1", world.index, now, now)
        found = resolve(sent_by(flows, sender), "n1", world.index, now, now)
        assert found.verdict.tolist() == plain.verdict.tolist()
        if len(plain.attributed):
            own = [int(one.endpoints[one.src[0]]) for one in (plain, found)]
            assert own[0] == own[1]


def test_a_source_that_is_a_pod_of_the_reporting_node_stays(world: World) -> None:
    """Several pods may be behind one device."""
    flows, now = sent_by(flows_between(("10.1.1.2", STATIC)), HERE), world.clock.now()
    found = resolve(flows, "n1", world.index, now, now)
    assert found.src.tolist() == flows.src.tolist()
