"""Samples of zones: what counts of an index, in pieces, and not before it is complete."""

import asyncio

import pytest

from kzn.model.ip import pack
from kzn.server.placement import PERIOD_SECONDS, PIECE, PlacementSampler
from kzn.topology.facts import NodeFacts, PodFacts, Workload
from kzn.topology.index import AddressIndex
from kzn.topology.rollouts import Rollouts, between


class Ended(Exception):  # noqa: N818 - ends a loop of the test
    """The test has seen enough."""


def index_of_two() -> AddressIndex:
    index = AddressIndex(clock=lambda: 1000.0, wall=lambda: 1000.0)
    for name, zone in (("n1", "a"), ("n2", "b"), ("n3", "")):
        index.put_node(NodeFacts(name, name, zone))
    return index


def put(index: AddressIndex, uid: str, node: str, *, is_deleting: bool = False) -> None:
    address = pack(f"10.0.0.{len(index.pods_of('n1')) + len(index.pods_of('n2')) + 1}")
    pod = PodFacts(uid, "shop", uid, node, (address,), started=0.0, is_deleting=is_deleting)
    index.put_pod(pod, Workload("Deployment", "web"))


def test_running_pods_on_nodes_with_a_zone_count() -> None:
    index, log = index_of_two(), Rollouts(lambda: 1000.0)
    sampler = PlacementSampler(index, log, lambda: "")
    put(index, "p1", "n1")
    put(index, "p2", "n3")
    put(index, "p3", "n2", is_deleting=True)

    async def test() -> None:
        await sampler.sample()
        put(index, "p4", "n2")
        await sampler.sample()
        await sampler.sample()

    asyncio.run(test())
    assert [(one.before, one.after) for one in between(log.all(), 0, 2000)] == [("a", "a, b")]


def test_a_topology_that_is_not_complete_is_not_sampled() -> None:
    index, log = index_of_two(), Rollouts(lambda: 1000.0)
    put(index, "p1", "n1")
    why, waits = ["nodes are not listed"], list[float]()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        why[:] = [""]
        index.drop_pod("p1")
        put(index, "p2", "n2")
        if len(waits) == 4:
            raise Ended

    with pytest.raises(Ended):
        asyncio.run(PlacementSampler(index, log, lambda: why[0], sleep=sleep).run())
    assert waits == [PERIOD_SECONDS] * 4
    assert log.all() == []


def test_a_large_cluster_is_sampled_in_pieces() -> None:
    index = AddressIndex(clock=lambda: 1000.0, wall=lambda: 1000.0)
    for number in range(3 * PIECE):
        node = f"n{number % 60}"
        if number < 60:
            index.put_node(NodeFacts(node, node, "a"))
        address = pack(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        pod = PodFacts(f"u{number}", "shop", f"u{number}", node, (address,), started=0.0)
        index.put_pod(pod, Workload("Deployment", "web"))
    turns = [0]

    async def test() -> None:
        async def tick() -> None:
            while True:
                turns[0] += 1
                await asyncio.sleep(0)

        ticker = asyncio.create_task(tick())
        await PlacementSampler(index, Rollouts(lambda: 1000.0), lambda: "").sample()
        ticker.cancel()

    asyncio.run(test())
    assert turns[0] >= 3
