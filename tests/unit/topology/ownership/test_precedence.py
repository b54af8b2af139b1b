"""The owner of an address claimed by several, in any order of events."""

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.model.endpoint import UNKNOWN
from kzn.model.ip import pack
from kzn.topology.facts import NodeFacts, PodFacts, Workload
from kzn.topology.index import AddressIndex

A = pack("10.0.0.1")
EPOCH = 1.7e9
STEP = 60.0
"""Seconds between two events: more than any margin of the index."""

POD = PodFacts("pod", "d", "web", "n1", (A,))
NODE = NodeFacts("node", "n1", "a", "r")


@dataclass
class World:
    """A pod and a node that may claim A, on a clock that the test moves."""

    now: float = 1000.0
    version: int = 0
    listing: int = 0

    def __post_init__(self) -> None:
        self.index = AddressIndex(clock=lambda: self.now, wall=lambda: EPOCH + self.now)

    def do(self, event: str) -> None:
        kind, _, came = event.partition(" ")
        self.version += 1
        self.listing += came == "listed"
        number = self.listing if came == "listed" else 0
        started = EPOCH + self.now
        match kind:
            case "pod":
                pod = replace(POD, started=started, version=self.version)
                self.index.put_pod(pod, Workload("Pod", "web"), listing=number)
            case "no-pod":
                self.index.drop_pod("pod")
            case "node":
                node = replace(NODE, addresses=(A,), version=self.version)
                self.index.put_node(node, listing=number)
            case "bare-node":
                self.index.put_node(replace(NODE, version=self.version), listing=number)
        self.now += STEP

    def who(self, at: float | None = None) -> str | int:
        moment = self.now if at is None else at
        rows = np.frombuffer(A, np.uint8).reshape(1, 16)
        found = int(self.index.lookup(rows, moment, moment)[0])
        return self.index.endpoint(found).uid if found >= 0 else found


@pytest.mark.parametrize("node", ["node", "node listed"])
@pytest.mark.parametrize("pod", ["pod", "pod listed"])
@pytest.mark.parametrize("known_before", ["bare-node", "bare-node listed", ""])
def test_a_nodes_address_never_replaces_a_pods_in_any_order(
    node: str, pod: str, known_before: str
) -> None:
    for order in permutations([node, pod]):
        world = World()
        if known_before:
            world.do(known_before)
        for event in order:
            world.do(event)
        assert world.who() == "pod", order
        world.do("no-pod")
        assert world.who() == "node", order
        world.do("bare-node")
        assert world.who() == UNKNOWN


def test_a_claim_that_a_node_loses_leaves_no_time_in_which_the_owner_is_ambiguous() -> None:
    world = World()
    for event in ("bare-node listed", "pod", "node"):
        world.do(event)
    for at in np.arange(1000.0 + STEP, world.now, STEP / 8).tolist():
        assert world.who(at) == "pod", at


EVENTS = st.lists(
    st.sampled_from(["pod", "pod listed", "no-pod", "node", "node listed", "bare-node"]),
    max_size=12,
)


@given(EVENTS)
def test_a_pod_owns_its_address_while_it_exists_and_the_node_else(events: list[str]) -> None:
    world = World()
    pod, ended, node = False, False, False
    for event in events:
        world.do(event)
        kind = event.partition(" ")[0]
        if kind == "no-pod":
            pod, ended = False, ended or pod  # the uid of a pod that ended does not come back
        elif kind == "pod":
            pod = not ended
        else:
            node = kind == "node"
        assert world.who() == ("pod" if pod else "node" if node else UNKNOWN)
