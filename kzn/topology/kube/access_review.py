"""Whether a user may read a page, as the API server says (SubjectAccessReview).

In: a user as of a TokenReview, and a path that is not of a resource. Out: yes, or no and why.
Never: a decision of kzn's own: rights are granted by ClusterRoles with nonResourceURLs.
"""

from dataclasses import dataclass

import msgspec

from kzn.topology.kube.api_objects import UNREADABLE, Json
from kzn.topology.kube.client import KubeClient
from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.token_review import SECONDS, Review

PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


@dataclass(frozen=True, slots=True)
class Access:
    """The decision; ``reason`` is the API server's text and may be empty."""

    allowed: bool
    reason: str = ""


class _Status(Json):
    allowed: bool = False
    denied: bool = False
    reason: str = ""


class _AccessReview(Json):
    status: _Status


_DECODER = msgspec.json.Decoder(_AccessReview)


async def review_access(client: KubeClient, user: Review, path: str) -> Access:
    """Ask whether ``user`` may get ``path``; KubeError when the request fails."""
    spec = {
        "user": user.user,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
        "nonResourceAttributes": {"path": path, "verb": "get"},
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": spec,
    }
    return decode(await client.post(PATH, msgspec.json.encode(body), seconds=SECONDS))


def decode(body: bytes) -> Access:
    """The decision in ``body``; KubeError when it is not a SubjectAccessReview."""
    try:
        status = _DECODER.decode(body).status
    except UNREADABLE as error:
        text = f"response is not a SubjectAccessReview: {error}"
        raise KubeError(text, reason="bad_page") from error
    return Access(status.allowed and not status.denied, status.reason)
