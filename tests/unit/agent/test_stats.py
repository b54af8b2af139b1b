"""The agent's counters about itself: totals of batches, and why it is unhealthy."""

from dataclasses import replace

import numpy as np
from cluster import flows_between

from kzn.agent.stats import AgentStats
from kzn.model.batch import Batch
from kzn.model.flows import FAR_END_UNKNOWN, Flows
from kzn.model.totals import Counts, Totals

TOTALS = Totals(
    seen=Counts(10, 1000),
    missed={"map_full": Counts(2, 200)},
    ignored={"multicast": Counts(1, 50)},
)


def batch(sequence: int) -> Batch:
    return Batch(sequence, 10, 0, Flows.empty(), TOTALS)


def test_totals_add_up_over_batches_by_kind_and_reason() -> None:
    stats = AgentStats(probe="postrouting", interval=10.0)
    for sequence in (1, 2):
        stats.add(batch(sequence), seconds=0.5, wall=99.0)
    assert (stats.batches, stats.cut_seconds, stats.last_cut) == (2, 1.0, 99.0)
    assert stats.bytes == {
        ("seen", ""): 2000,
        ("missed", "map_full"): 400,
        ("ignored", "multicast"): 100,
    }
    assert stats.packets["ignored", "multicast"] == 2


def test_bytes_in_tunnels_without_room_for_their_far_end_are_counted() -> None:
    stats = AgentStats(probe="postrouting", interval=10.0)
    flows = replace(
        flows_between(("10.0.0.1", "10.0.0.2", 7), ("10.0.0.1", "10.0.0.3", 9)),
        flags=np.array([FAR_END_UNKNOWN | 1, 1], np.uint8),
    )
    for sequence in (1, 2):
        found = Batch(sequence, 10, 0, flows, Totals())
        stats.add(found, seconds=0.5, wall=99.0)
    assert stats.tunnels_without_room_bytes == 14


def test_an_agent_is_unhealthy_while_a_hook_is_lost() -> None:
    stats = AgentStats(probe="tcx", interval=10.0, lost=("eth0",))
    assert stats.unhealthy_reason() == "probe tcx is no longer attached to eth0"


def test_an_agent_is_unhealthy_while_a_background_task_fails() -> None:
    stats = AgentStats(probe="tcx", interval=10.0)
    stats.task_failed("draining tcx+retired+1", "EIO")
    assert stats.unhealthy_reason() == "task draining tcx+retired+1: EIO"
    assert stats.task_failures == {"draining": 1}


def test_an_agent_is_unhealthy_from_a_failed_cut_to_the_next_batch() -> None:
    stats = AgentStats(probe="postrouting", interval=10.0)
    assert not stats.unhealthy_reason()
    stats.cut_failed("map gone")
    assert "map gone" in stats.unhealthy_reason()
    stats.add(batch(1), seconds=0.5, wall=99.0)
    assert not stats.unhealthy_reason()
    assert stats.cut_failures == 1
