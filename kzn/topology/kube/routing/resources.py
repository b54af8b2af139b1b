"""The resources of routing: API path, decoder, and where their facts go."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from kzn.topology.kube.decode import Codec
from kzn.topology.kube.resources import Resource
from kzn.topology.kube.routing.objects import (
    Controller,
    EndpointSlice,
    Volume,
    controller_facts,
    slice_facts,
    volume_facts,
)
from kzn.topology.routing import Routing

SLICES = Resource(
    "endpointslices",
    "/apis/discovery.k8s.io/v1/endpointslices",
    Codec(EndpointSlice, slice_facts),
)
DEPLOYMENTS, STATEFULSETS, DAEMONSETS = (
    Resource(
        f"{kind.lower()}s",
        f"/apis/apps/v1/{kind.lower()}s",
        Codec(Controller, partial(controller_facts, kind)),
    )
    for kind in ("Deployment", "StatefulSet", "DaemonSet")
)
VOLUMES = Resource("persistentvolumes", "/api/v1/persistentvolumes", Codec(Volume, volume_facts))


@dataclass(frozen=True, slots=True)
class Followed:
    """A resource and what receives its objects, by `put` and `drop` of a uid.

    ``forget`` is called in place of `drop` for objects that may not be read any more.
    """

    resource: Resource[Any, Any]
    put: Callable[[Any], None]
    drop: Callable[[str], None]
    forget: Callable[[str], None]


def followed(routing: Routing) -> tuple[Followed, ...]:
    """The resources that ``routing`` is made of, beside Services."""
    controllers = routing.put_controller, routing.drop_controller, routing.forget_controller
    return (
        Followed(SLICES, routing.put_slice, routing.drop_slice, routing.drop_slice),
        *(Followed(one, *controllers) for one in (DEPLOYMENTS, STATEFULSETS, DAEMONSETS)),
        Followed(VOLUMES, routing.put_volume, routing.drop_volume, routing.drop_volume),
    )
