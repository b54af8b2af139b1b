"""What is kept of routing, and its limits."""

from kzn.model.ip import pack
from kzn.topology.facts import ServiceFacts
from kzn.topology.routing import Routing
from kzn.topology.routing_facts import READY, ControllerFacts, SliceFacts, VolumeFacts


def slice_of(uid: str, size: int) -> SliceFacts:
    return SliceFacts(
        uid,
        "shop",
        "cart",
        (),
        pack("10.0.0.1") * size,
        bytes([READY] * size),
        ("n1",) * size,
        ("a",) * size,
    )


def test_endpoints_beyond_the_limit_are_missing_until_there_is_room() -> None:
    routing = Routing(max_endpoints=5)
    routing.put_slice(slice_of("1", 3))
    routing.put_slice(slice_of("2", 3))
    assert (routing.endpoints, len(routing.view().slices)) == (3, 1)
    assert routing.view().missing == {"endpointslices": "more than 5 endpoints"}
    routing.drop_slice("1")
    routing.put_slice(slice_of("2", 3))
    assert (routing.endpoints, routing.view().missing) == (3, {})
    routing.put_slice(slice_of("2", 4))
    assert routing.endpoints == 4
    routing.drop_slice("2")
    routing.drop_slice("2")
    assert routing.endpoints == 0


def test_controllers_beyond_the_limit_are_missing() -> None:
    routing = Routing(max_objects=1)
    for uid in ("1", "2", "1"):
        routing.put_controller(ControllerFacts(uid, "Deployment", "shop", uid))
    view = routing.view()
    assert [one.uid for one in view.controllers] == ["1"]
    assert list(view.missing) == ["deployments, statefulsets and daemonsets"]


def test_a_volume_without_a_claim_is_not_kept() -> None:
    routing = Routing()
    routing.put_volume(VolumeFacts("1", "shop", "data", ("a",)))
    routing.put_volume(VolumeFacts("2", "", "", ("a",)))
    assert [one.uid for one in routing.view().volumes] == ["1"]
    routing.put_volume(VolumeFacts("1", "", "", ("a",)))
    assert routing.view().volumes == ()


def test_a_view_does_not_change() -> None:
    routing = Routing()
    routing.put_service(ServiceFacts("s", "shop", "cart"))
    view = routing.view()
    routing.drop_service("s")
    assert (len(view.services), routing.view().services) == (1, ())
