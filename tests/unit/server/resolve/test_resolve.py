"""Resolving: every cell of the table of source and destination, and every rule of zones."""

import numpy as np
import pytest

from kzn.model.endpoint import UNKNOWN
from kzn.model.flows import Flows
from kzn.model.ip import pack
from kzn.server.resolve.resolve import Resolution, resolve
from kzn.server.resolve.verdict import NAMES
from kzn.topology.facts import PodFacts, ServiceFacts, Workload
from kzn.topology.index import AddressIndex
from kzn.topology.static.file import StaticSource, parse_static

CLUSTER = """
nodes:
  - {name: n1, zone: a, region: r, addresses: [10.0.0.1]}
  - {name: n2, zone: b, region: r, addresses: [10.0.0.2]}
  - {name: n3, zone: a, region: r, addresses: [10.0.0.3]}
  - {name: far, zone: a, region: s, addresses: [10.0.0.4]}
  - {name: bare, addresses: [10.0.0.5]}
  - {name: placed, zone: a, addresses: [10.0.0.6]}
  - {name: vague, region: r, addresses: [10.0.0.7]}
pods:
  - {namespace: d, name: p1, node: n1, addresses: [10.1.1.1]}
  - {namespace: d, name: q1, node: n1, addresses: [10.1.1.2]}
  - {namespace: d, name: p2, node: n2, addresses: [10.1.2.1]}
  - {namespace: d, name: p3, node: n3, addresses: [10.1.3.1]}
  - {namespace: d, name: pf, node: far, addresses: [10.1.4.1]}
  - {namespace: d, name: pb, node: bare, addresses: [10.1.5.1]}
  - {namespace: d, name: pp, node: placed, addresses: [10.1.6.1]}
  - {namespace: d, name: pv, node: vague, addresses: [10.1.7.1]}
networks:
  - {name: db-a, kind: Database, cidr: 10.9.1.0/24, zone: a, region: r}
  - {name: db-b, kind: Database, cidr: 10.9.2.0/24, zone: b, region: r}
  - {name: any, kind: Subnet, cidr: 10.9.3.0/24}
  - {name: abroad, kind: Subnet, cidr: 10.9.4.0/24, region: s}
"""
OUTSIDE = "8.8.8.8"
NOBODY = "10.200.0.1"
TWO_OWNERS = "10.1.8.1"
SERVICE = "10.96.0.10"


