"""A fake Kubernetes API server on loopback: list, watch, and injected faults."""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from kzn.topology.kube.credentials import Access

PATHS = {
    "/api/v1/pods": "pods",
    "/api/v1/nodes": "nodes",
    "/api/v1/services": "services",
    "/api/v1/namespaces": "namespaces",
    "/apis/apps/v1/replicasets": "replicasets",
    "/apis/batch/v1/jobs": "jobs",
    "/apis/discovery.k8s.io/v1/endpointslices": "endpointslices",
    "/apis/apps/v1/deployments": "deployments",
    "/apis/apps/v1/statefulsets": "statefulsets",
    "/apis/apps/v1/daemonsets": "daemonsets",
    "/api/v1/persistentvolumes": "persistentvolumes",
}
Object = dict[str, Any]
Fault = Callable[[web.Request], "web.Response | bytes | None"]


@dataclass
class FakeApi:
    """Objects by resource and uid, one version counter, the events since ``oldest``.

    Each request takes one of the ``faults`` of its resource, or of its path if it is of none: a
    response replaces the real one, bytes are sent into the stream of a watch, which is then closed,
    and None changes nothing.
    """

    objects: dict[str, dict[str, Object]] = field(
        default_factory=lambda: {name: {} for name in PATHS.values()}
    )
    version: int = 100
    oldest: int = 0
    events: list[tuple[int, str, str, Object]] = field(default_factory=list)
    faults: dict[str, deque[web.Response | bytes | None]] = field(
        default_factory=lambda: {name: deque() for name in PATHS.values()}
    )
    requests: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    host: str = ""
    token: str = ""
    is_ready: bool = True
    probes: int = 0
    paths: dict[str, str] = field(default_factory=lambda: dict(PATHS))
    discovery: dict[str, list[Object]] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    objects_by_path: dict[str, Object] = field(
        default_factory=lambda: {"/version": {"gitVersion": "v1.34.2"}}
    )

    def serve_kind(self, api_version: str, kind: str, resource: str) -> None:
        """Serve a further kind of objects, and discovery of it."""
        base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        self.paths[f"{base}/{resource}"] = resource
        self.discovery.setdefault(base, []).extend(
            [
                {"name": resource, "kind": kind, "verbs": ["get", "list", "watch"]},
                {"name": f"{resource}/status", "kind": kind, "verbs": ["get"]},
            ]
        )
        self.objects[resource] = {}
        self.faults[resource] = deque()

    def put(self, resource: str, obj: Object) -> None:
        """Create or replace an object and send watchers an event."""
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        known = self.objects[resource].get(obj["metadata"]["uid"])
        self.objects[resource][obj["metadata"]["uid"]] = obj
        self._add_event("MODIFIED" if known else "ADDED", resource, obj)

    def delete(self, resource: str, uid: str) -> None:
        """Delete an object and send watchers its last state with a new version."""
        self.version += 1
        obj = json.loads(json.dumps(self.objects[resource].pop(uid)))
        obj["metadata"]["resourceVersion"] = str(self.version)
        self._add_event("DELETED", resource, obj)

    def compact(self) -> None:
        """Delete all events, as etcd does: requests for older versions get 410."""
        self.oldest = self.version
        self.events.clear()
        self._wake()

    def expire_watches(self) -> None:
        """Compact, so that running watches get 410 inside their streams."""
        self.version += 1
        self.compact()

    def access(self) -> Access:
        """The address and token of this server; it serves as `Credentials` in tests."""
        return Access(host=self.host, authorization=self.token)

    def reload(self) -> None:
        """Called after credentials were refused: use another token."""
        self.token = "Bearer fresh"  # noqa: S105 - a fake's

    def queries_of(self, resource: str) -> list[dict[str, str]]:
        """The query parameters of all requests for a resource."""
        asked = ((self.paths.get(path), parameters) for path, parameters, _ in self.requests)
        return [parameters for name, parameters in asked if name == resource]

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["FakeApi"]:
        """Listen on a free port of 127.0.0.1."""
        app = web.Application()
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        self.host = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def _add_event(self, kind: str, resource: str, obj: Object) -> None:
        self.events.append((self.version, kind, resource, json.loads(json.dumps(obj))))
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def _readyz(self, _request: web.Request) -> web.Response:
        self.probes += 1
        return web.Response(text="ok") if self.is_ready else status(500, "InternalError")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, dict(request.query), dict(request.headers)))
        resource = self.paths.get(request.path, request.path)
        if resource in self.forbidden:
            return status(403, "Forbidden", f"cannot list resource {resource}")
        faults = self.faults.get(resource)
        fault = faults.popleft() if faults else None
        if isinstance(fault, web.Response):
            return fault
        found = self.objects_by_path.get(request.path)
        if request.path in self.discovery:
            found = {"kind": "APIResourceList", "resources": self.discovery[request.path]}
        if found is not None:
            return web.json_response(found)
        if request.path not in self.paths:
            return status(404, "NotFound")
        if "watch" in request.query:
            return await self._watch(request, resource, fault)
        return self._list(request, resource)

    def _list(self, request: web.Request, resource: str) -> web.Response:
        everything = list(self.objects[resource].values())
        limit = int(request.query.get("limit", "0")) or len(everything)
        version, _, at = request.query.get("continue", f"{self.version}.0").partition(".")
        if int(version) < self.oldest:
            return status(410, "Expired", "The provided continue parameter is too old")
        start = int(at)
        rest = start + limit < len(everything)
        meta = {"resourceVersion": version}
        if rest:
            meta["continue"] = f"{version}.{start + limit}"
        items = everything[start : start + limit] or None
        return web.json_response({"kind": "List", "metadata": meta, "items": items})

    async def _watch(
        self, request: web.Request, resource: str, fault: bytes | None
    ) -> web.StreamResponse:
        version = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if fault is not None:
            await response.write(fault)
            return response
        while version >= self.oldest:
            changed = self.changed
            for at, kind, name, obj in list(self.events):
                if at > version and name == resource:
                    await response.write(line(kind, obj))
            version = self.version
            if request.query.get("allowWatchBookmarks") == "true":
                mark = {"kind": "x", "metadata": {"resourceVersion": str(version)}}
                await response.write(line("BOOKMARK", mark))
            await changed.wait()
        gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
        await response.write(line("ERROR", gone))
        return response


