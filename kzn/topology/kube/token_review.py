"""Verification of ServiceAccount tokens by the API server (TokenReview).

In: a token. Out: its user, for SubjectAccessReviews too, and the pod and node that it is bound to.
Never: the token in an error
or log line.

``status.user.extra`` has the claims under ``authentication.kubernetes.io/``: ``pod-name`` and
``pod-uid`` of tokens bound to a pod, and from Kubernetes 1.30 on ``node-name`` (KEP-4193).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from kzn.topology.kube.api_objects import UNREADABLE, Json
from kzn.topology.kube.client import KubeClient
from kzn.topology.kube.errors import KubeError

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
SECONDS = 8.0
"""Less than the timeout of an agent's handshake."""
_CLAIM = "authentication.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class Review:
    """The result; the other fields are empty unless ``authenticated``."""

    authenticated: bool
    user: str = ""
    audiences: frozenset[str] = frozenset()
    node: str = ""
    pod_uid: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class _User(Json):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _Status(Json):
    authenticated: bool = False
    user: _User = msgspec.field(default_factory=_User)
    audiences: list[str] | None = None


class _TokenReview(Json):
    status: _Status


_DECODER = msgspec.json.Decoder(_TokenReview)


async def review_token(client: KubeClient, audience: str, token: str) -> Review:
    """Ask the API server to verify ``token``; KubeError when the request fails.

    An empty ``audience``: that of the API server itself, as tokens of pods and of people have.
    """
    spec: dict[str, object] = {"token": token}
    if audience:
        spec["audiences"] = [audience]
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    return decode(await client.post(PATH, msgspec.json.encode(body), seconds=SECONDS))


def decode(body: bytes) -> Review:
    """The review in ``body``; KubeError when it is not a TokenReview."""
    try:
        status = _DECODER.decode(body).status
    except UNREADABLE as error:
        raise KubeError(f"response is not a TokenReview: {error}", reason="bad_page") from error
    if not status.authenticated:
        return Review(authenticated=False)
    extra = status.user.extra or {}
    return Review(
        authenticated=True,
        user=status.user.username,
        audiences=frozenset(status.audiences or ()),
        node=_first(extra, "node-name"),
        pod_uid=_first(extra, "pod-uid"),
        uid=status.user.uid,
        groups=tuple(status.user.groups or ()),
        extra={key: tuple(values) for key, values in extra.items()},
    )


def _first(extra: dict[str, list[str]], claim: str) -> str:
    return next(iter(extra.get(_CLAIM + claim, ())), "")