class World:
    """The cluster above at time 1000, and an address that changed hands a moment ago."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.index = AddressIndex(clock=lambda: self.now, wall=lambda: self.now + 1e9)
        StaticSource(self.index, parse_static("cluster.yaml", CLUSTER))
        service = ServiceFacts("s", "d", "web", (_ip(SERVICE),))
        self.index.networks.put_service(service)
        for uid in ("first", "second"):
            self.now += 100.0
            pod = PodFacts(
                uid=uid, namespace="d", name=uid, node="n1", addresses=(_ip(TWO_OWNERS),)
            )
            self.index.put_pod(pod, Workload("Pod", uid))

    def resolve(self, src: str, dst: str, node: str = "n1") -> Resolution:
        flows = flows_between((src, dst))
        return resolve(flows, node, self.index, self.now - 50, self.now + 50)

    def verdict(self, src: str, dst: str, node: str = "n1") -> str:
        return NAMES[int(self.resolve(src, dst, node).verdict[0])]

    def names(self, src: str, dst: str, node: str = "n1") -> tuple[str, str]:
        found = self.resolve(src, dst, node)
        ids = found.endpoints[[found.src[0], found.dst[0]]].tolist()
        src_name, dst_name = (self.index.endpoint(i).name if i >= 0 else "" for i in ids)
        return src_name, dst_name


def _ip(address: str) -> bytes:
    return pack(address)


def flows_between(*pairs: tuple[str, str]) -> Flows:
    addresses = sorted({end for pair in pairs for end in pair})
    rows = np.array([[addresses.index(end) for end in pair] for pair in pairs], np.uint32)
    m = len(pairs)
    return Flows(
        addresses=np.frombuffer(b"".join(map(pack, addresses)), np.uint8).reshape(-1, 16),
        src=rows[:, 0],
        dst=rows[:, 1],
        src_port=np.zeros(m, np.uint16),
        dst_port=np.zeros(m, np.uint16),
        protocol=np.full(m, 6, np.uint8),
        flags=np.zeros(m, np.uint8),
        packets=np.ones(m, np.uint64),
        bytes=np.full(m, 100, np.uint64),
    )


@pytest.fixture
def world() -> World:
    return World()


HERE, ELSEWHERE, STATIC = "10.1.1.1", "10.1.2.1", "10.9.2.1"
CELLS = {
    (HERE, "10.1.1.2"): "same_zone",
    (HERE, ELSEWHERE): "cross_zone",
    (HERE, STATIC): "cross_zone",
    (HERE, OUTSIDE): "external",
    (HERE, NOBODY): "unknown_destination",
    (HERE, TWO_OWNERS): "ambiguous",
    (ELSEWHERE, HERE): "transit",
    (ELSEWHERE, "10.1.3.1"): "transit",
    (ELSEWHERE, STATIC): "transit",
    (ELSEWHERE, OUTSIDE): "transit",
    (ELSEWHERE, NOBODY): "transit",
    (ELSEWHERE, TWO_OWNERS): "transit",
    (STATIC, HERE): "cross_zone",
    (STATIC, ELSEWHERE): "cross_zone",
    (STATIC, "10.9.1.1"): "same_zone",
    (STATIC, OUTSIDE): "external",
    (STATIC, NOBODY): "unknown_destination",
    (STATIC, TWO_OWNERS): "ambiguous",
    (OUTSIDE, HERE): "external",
    (OUTSIDE, ELSEWHERE): "cross_zone",
    (OUTSIDE, STATIC): "cross_zone",
    (OUTSIDE, "1.1.1.1"): "external",
    (OUTSIDE, NOBODY): "unknown_destination",
    (OUTSIDE, TWO_OWNERS): "ambiguous",
    (NOBODY, HERE): "unknown_source",
    (NOBODY, ELSEWHERE): "unknown_source",
    (NOBODY, STATIC): "unknown_source",
    (NOBODY, OUTSIDE): "unknown_source",
    (NOBODY, "10.200.0.2"): "unknown_source",
    (NOBODY, TWO_OWNERS): "unknown_source",
    (TWO_OWNERS, HERE): "ambiguous",
    (TWO_OWNERS, ELSEWHERE): "ambiguous",
    (TWO_OWNERS, STATIC): "ambiguous",
    (TWO_OWNERS, OUTSIDE): "ambiguous",
    (TWO_OWNERS, NOBODY): "ambiguous",
    (TWO_OWNERS, TWO_OWNERS): "ambiguous",
    (HERE, SERVICE): "service_address",
    (STATIC, SERVICE): "service_address",
    (OUTSIDE, SERVICE): "service_address",
    (ELSEWHERE, SERVICE): "transit",
    (NOBODY, SERVICE): "unknown_source",
    (TWO_OWNERS, SERVICE): "ambiguous",
    (SERVICE, HERE): "service_address",
    (SERVICE, ELSEWHERE): "service_address",
    (SERVICE, NOBODY): "service_address",
    (SERVICE, SERVICE): "service_address",
}


@pytest.mark.parametrize(("ends", "expected"), CELLS.items())
def test_each_cell_of_the_table(world: World, ends: tuple[str, str], expected: str) -> None:
    assert world.verdict(*ends) == expected


def test_a_forwarded_flow_is_charged_to_the_node_that_forwards_it(world: World) -> None:
    assert world.names(OUTSIDE, ELSEWHERE) == ("n1", "p2")
    assert world.names(STATIC, ELSEWHERE) == ("n1", "p2")
    assert world.names(STATIC, "10.9.1.1") == world.names(OUTSIDE, "10.9.1.1") == ("n1", "db-a")
    assert world.names(STATIC, OUTSIDE) == world.names(OUTSIDE, "1.1.1.1") == ("n1", "")
    assert world.verdict(OUTSIDE, "10.1.3.1") == "same_zone"


def test_a_source_without_node_is_charged_itself_where_it_arrives(world: World) -> None:
    assert world.names(STATIC, HERE) == ("db-b", "p1")
    assert world.names(OUTSIDE, HERE) == ("", "p1")


def test_the_node_itself_is_an_endpoint_of_the_node(world: World) -> None:
    assert world.verdict("10.0.0.1", ELSEWHERE) == "cross_zone"
    assert world.verdict("10.0.0.2", HERE) == "transit"


def test_the_same_flow_is_transit_for_one_node_and_counted_by_the_other(world: World) -> None:
    assert world.verdict(HERE, ELSEWHERE, node="n1") == "cross_zone"
    assert world.verdict(HERE, ELSEWHERE, node="n2") == "transit"


ZONES = {
    ("n1", HERE, "10.1.3.1"): "same_zone",
    ("n1", HERE, "10.1.4.1"): "cross_region",
    ("n1", HERE, "10.1.5.1"): "destination_zone_unknown",
    ("bare", "10.1.5.1", HERE): "source_zone_unknown",
    ("bare", "10.1.5.1", "10.1.5.1"): "source_zone_unknown",
    ("bare", "10.1.5.1", OUTSIDE): "external",
    ("n1", HERE, "10.1.6.1"): "region_unknown",
    ("placed", "10.1.6.1", "10.1.6.1"): "same_zone",
    ("n1", HERE, "10.1.7.1"): "destination_zone_unknown",
    ("far", "10.1.4.1", "10.1.7.1"): "cross_region",
    ("n1", HERE, "10.9.1.1"): "same_zone",
    ("n1", HERE, "10.9.3.1"): "external",
    ("n1", "10.9.3.1", HERE): "external",
    ("n1", HERE, "10.9.4.1"): "cross_region",
    ("bare", OUTSIDE, HERE): "source_zone_unknown",
    ("n2", OUTSIDE, "10.1.3.1"): "cross_zone",
}


@pytest.mark.parametrize(("flow", "expected"), ZONES.items())
def test_each_rule_of_zones(world: World, flow: tuple[str, str, str], expected: str) -> None:
    node, src, dst = flow
    assert world.verdict(src, dst, node) == expected


def test_zones_of_no_region_are_compared_by_name() -> None:
    index = AddressIndex(clock=lambda: 0.0, wall=lambda: 0.0)
    text = """
