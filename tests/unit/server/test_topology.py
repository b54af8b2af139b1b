"""The configured topology: what agents tell of their nodes."""

import logging

import pytest
from cluster import cluster, index_of

from kzn.model.ip import pack
from kzn.server.topology import Topology


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
