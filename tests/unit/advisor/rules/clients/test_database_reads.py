"""Reads from a database of another zone."""

import pytest
from advice_world import GIB, of_rule, party, service, talk, workload, world

from kzn.advisor.facts import Party

WEB, DB = party("shop/web"), party("shop/db", "StatefulSet")
READS = {("a", "b"): (GIB, 8 * GIB), ("b", "b"): (GIB, 8 * GIB)}


@pytest.mark.parametrize("server", [DB, party("orders-db", "Static")])
def test_what_is_read_across_zones_stays_and_what_is_written_goes_on(server: Party) -> None:
    (one,) = of_rule(world(talk(WEB, server, READS, 5432)), "database-reads")
    assert (one.crossing_bytes, one.saved_bytes) == (9 * GIB, 8 * GIB)
    assert "PostgreSQL" in one.draft.why[0]


def test_a_replica_is_no_reader() -> None:
    replica = party("shop/replica", "StatefulSet")
    flows = talk(replica, DB, READS, 5432)
    assert len(of_rule(world(flows), "database-reads")) == 1
    with_data = workload(replica, {"a": 1}, has_claims=True)
    assert of_rule(world(flows, workloads=[with_data]), "database-reads") == []
    reads = talk(WEB, replica, {("a", "a"): (GIB, 8 * GIB)}, 5432)
    assert of_rule(world(flows + reads), "database-reads") == []
    read_only = service("shop/replica", replica, {"a": 1}, 5432)
    assert of_rule(world(flows, [read_only]), "database-reads") == []


def test_another_port_writes_and_a_deployment_are_silent() -> None:
    for server, sizes, port in (
        (DB, READS, 8080),
        (DB, {("a", "b"): (3 * GIB, 8 * GIB)}, 5432),
        (party("shop/db"), READS, 5432),
        (DB, {("b", "b"): (GIB, 8 * GIB)}, 5432),
    ):
        assert of_rule(world(talk(WEB, server, sizes, port)), "database-reads") == []
