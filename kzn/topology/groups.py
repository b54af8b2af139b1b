"""The group of each workload: a team or product, by labels or annotations of pods and namespaces.

In: pods with their workloads, and namespaces. Out: one group a workload, which its newest pod
decides, and which pods are to be described anew. Never: two groups of one workload, or a value
longer than `MAX_VALUE`.

A pod and a namespace have one value for each of the configured keys. The first key with a value
counts, and of one key the pod's before the namespace's.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf

from kzn.topology.facts import NamespaceFacts, PodFacts, Workload

MAX_KEYS = 8
MAX_VALUE = 128
"""Characters of a group that are kept: an annotation can be 256 kB long."""
MAX_ENDED = 50_000
"""Workloads without a pod whose group is kept, for their series."""

WorkloadName = tuple[str, str, str]
"""Namespace, kind and name."""
Values = tuple[str, ...]
_Pod = tuple[float, str, Values]
"""What orders pods, the newest first: its begin, negated, and its uid, so that several servers
agree; and its values."""

_FEW = 8


@dataclass(slots=True)
class _Members:
    """The pods of a workload by uid, and a heap of them, with some that ended or changed since."""

    pods: dict[str, _Pod] = field(default_factory=dict)
    heap: list[_Pod] = field(default_factory=list)

    def newest(self) -> _Pod:
        while self.pods.get(self.heap[0][1]) is not self.heap[0]:
            heappop(self.heap)
        return self.heap[0]

    def put(self, pod: _Pod) -> None:
        if self.pods.get(pod[1]) != pod:
            self.pods[pod[1]] = pod
            heappush(self.heap, pod)
            self._tidy()

    def drop(self, uid: str) -> None:
        del self.pods[uid]
        self._tidy()

    def _tidy(self) -> None:
        if len(self.heap) > 2 * len(self.pods) + _FEW:
            self.heap = list(self.pods.values())
            heapify(self.heap)


class WorkloadGroups:
    """Groups by ``keys`` of labels; without any, those that pods of a static file have."""

    def __init__(self, keys: Collection[str] = ()) -> None:
        self.keys = tuple(keys)
        self._members: dict[WorkloadName, _Members] = {}
        self._workload_of: dict[str, WorkloadName] = {}
        self._groups: dict[WorkloadName, str] = {}
        self._ended: dict[WorkloadName, _Pod] = {}
        self._names_in: dict[str, set[WorkloadName]] = {}
        self._namespaces: dict[str, NamespaceFacts] = {}
        self._by_name: dict[str, NamespaceFacts] = {}

    @property
    def is_used(self) -> bool:
        """Whether workloads can have groups."""
        return bool(self.keys or self._names_in)

    def of(self, namespace: str, workload: Workload) -> str:
        """The group of a workload that has or had pods; empty without one."""
        return self._groups.get((namespace, *workload), "")

    def copy(self) -> Mapping[WorkloadName, str]:
        """The groups of all workloads, for a reader in another thread."""
        return self._groups.copy()

    def put_pod(self, pod: PodFacts, workload: Workload | None) -> Collection[str]:
        """A pod was added or changed. Returns the uids of pods that have another group now."""
        if workload is None or not self._may_group(pod):
            return ()
        name = (pod.namespace, *workload)
        before = self._workload_of.get(pod.uid)
        moved = self.drop_pod(pod.uid) if before not in (None, name) else ()
        self._workload_of[pod.uid] = name
        members = self._members.setdefault(name, _Members())
        members.put(_pod_of(pod))
        self._ended.pop(name, None)
        self._names_in.setdefault(pod.namespace, set()).add(name)
        return [*moved, *self._regroup(name, members.newest(), members.pods)]

    def put_ended_pod(self, pod: PodFacts, workload: Workload | None) -> None:
        """A pod that had ended before it could be put, as after a restart of the server.

        Of a workload without pods the newest such pod decides.
        """
        if workload is None or not self._may_group(pod):
            return
        name = (pod.namespace, *workload)
        found, known = _pod_of(pod), self._ended.get(name)
        if name in self._members or (known is not None and known[:2] < found[:2]):
            return
        self._names_in.setdefault(pod.namespace, set()).add(name)
        self._regroup(name, found, ())
        self._remember(name, found)

    def drop_pod(self, uid: str) -> Collection[str]:
        """A pod ended; as `put_pod`. The last pod of a workload leaves its group."""
        name = self._workload_of.pop(uid, None)
        if name is None:
            return ()
        members = self._members[name]
        if len(members.pods) == 1:
            del self._members[name]
            self._remember(name, members.pods[uid])
            return ()
        members.drop(uid)
        return self._regroup(name, members.newest(), members.pods)

    def put_namespace(self, namespace: NamespaceFacts) -> Collection[str]:
        """A namespace was added or changed; as `put_pod`."""
        if not self.keys:
            return ()
        self._namespaces[namespace.uid] = namespace
        known = self._by_name.get(namespace.name)
        self._by_name[namespace.name] = namespace
        if known is not None and known.groups == namespace.groups:
            return ()
        return list(self._regroup_namespace(namespace.name))

    def drop_namespace(self, uid: str) -> None:
        """A namespace was deleted, after its pods: the groups of their workloads stay.

        One of the same name may be there by now.
        """
        namespace = self._namespaces.pop(uid, None)
        if namespace is not None and self._by_name.get(namespace.name) is namespace:
            del self._by_name[namespace.name]

    def _regroup_namespace(self, namespace: str) -> Iterator[str]:
        for name in self._names_in.get(namespace, ()):
            members = self._members.get(name)
            if members is not None:
                yield from self._regroup(name, members.newest(), members.pods)
            else:
                self._regroup(name, self._ended[name], ())

    def _may_group(self, pod: PodFacts) -> bool:
        return bool(self.keys or pod.groups) or pod.uid in self._workload_of

    def _regroup(self, name: WorkloadName, pod: _Pod, uids: Collection[str]) -> Collection[str]:
        namespace = self._by_name.get(name[0])
        group = first_of(pod[2], namespace.groups if namespace is not None else ())
        if self._groups.get(name, "") == group:
            return ()
        if group:
            self._groups[name] = group
        else:
            del self._groups[name]
        return uids

    def _remember(self, name: WorkloadName, pod: _Pod) -> None:
        self._ended.pop(name, None)
        self._ended[name] = pod
        while len(self._ended) > MAX_ENDED:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._groups.pop(oldest, None)
            here = self._names_in[oldest[0]]
            here.remove(oldest)
            if not here:
                del self._names_in[oldest[0]]


def _pod_of(pod: PodFacts) -> _Pod:
    return inf if pod.started is None else -pod.started, pod.uid, pod.groups


def first_of(pod: Values, namespace: Values) -> str:
    """The first value by key, of each key the pod's before the namespace's; else empty."""
    for number in range(max(len(pod), len(namespace))):
        for values in (pod, namespace):
            if number < len(values) and values[number]:
                return values[number]
    return ""
