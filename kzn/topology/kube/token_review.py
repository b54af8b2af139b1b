"""Verification of ServiceAccount tokens by the API server (TokenReview).

In: a token. Out: its user, and the pod and node that it is bound to. Never: the token in an error
or log line.

``status.user.extra`` has the claims under ``authentication.kubernetes.io/``: ``pod-name`` and
``pod-uid`` of tokens bound to a pod, and from Kubernetes 1.30 on ``node-name`` (KEP-4193).
"""

from dataclasses import dataclass

import msgspec

from kzn.topology.kube.api_objects import Json
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


class _User(Json):
    username: str = ""
    extra: dict[str, list[str]] | None = None


class _Status(Json):
    authenticated: bool = False
    user: _User = msgspec.field(default_factory=_User)
    audiences: list[str] | None = None


class _TokenReview(Json):
    status: _Status


_DECODER = msgspec.json.Decoder(_TokenReview)


async def review_token(client: KubeClient, audience: str, token: str) -> Review:
    """Ask the API server to verify ``token``; KubeError when the request fails."""
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }
    return decode(await client.post(PATH, msgspec.json.encode(body), seconds=SECONDS))


def decode(body: bytes) -> Review:
    """The review in ``body``; KubeError when it is not a TokenReview."""
    try:
        status = _DECODER.decode(body).status
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
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
    )


def _first(extra: dict[str, list[str]], claim: str) -> str:
    return next(iter(extra.get(_CLAIM + claim, ())), "")
