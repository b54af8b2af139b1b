"""What of tunnels is counted on an assumption."""

import pytest
from cluster import flows_between, tunnelled
from decisions import ELSEWHERE, HERE, OUTSIDE, SERVICE, STATIC, UNOWNED, World

from kzn.model.flows import DELIVERED, Flows
from kzn.server.resolve.assumed import assumed
from kzn.server.resolve.resolve import resolve
from kzn.server.stats import AssumedBytes

NODE_2 = "10.0.0.2"


def found(flows: Flows) -> AssumedBytes:
    world = World()
    now = world.clock.now()
    return assumed(flows, resolve(flows, "n1", world.index, now, now))


@pytest.mark.parametrize(
    ("src", "size"), [(OUTSIDE, 7), (STATIC, 7), (UNOWNED, 7), (ELSEWHERE, 0), ("10.1.1.2", 0)]
)
def test_what_a_tunnel_delivers_from_no_node(src: str, size: int) -> None:
    assert found(tunnelled(flows_between((src, HERE, 7)), "", flags=DELIVERED)) == (size, 0)
    assert found(flows_between((src, HERE, 7))) == (0, 0)


@pytest.mark.parametrize(
    ("via", "size"), [(UNOWNED, 7), (SERVICE, 7), (NODE_2, 0), (OUTSIDE, 0), (STATIC, 0)]
)
def test_what_a_tunnel_carries_to_an_address_without_an_owner(via: str, size: int) -> None:
    flows = tunnelled(flows_between((HERE, ELSEWHERE, 7), (HERE, ELSEWHERE, 5)), via, "")
    assert found(flows) == (0, size)


def test_what_is_unresolved_is_not_assumed() -> None:
    flows = tunnelled(flows_between((HERE, UNOWNED, 7)), UNOWNED)
    assert found(flows) == (0, 0)


def test_sums_are_added() -> None:
    assert AssumedBytes(1, 2).plus(AssumedBytes(10, 20)) == (11, 22)
