"""The uid of a cluster, which is that of its namespace kube-system.

In: a client. Out: the uid, or a reason why it is not known. Never: a failure that ends the source.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from kzn.errors import KznError
from kzn.topology.kube.api_objects import UNREADABLE
from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.resources import METADATA_WATCH

PATH = "/api/v1/namespaces/kube-system"
RETRY_SECONDS = 30.0
TRIES = 20
_LOG = logging.getLogger(__name__)

Sleep = Callable[[float], Awaitable[None]]


class _Pages(Protocol):
    async def page(self, path: str, parameters: Mapping[str, str], accept: str) -> bytes: ...


class _Meta(msgspec.Struct):
    uid: str = ""


class _Namespace(msgspec.Struct):
    metadata: _Meta


async def cluster_uid(client: _Pages, sleep: Sleep) -> str:
    """The uid; empty if the API server refuses to tell it, or does not answer for ten minutes."""
    error: KznError | None = None
    for _ in range(TRIES):
        try:
            body = await client.page(PATH, {}, METADATA_WATCH)
            return msgspec.json.decode(body, type=_Namespace).metadata.uid[:128]
        except KznError as failed:
            error = failed
            if isinstance(failed, KubeError) and failed.status in {401, 403, 404}:
                break
        except UNREADABLE as failed:  # cut short by a proxy, perhaps
            error = KznError(f"GET {PATH}: {failed}")
        await sleep(RETRY_SECONDS)
    _LOG.info(
        "the uid of the cluster is not known, so the history has no name of it: %s; set --cluster,"
        " or let the server get the namespace kube-system",
        error,
    )
    return ""
