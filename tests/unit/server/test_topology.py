"""The configured topology: what agents tell of their nodes, and what the log says of it."""

import logging
from pathlib import Path
from typing import Any

import pytest
from cluster import cluster, index_of

from kzn.errors import UsageError
from kzn.model.ip import pack
from kzn.server.config import ServerConfig
from kzn.server.topology import Topology
from kzn.topology.facts import NodeFacts
from kzn.topology.index import AddressIndex
from kzn.topology.zones import Zones


def test_an_agent_that_tells_changing_public_addresses_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    topology = Topology(index_of(cluster("n1 a r\nn2 b r")), ())
    with caplog.at_level(logging.INFO):
        for number in range(100):
            topology.take_addresses("n1", [pack(f"2600::{number % 7 + 1}")])
        topology.take_addresses("n2", [pack("2600::99")])
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split()[1] for line in lines] == ["n1", "n2"]
    assert "2600::1" in lines[0]


def test_the_log_says_once_what_a_complete_topology_has(caplog: pytest.LogCaptureFixture) -> None:
    index = index_of(cluster("n1 a r\nn2 b r\nn3 b r\nbare", networks="db Database 10.9.0.0/24"))
    index.put_node(NodeFacts("u", "n5", "c", "s", provider="aws"))
    topology = Topology(index, ())
    with caplog.at_level(logging.INFO):
        topology.report()
        topology.report()
    first, second = (record.getMessage() for record in caplog.records)
    for part in ("5 nodes", "1 network;", "a (1 node), b (2 nodes), c (1 node)", "r, s", "aws"):
        assert part in first
    assert "1 of 5 nodes without a zone" in second
    assert "bare" in second
    assert "--default-zone" in second


def test_zone_names_without_an_id_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    index = AddressIndex(clock=lambda: 0.0, wall=lambda: 1e9, zones=Zones(use_ids=True))
    topology = Topology(index, ())
    index.put_node(NodeFacts("u0", "n0", "z0", "r", zone_id="id0"))
    for number in range(1, 31):
        index.put_node(NodeFacts(f"u{number}", f"n{number}", f"z{number % 3}", "r"))
    with caplog.at_level(logging.WARNING):
        topology.report()
        topology.report()
        lines = [r.getMessage() for r in caplog.records if "--zone-ids" in r.getMessage()]
        assert len(lines) == 1
        assert "z1 of region r, z2 of region r" in lines[0]
        index.put_node(NodeFacts("u99", "n99", "z9", "r"))
        topology.report()
    lines = [r.getMessage() for r in caplog.records if "--zone-ids" in r.getMessage()]
    assert len(lines) == 2
    assert "z1" not in lines[1]


@pytest.mark.parametrize(
    "options",
    [
        {"topology": Path("file"), "zone_ids": True},
        {"topology": Path("file"), "zone_label": "rack"},
        {"topology": Path("file"), "region_label": "dc"},
        {"zone_label": "not a label"},
        {"region_label": "/x"},
        {"zone_ids": True, "zone_label": "rack"},
    ],
)
def test_options_of_zones_that_cannot_work_are_refused(options: Any) -> None:
    with pytest.raises(UsageError):
        ServerConfig(**options)


def test_options_of_zones_that_can_work_are_taken() -> None:
    ServerConfig(zone_label="example.com/rack", region_label="dc", default_zone="hall-1")
    ServerConfig(topology=Path("file"), default_zone="hall-1")