def line(kind: str, obj: Object) -> bytes:
    """One line of a watch."""
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def status(code: int, reason: str, message: str = "", **headers: str) -> web.Response:
    """An error response with a Status object; underscores in header names become hyphens."""
    body = {"kind": "Status", "code": code, "reason": reason, "message": message}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response(body, status=code, headers=named)


def node(name: str, zone: str, address: str) -> Object:
    """A Node object."""
    labels = {"topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": "r1"}
    return {
        "metadata": {"name": name, "uid": f"node-{name}", "labels": labels},
        "spec": {},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def pod(uid: str, address: str, node_name: str, owner: tuple[str, ...] | None = None) -> Object:
    """A running Pod; ``owner`` is kind, name, uid and maybe apiVersion of its controller."""
    meta: Object = {"name": f"pod-{uid}", "namespace": "shop", "uid": uid}
    if owner:
        meta["ownerReferences"] = [controller(*owner)]
    return {
        "metadata": meta,
        "spec": {"nodeName": node_name},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def owned(uid: str, name: str, owner: tuple[str, ...]) -> Object:
    """The metadata of a controller that another one controls."""
    return {"metadata": {"name": name, "uid": uid, "ownerReferences": [controller(*owner)]}}


GROUPS = {
    "ReplicaSet": "apps/v1",
    "Deployment": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
}


def controller(kind: str, name: str, uid: str, api_version: str = "") -> Object:
    """The ownerReference of a controller; of Kubernetes' own kinds its version is known."""
    api_version = api_version or GROUPS.get(kind, "x/v1")
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": True}
