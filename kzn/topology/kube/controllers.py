"""Finds the workload of a pod along its ownerReferences.

In: controllers (their metadata) and the controller of each pod. Out: workloads, and the pods that
get another workload when a controller arrives late. Never: requests to the API.
"""

from collections.abc import Callable

from kzn.topology.facts import OwnerFacts, OwnerRef, PodFacts, Workload

FOLLOWED_KINDS = ("ReplicaSet", "Job")
"""Kinds whose controllers are always followed; owner_kinds.py adds those that it meets."""
MAX_DEPTH = 6


class Controllers:
    """Controllers by uid, and the pods that they control.

    ``followed`` are the kinds whose controllers are to be known. ``met`` is called with the kind of
    each reference that is of none of them, and says whether it is followed from now on. Controllers
    of a kind that is followed no more stay as they were.

    A deleted controller is kept while it has pods: they outlive it by their grace period, and must
    not change from "Deployment/web" to "ReplicaSet/web-5d8f" for that time.
    """

    def __init__(self, met: Callable[[str], bool] = lambda _kind: False) -> None:
        self.followed = set(FOLLOWED_KINDS)
        self._met = met
        self._controllers: dict[str, OwnerRef | None] = {}
        self._pods: dict[str, set[str]] = {}
        self._deleted: set[str] = set()

    def __len__(self) -> int:
        return len(self._controllers)

    def put(self, owner: OwnerFacts) -> frozenset[str]:
        """Add or change a controller; returns the uids of the pods whose workload may change."""
        self._deleted.discard(owner.uid)
        if self._controllers.get(owner.uid, _UNSEEN) == owner.controller:
            return frozenset()
        self._controllers[owner.uid] = owner.controller
        return frozenset(self._pods.get(owner.uid, ()))

    def drop(self, uid: str) -> None:
        """A controller was deleted."""
        if self._pods.get(uid):
            self._deleted.add(uid)
        else:
            self._controllers.pop(uid, None)

    def workload(self, pod: PodFacts) -> Workload:
        """The workload of a pod by the controllers known now; records the pod under each.

        A static pod, which its node "controls", is its own.
        """
        if pod.controller is None or pod.controller.kind == "Node":
            return Workload("Pod", pod.name)
        reference = pod.controller
        for _ in range(MAX_DEPTH):
            kind = reference.kind
            if kind not in self.followed:
                if "." not in kind:  # a Deployment, a StatefulSet, ...
                    break
                if self._met(kind):
                    self.followed.add(kind)
            self._pods.setdefault(reference.uid, set()).add(pod.uid)
            above = self._controllers.get(reference.uid)
            if above is None:
                break
            reference = above
        return Workload(kind_name(reference.kind), reference.name)

    def missing(self, pod: PodFacts) -> str:
        """The kind of the first controller of a pod that should be known and is not, else ""."""
        reference = pod.controller
        for _ in range(MAX_DEPTH):
            if reference is None or reference.kind not in self.followed:
                return ""
            if reference.uid not in self._controllers:
                return reference.kind
            reference = self._controllers[reference.uid]
        return ""

    def forget_pod(self, pod: PodFacts) -> None:
        """A pod ended; drops deleted controllers that were kept only for it."""
        reference = pod.controller
        for _ in range(MAX_DEPTH):
            if reference is None:
                return
            above = self._controllers.get(reference.uid)
            self._release(reference.uid, pod.uid)
            reference = above

    def _release(self, uid: str, pod: str) -> None:
        pods = self._pods.get(uid)
        if pods is None:
            return
        pods.discard(pod)
        if pods:
            return
        del self._pods[uid]
        if uid in self._deleted:
            self._deleted.remove(uid)
            self._controllers.pop(uid, None)


def kind_name(kind: str) -> str:
    """A kind without its version and group."""
    return kind.partition(".")[0] if "." in kind else kind


_UNSEEN = OwnerRef("", "", "")
