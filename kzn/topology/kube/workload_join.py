"""Pods joined with the workloads that own them, on their way into the index.

In: pods, ReplicaSets and Jobs from their list-watches. Out: pods with workloads in the index.
Never: nodes and Services, which go to the index directly.
"""

from kzn.topology.facts import OwnerFacts, PodFacts
from kzn.topology.index import AddressIndex
from kzn.topology.kube.controllers import Controllers


class WorkloadJoin:
    """Receives the changes of pods, ReplicaSets and Jobs."""

    def __init__(self, index: AddressIndex) -> None:
        self._index = index
        self._controllers = Controllers()

    @property
    def owners(self) -> int:
        """Number of ReplicaSets and Jobs kept."""
        return len(self._controllers)

    def put_pod(self, pod: PodFacts, listing: int) -> None:
        """A pod was listed, added or changed."""
        known = self._index.pod(pod.uid)
        if known is not None and known.controller != pod.controller:
            self._controllers.forget_pod(known)
        self._index.put_pod(pod, self._controllers.workload(pod), listing=listing)
        if self._index.pod(pod.uid) is None:  # finished, or deleted earlier
            self._controllers.forget_pod(pod)

    def drop_pod(self, uid: str) -> None:
        """A pod was deleted."""
        known = self._index.pod(uid)
        self._index.drop_pod(uid)
        if known is not None:
            self._controllers.forget_pod(known)

    def put_owner(self, owner: OwnerFacts, _listing: int) -> None:
        """A ReplicaSet or Job was listed, added or changed; updates the workload of its pods."""
        for uid in self._controllers.put(owner):
            pod = self._index.pod(uid)
            if pod is not None:
                self._index.put_pod(pod, self._controllers.workload(pod))

    def drop_owner(self, uid: str) -> None:
        """A ReplicaSet or Job was deleted."""
        self._controllers.drop(uid)
