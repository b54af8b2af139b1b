"""The resource of a kind, by the API server's own lists of resources.

In: a kind with version and group. Out: a resource whose metadata can be listed and watched, or
None. Never: a kind that was not asked for.
"""

import msgspec

from kzn.topology.facts import OwnerFacts
from kzn.topology.kube.api_objects import UNREADABLE, Json, Owner
from kzn.topology.kube.client import KubeClient
from kzn.topology.kube.decode import OWNERS
from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.resources import METADATA_LIST, METADATA_WATCH, Resource


class _ApiResource(Json):
    name: str
    kind: str = ""
    verbs: tuple[str, ...] | None = None


class _ApiResourceList(Json):
    resources: tuple[_ApiResource, ...] | None = None


_DECODER = msgspec.json.Decoder(_ApiResourceList)


async def discover(client: KubeClient, kind: str) -> Resource[Owner, OwnerFacts] | None:
    """The resource of a kind (KIND.VERSION.GROUP); None if it cannot be listed and watched.

    KubeError if the API server does not answer, or not with a list of resources.
    """
    name, version, group = kind.split(".", 2)
    base = f"/apis/{group}/{version}" if group else f"/api/{version}"
    try:
        body = await client.page(base, {}, "application/json")
    except KubeError as error:
        if error.status == 404:  # no longer served, or never was
            return None
        raise
    return find(body, name, base, group)


def find(body: bytes, name: str, base: str, group: str) -> Resource[Owner, OwnerFacts] | None:
    """The resource of the kind ``name`` in an APIResourceList; KubeError if ``body`` is none."""
    try:
        resources = _DECODER.decode(body).resources or ()
    except UNREADABLE as error:
        raise KubeError(f"{base} is not a list of resources: {error}", reason="bad_page") from error
    for one in resources:
        is_sub = "/" in one.name
        if one.kind == name and not is_sub and {"list", "watch"} <= {*(one.verbs or ())}:
            full = f"{one.name}.{group}" if group else one.name
            return Resource(full, f"{base}/{one.name}", OWNERS, METADATA_LIST, METADATA_WATCH)
    return None
