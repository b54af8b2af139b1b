"""The cluster of fleet.py as an API server sends it: JSON objects of realistic size.

In: numbers. Out: pages of lists and lines of watches, as bytes.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from random import Random

from lib.fleet import PODS_V6, REGION, Fleet

STARTED = "2026-01-01T00:00:00Z"
_CONTAINER = {
    "name": "main",
    "image": "registry.example/team/app:1.2.3",
    "env": [{"name": f"SETTING_{i}", "value": "something that an app needs"} for i in range(12)],
    "resources": {"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "100m"}},
    "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets", "readOnly": True}],
    "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10},
    "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 10},
}
_CONDITIONS = [
    {"type": kind, "status": "True", "lastTransitionTime": STARTED, "lastProbeTime": None}
    for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
]
_MANAGED = [
    {
        "manager": "kube-controller-manager",
        "operation": "Update",
        "apiVersion": "v1",
        "time": STARTED,
        "fieldsType": "FieldsV1",
        "fieldsV1": {f"f:field-{i}": {"f:inner": {".": {}, "f:value": {}}} for i in range(80)},
    }
]


@dataclass(frozen=True, slots=True)
class ApiFleet(Fleet):
    """Objects of the fleet as JSON; ``version`` is their resourceVersion."""

    def node(self, number: int) -> bytes:  # type: ignore[override] # the same node, as JSON
        """A node."""
        zone = self.zone(number)
        labels = {"topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": REGION}
        address = str(IPv4Address((172 << 24 | 0x10000) + number))
        return _bytes(
            {
                "metadata": _meta(f"node-uid-{number}", f"node-{number}", "", 1)
                | {"labels": labels},
                "spec": {"podCIDRs": []},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": address}],
                    "conditions": _CONDITIONS * 2,
                    "images": [
                        {"names": [f"registry/image:{i}"], "sizeBytes": 1} for i in range(50)
                    ],
                },
            }
        )

    def owner(self, number: int) -> bytes:
        """The metadata of a ReplicaSet."""
        meta = _meta(f"rs-{number}", f"app-{number}-5d8f", f"team-{number % 200}", 1)
        owner = {"kind": "Deployment", "name": f"app-{number}", "uid": f"d-{number}"}
        return _bytes({"metadata": meta | {"ownerReferences": [owner | {"controller": True}]}})

    def pod(self, number: int, version: int = 10, ip: int | None = None) -> bytes:  # type: ignore[override] # the same pod, as JSON
        """A pod; ``ip`` is the number of its addresses, by default its own number."""
        workload = number % self.workloads
        name, team = f"app-{workload}-5d8f-{number:08x}", f"team-{workload % 200}"
        meta = _meta(f"pod-uid-{number}", name, team, version)
        owner = {"kind": "ReplicaSet", "name": f"app-{workload}-5d8f", "uid": f"rs-{workload}"}
        meta["ownerReferences"] = [owner | {"controller": True, "blockOwnerDeletion": True}]
        meta["managedFields"] = _MANAGED
        at = number if ip is None else ip
        ipv4, ipv6 = IPv4Address((10 << 24 | 0x10000) + at), IPv6Address(PODS_V6 + at)
        return _bytes(
            {
                "metadata": meta,
                "spec": {"nodeName": f"node-{number % self.nodes}", "containers": [_CONTAINER]},
                "status": {
                    "phase": "Running",
                    "podIP": str(ipv4),
                    "podIPs": [{"ip": str(ipv4)}, {"ip": str(ipv6)}],
                    "startTime": STARTED,
                    "conditions": _CONDITIONS,
                    "containerStatuses": [
                        {"name": "main", "state": {"running": {"startedAt": STARTED}}}
                    ],
                },
            }
        )

    def pages(self, make: Callable[[int], bytes], total: int, page: int) -> Iterator[bytes]:
        """The pages of a list of ``total`` objects."""
        for first in range(0, total, page):
            last = min(first + page, total)
            token = f'"continue":"{last}",' if last < total else ""
            head = f'{{"metadata":{{{token}"resourceVersion":"100000"}},"items":['
            yield head.encode() + b",".join(map(make, range(first, last))) + b"]}"

    def events(self, total: int, rng: Random) -> Iterator[bytes]:
        """Lines of a watch: a pod is replaced by another with the same addresses."""
        version = 200_000
        for fresh in range(self.pods, self.pods + total // 4):
            old, version = rng.randrange(self.pods), version + 4
            yield _event("MODIFIED", self.pod(old, version))
            yield _event("DELETED", self.pod(old, version + 1))
            yield _event("ADDED", self.pod(fresh, version + 2, old))
            yield _event("MODIFIED", self.pod(fresh, version + 3, old))


def _event(kind: str, item: bytes) -> bytes:
    return b'{"type":"%s","object":%s}' % (kind.encode(), item)


def _meta(uid: str, name: str, namespace: str, version: int) -> dict[str, object]:
    return {
        "uid": uid,
        "name": name,
        "namespace": namespace,
        "resourceVersion": str(version),
        "creationTimestamp": STARTED,
        "labels": {"app.kubernetes.io/name": name, "pod-template-hash": "5d8f"},
    }


def _bytes(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
