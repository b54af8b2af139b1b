"""Replication is left alone."""

from advice_world import GIB, ZONES, of_all, of_rule, party, service, talk, workload, world

ETCD, WEB = party("data/etcd", "StatefulSet"), party("shop/web")
SIZES = {(one, other): GIB for one in ZONES for other in ZONES}
ONE = dict.fromkeys(ZONES, 1)


def test_it_says_leave_it_and_saves_nothing() -> None:
    peers = service("data/etcd", ETCD, ONE, 2380)
    found = world(talk(ETCD, ETCD, SIZES, 2380), [peers], [workload(ETCD, ONE, has_claims=True)])
    advice = of_all(found)
    (one,) = advice.proposals
    assert (one.rule, one.draft.verdict) == ("replication", "leave")
    assert one.draft.change.commands == ()
    assert (one.saved_bytes, advice.total_per_month) == (0, {})
    assert one.crossing_bytes == 6 * GIB


def test_peers_without_data_of_their_own_are_not_replicas() -> None:
    found = world(talk(WEB, WEB, SIZES), workloads=[workload(WEB, ONE)])
    assert of_rule(found, "replication") == []
