"""What decides where connections go in a cluster, kept as sources learn it.

In: Services, EndpointSlices, controllers, volumes, versions. Out: `RoutingView`, a copy that never
changes. Never: more than ``max_endpoints`` endpoints or ``max_objects`` objects of another kind: a
resource beyond its limit is missing, with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kzn.topology.facts import ServiceFacts
from kzn.topology.rollouts import Rollouts
from kzn.topology.routing_facts import ControllerFacts, SliceFacts, VolumeFacts

MAX_ENDPOINTS = 200_000
"""Measured with 100,000: 4.7 MB in slices of 100 endpoints, 18 MB in slices of 4."""
MAX_OBJECTS = 50_000
"""Controllers, and volumes: about 700 bytes each, of which images are 290."""


@dataclass(frozen=True, slots=True)
class RoutingView:
    """The contents at one moment. ``missing`` says of each resource that is not known why.

    ``api_version`` is the API server's ("v1.34.2"), empty when not known. ``cilium`` are keys of
    Cilium's configuration, None when it is not known.
    """

    services: tuple[ServiceFacts, ...] = ()
    slices: tuple[SliceFacts, ...] = ()
    controllers: tuple[ControllerFacts, ...] = ()
    volumes: tuple[VolumeFacts, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    api_version: str = ""
    cilium: Mapping[str, str] | None = None


class Routing:
    """Receives changes by uid; a source without a resource says so in ``missing``.

    ``rollouts`` receives what differs, if there is any.
    """

    def __init__(
        self,
        *,
        max_endpoints: int = MAX_ENDPOINTS,
        max_objects: int = MAX_OBJECTS,
        rollouts: Rollouts | None = None,
    ) -> None:
        self.rollouts = rollouts
        self.missing: dict[str, str] = {}
        self.api_version = ""
        self.cilium: Mapping[str, str] | None = None
        self._max_endpoints, self._max_objects = max_endpoints, max_objects
        self._services: dict[str, ServiceFacts] = {}
        self._slices: dict[str, SliceFacts] = {}
        self._controllers: dict[str, ControllerFacts] = {}
        self._volumes: dict[str, VolumeFacts] = {}
        self._endpoints = 0
        self._left_out: set[str] = set()

    @property
    def endpoints(self) -> int:
        """Number of endpoints kept."""
        return self._endpoints

    def put_service(self, service: ServiceFacts) -> None:
        """A Service was added or changed."""
        if self.rollouts is not None:
            self.rollouts.put_service(self._services.get(service.uid), service)
        self._services[service.uid] = service

    def drop_service(self, uid: str) -> None:
        """A Service was deleted."""
        self._services.pop(uid, None)

    def put_slice(self, one: SliceFacts) -> None:
        """An EndpointSlice was added or changed; beyond the limit it is left out and said so."""
        self.drop_slice(one.uid)
        if self._endpoints + len(one) > self._max_endpoints:
            self._left_out.add(one.uid)
            return
        self._slices[one.uid] = one
        self._endpoints += len(one)

    def drop_slice(self, uid: str) -> None:
        """An EndpointSlice was deleted."""
        self._left_out.discard(uid)
        known = self._slices.pop(uid, None)
        self._endpoints -= len(known) if known is not None else 0

    def put_controller(self, one: ControllerFacts) -> None:
        """A controller was added or changed."""
        if one.uid in self._controllers or len(self._controllers) < self._max_objects:
            if self.rollouts is not None:
                self.rollouts.put_controller(self._controllers.get(one.uid), one)
            self._controllers[one.uid] = one

    def drop_controller(self, uid: str) -> None:
        """A controller was deleted."""
        known = self._controllers.pop(uid, None)
        if known is not None and self.rollouts is not None:
            self.rollouts.drop_controller(known)

    def forget_controller(self, uid: str) -> None:
        """A controller may not be read any more; it may exist."""
        self._controllers.pop(uid, None)

    def put_volume(self, one: VolumeFacts) -> None:
        """A volume was added or changed; one without a claim is of no use."""
        if not one.claim:
            self._volumes.pop(one.uid, None)
        elif one.uid in self._volumes or len(self._volumes) < self._max_objects:
            self._volumes[one.uid] = one

    def drop_volume(self, uid: str) -> None:
        """A volume was deleted."""
        self._volumes.pop(uid, None)

    def view(self) -> RoutingView:
        """A copy, for readers of other threads; the facts themselves never change."""
        missing = dict(self.missing)
        if self._left_out:
            missing["endpointslices"] = f"more than {self._max_endpoints} endpoints"
        for resource, objects in (
            ("deployments, statefulsets and daemonsets", self._controllers),
            ("persistentvolumes", self._volumes),
        ):
            if len(objects) >= self._max_objects:
                missing[resource] = f"more than {self._max_objects} objects"
        return RoutingView(
            tuple(self._services.values()),
            tuple(self._slices.values()),
            tuple(self._controllers.values()),
            tuple(self._volumes.values()),
            missing,
            self.api_version,
            None if self.cilium is None else dict(self.cilium),
        )
