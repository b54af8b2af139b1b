"""Pods joined with the workloads that own them, on their way into the index.

In: pods and controllers from their list-watches. Out: pods with workloads in the index; a pod whose
controller is not known yet has its addresses there, and no workload. Never: nodes and Services,
which go to the index directly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from kzn.topology.facts import OwnerFacts, PodFacts, Workload
from kzn.topology.index import AddressIndex
from kzn.topology.kube.controllers import Controllers
from kzn.topology.kube.list_watch import Following

LATE_SECONDS = 3.0
"""How much later than a pod its controller may come, by another watch, while that is followed."""
AWAY_SECONDS = 60.0
"""How long pods wait for controllers of a kind that is not followed at the moment."""


@dataclass(slots=True)
class _Waiting:
    pod: PodFacts
    since: float
    has_ended: bool = False


class WorkloadJoin:
    """Receives the changes of pods and controllers.

    ``following`` is by kind; without it no pod waits. ``on_waiting`` is called when one begins to:
    `settle` is to be called from time to time from then on.
    """

    def __init__(
        self,
        index: AddressIndex,
        *,
        clock: Callable[[], float] = lambda: 0.0,
        following: Callable[[str], Following] | None = None,
        on_waiting: Callable[[], None] = lambda: None,
        met: Callable[[str], bool] = lambda _kind: False,
    ) -> None:
        self._index = index
        self._clock = clock
        self._following = following
        self._on_waiting = on_waiting
        self.controllers = Controllers(met)
        self._waiting: dict[str, _Waiting] = {}

    @property
    def owners(self) -> int:
        """Number of controllers kept."""
        return len(self.controllers)

    def put_pod(self, pod: PodFacts, listing: int) -> None:
        """A pod was listed, added or changed."""
        known = self._index.pod(pod.uid)
        if known is not None and known.controller != pod.controller:
            self.controllers.forget_pod(known)
            self._waiting.pop(pod.uid, None)
        workload: Workload | None = self.controllers.workload(pod)
        if self._following is not None and self._must_wait(pod):
            workload = None
        elif self._waiting:
            self._waiting.pop(pod.uid, None)
        if not self._index.put_pod(pod, workload, listing=listing):  # finished, or deleted earlier
            self._pod_ended(pod)

    def drop_pod(self, uid: str) -> None:
        """A pod was deleted."""
        known = self._index.pod(uid)
        self._index.drop_pod(uid)
        if known is not None:
            self._pod_ended(known)

    def put_owner(self, owner: OwnerFacts, _listing: int) -> None:
        """A controller was listed, added or changed; updates the workload of its pods."""
        for uid in self.controllers.put(owner):
            pod = self._index.pod(uid)
            if uid in self._waiting:
                self._try(uid)
            elif pod is not None:
                self._index.put_pod(pod, self.controllers.workload(pod))

    def drop_owner(self, uid: str) -> None:
        """A controller was deleted."""
        self.controllers.drop(uid)

    def settle(self) -> bool:
        """Give the pods that have waited long enough the last known owner; True if some wait on."""
        for uid in list(self._waiting):
            self._try(uid)
        return bool(self._waiting)

    def follow(self, kind: str) -> None:
        """Controllers of this kind are followed from now on."""
        self.controllers.followed.add(kind)

    def unfollow(self, kind: str) -> None:
        """Controllers of this kind are followed no more; what is known of them stays."""
        self.controllers.followed.discard(kind)
        self.settle()

    def _must_wait(self, pod: PodFacts) -> bool:
        """Whether a controller of the pod may become known in a moment; notes that it waits."""
        kind = self.controllers.missing(pod)
        if not kind or (pod.uid not in self._waiting and self._index.has_workload(pod.uid)):
            return False
        now = self._clock()
        waiting = self._waiting.setdefault(pod.uid, _Waiting(pod, now))
        waiting.pod = pod
        if self._is_over(kind, waiting.since, now):
            del self._waiting[pod.uid]
            return False
        self._on_waiting()
        return True

    def _is_over(self, kind: str, since: float, now: float) -> bool:
        assert self._following is not None  # noqa: S101 - for the type checker
        state = self._following(kind)
        if state.lost == inf:
            return now - max(since, state.since) >= LATE_SECONDS
        return now - state.lost >= AWAY_SECONDS

    def _try(self, uid: str) -> None:
        waiting = self._waiting[uid]
        kind = self.controllers.missing(waiting.pod)
        if kind and not self._is_over(kind, waiting.since, self._clock()):
            return
        del self._waiting[uid]
        workload = self.controllers.workload(waiting.pod)
        if waiting.has_ended:
            self._index.groups.put_ended_pod(waiting.pod, workload)
        self._index.settle_workload(uid, workload)
        if waiting.has_ended:
            self.controllers.forget_pod(waiting.pod)

    def _pod_ended(self, pod: PodFacts) -> None:
        waiting = self._waiting.get(pod.uid)
        if waiting is None:
            self.controllers.forget_pod(pod)
        else:
            waiting.has_ended = True