nodes:
  - {name: x, zone: a, addresses: [10.0.0.1]}
  - {name: y, zone: b, addresses: [10.0.0.2]}
"""
    StaticSource(index, parse_static("f", text))
    found = resolve(flows_between(("10.0.0.1", "10.0.0.2")), "x", index, 0.0, 0.0)
    assert NAMES[found.verdict[0]] == "cross_zone"


def test_nothing_of_an_unknown_node_is_resolved(world: World) -> None:
    found = world.resolve(HERE, ELSEWHERE, node="who")
    assert NAMES[found.verdict[0]] == "unknown_node"
    assert set(found.endpoints.tolist()) == {UNKNOWN}


def test_no_flows_give_no_verdicts(world: World) -> None:
    found = resolve(Flows.empty(), "n1", world.index, 0.0, 1.0)
    assert len(found.verdict) == 0
    assert len(found.endpoints) == 1


def test_flows_are_judged_each_by_its_own_ends(world: World) -> None:
    flows = flows_between((HERE, ELSEWHERE), (ELSEWHERE, HERE), (HERE, OUTSIDE), (OUTSIDE, HERE))
    found = resolve(flows, "n1", world.index, world.now - 50, world.now + 50)
    names = [NAMES[code] for code in found.verdict]
    assert names == ["cross_zone", "transit", "external", "external"]


def test_the_verdict_by_locations_is_that_of_every_attributed_flow(world: World) -> None:
    pairs = [ends for ends, name in CELLS.items() if name in NAMES[:4]]
    found = resolve(flows_between(*pairs), "n1", world.index, world.now - 50, world.now + 50)
    by_location = found.verdicts[found.location[found.src], found.location[found.dst]]
    assert by_location.tolist() == found.verdict.tolist()
