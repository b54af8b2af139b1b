"""Requests to the API server over aiohttp; errors become `KubeError`.

In: a path and parameters. Out: a body, or chunks of a stream. Never: a retry (list_watch.py does).
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from kzn.daemon.connect import enable_keepalive
from kzn.errors import KznError
from kzn.topology.kube.api_server.api_clock import ApiClock
from kzn.topology.kube.credentials import Access, Credentials
from kzn.topology.kube.decode import status
from kzn.topology.kube.errors import KubeError, reason_of

CONNECT_SECONDS = 5.0
LIST_SECONDS = 120.0
"""Timeout of one list page."""
PROBE_SECONDS = 2.0
MAX_ERROR_BYTES = 65536
MAX_ANSWER_BYTES = 1 << 20
"""Of the response to a POST."""
MAX_PAGE_BYTES = 4 << 30
"""Of a list page: 500,000 pods, when the list has to be one page."""
JSON = "application/json"
PROBE_PATH = "/readyz"


class KubeClient:
    """An HTTP session with the API server, shared by all watches; an async context manager."""

    def __init__(
        self, credentials: Credentials, *, idle: float, api_clock: ApiClock | None = None
    ) -> None:
        self._credentials = credentials
        self._idle = idle
        self._api_clock = api_clock
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            auto_decompress=True,
            read_bufsize=1 << 20,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "kzn-server"},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def page(self, path: str, parameters: Mapping[str, str], accept: str) -> bytes:
        """The body of a GET; KubeError when it is not complete within LIST_SECONDS."""
        timeout = aiohttp.ClientTimeout(total=LIST_SECONDS, sock_connect=CONNECT_SECONDS)
        async with self._request(path, parameters, accept, timeout) as response:
            return await _whole(response, MAX_PAGE_BYTES)

    async def post(self, path: str, body: bytes, *, seconds: float) -> bytes:
        """The response to a POST of JSON; KubeError when it is not complete within ``seconds``."""
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        async with self._request(path, {}, JSON, timeout, method="POST", body=body) as response:
            return await _whole(response, MAX_ANSWER_BYTES)

    async def answers(self) -> bool:
        """Whether the API server is there and ready; it may refuse to say so (401, 403, 404)."""
        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
        try:
            async with self._request(PROBE_PATH, {}, "*/*", timeout):
                return True
        except KubeError as error:
            return 400 <= error.status < 429
        except KznError:  # credentials
            return False

    @asynccontextmanager
    async def stream(
        self, path: str, parameters: Mapping[str, str], accept: str
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The chunks of a watch; KubeError when none arrives for ``idle`` seconds."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=self._idle
        )
        async with self._request(path, parameters, accept, timeout) as response:
            if response.connection is not None and response.connection.transport is not None:
                enable_keepalive(response.connection.transport)
            yield response.content.iter_any()

    @asynccontextmanager
    async def _request(
        self,
        path: str,
        parameters: Mapping[str, str],
        accept: str,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own, for connect and read
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        access = await asyncio.to_thread(self._credentials.access)
        if self._session is None:
            raise RuntimeError("KubeClient is used outside its context")
        asked = time.time()
        try:
            async with self._session.request(
                method,
                access.host + path,
                params=parameters,
                data=body,
                headers=_headers(access, accept, body),
                ssl=access.tls if access.tls is not None else True,
                server_hostname=access.tls_server_name or None,
                proxy=access.proxy or None,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if self._api_clock is not None:
                    date = response.headers.get("Date", "")
                    self._api_clock.observe(date, asked, time.time())
                if response.status not in (200, 201):
                    await self._raise_status(response, method, path)
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
                self._credentials.reload()  # certificates may have been replaced
            raise _translate(error, access) from error

    async def _raise_status(self, response: aiohttp.ClientResponse, method: str, path: str) -> None:
        body = await _start(response, MAX_ERROR_BYTES)
        if response.status == 401:
            self._credentials.reload()
        cause = status(body).message or response.reason or "no reason given"
        message = f"{method} {path}: HTTP {response.status}: {cause[:300]}"
        hint = _HINTS.get(response.status, "")
        after = response.headers.get("Retry-After", "")
        raise KubeError(
            message,
            reason=reason_of(response.status),
            status=response.status,
            retry_after=float(after) if after.isascii() and after.isdigit() else 0.0,
            hint=_WRITE_HINT if (method, response.status) == ("POST", 403) else hint,
        )


async def _whole(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, in however many pieces it comes; KubeError when it is longer than ``limit``."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > limit:
            raise KubeError(f"a response of more than {limit} bytes", reason="bad_page")
        pieces.append(piece)
    return b"".join(pieces)


async def _start(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The first ``limit`` bytes of the body."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) >= limit:
            break
    return bytes(body[:limit])


_HINTS = {
    401: "the API server rejects the token or client certificate; renew the kubeconfig or the"
    " ServiceAccount token",
    403: "the server's ServiceAccount needs the verbs list and watch on pods, nodes, services,"
    " replicasets and jobs (others are optional)",
    404: "check that this address is a Kubernetes API server",
    429: "the API server throttles requests",
}
_WRITE_HINT = (
    "the server's ServiceAccount needs the verb create on tokenreviews, and for --http-auth on"
    " subjectaccessreviews (ClusterRole system:auth-delegator)"
)


def _headers(access: Access, accept: str, body: bytes | None) -> dict[str, str]:
    headers = {"Accept": accept}
    if body is not None:
        headers["Content-Type"] = JSON
    if access.authorization:
        headers["Authorization"] = access.authorization
    return headers


def _translate(error: Exception, access: Access) -> KubeError:
    server = f"API server {urlsplit(access.host).netloc or access.host}"
    if isinstance(error, TimeoutError):
        hint = "check that the address is reachable from this machine"
        return KubeError(f"{server}: timed out", reason="timeout", hint=hint)
    hint = "check the address, network policies, and that the API server is running"
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        hint = "check the certificate authority and the client certificate"
    cause = str(error) or type(error).__name__
    return KubeError(f"{server}: {cause}", reason="connection", hint=hint)
