"""GET requests to the HTTP API of a kzn server.

In: a base URL, a topic of /api/v1 and a query. Out: a value made of the JSON answer.
Raises: UsageError for a URL or a query that cannot be used, KznError for everything that fails
afterwards.
Never: more than MAX_BYTES of an answer, or a socket that is silent for TIMEOUT_SECONDS.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from kzn.client.service_proxy import ServiceProxy
from kzn.daemon.tls import ClientTls
from kzn.errors import KznError, UsageError

TIMEOUT_SECONDS = 10.0
RELAY_SECONDS = 35.0
"""More than a server takes for its slowest answer."""
MAX_BYTES = 64 << 20
BAD_REQUEST = 400
UNAUTHORIZED = 401
MISDIRECTED = 421

_HINT = (
    "the URL must be the HTTP address of kzn server, such as http://kzn-server:8080; "
    "outside the cluster leave --url out, and the server is found through the kubeconfig"
)
_FILE_HINT = "write a token to it, such as that of kubectl create token"
_T = TypeVar("_T")


class _NoRedirects(HTTPRedirectHandler):
    """The server sends none; following one would send the token to another host."""

    def redirect_request(self, *_: Any) -> None:
        """Answer a redirect as an error."""


class ApiClient:
    """One server; ``url`` is its base URL without a slash at the end.

    ``token_file`` is read for each request (Kubernetes renews the tokens of pods), a pipe once.
    ``ca`` verifies an https URL in place of the system's certificates. UsageError for a file that
    cannot be used. With ``proxy`` the URL is the proxy's, and so are certificates and credentials.
    """

    def __init__(
        self,
        url: str,
        *,
        token_file: Path | None = None,
        ca: Path | None = None,
        proxy: ServiceProxy | None = None,
    ) -> None:
        self.url = parse_url(url)
        self._token_file = token_file
        self._token = ""
        self._proxy = proxy
        https = [HTTPSHandler(context=ClientTls(ca).context())] if ca is not None else []
        self._open = build_opener(_NoRedirects, *https).open

    def fetch(
        self, topic: str, read: Callable[[Any], _T], query: Sequence[tuple[str, str | int]] = ()
    ) -> _T:
        """GET /api/v1/``topic`` and make a value of its JSON by ``read``.

        ``read`` may raise KeyError, TypeError, ValueError or AttributeError for another shape.
        """
        page = f"{self.url}/api/v1/{topic}"
        body = self._get(page, f"{page}?{urlencode(query)}" if query else page)
        try:
            return read(json.loads(body))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise KznError(f"{page}: unexpected answer: {error!r}", hint=_HINT) from error

    def get(self, path: str) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of any path of the server, errors of the server included.

        KznError for a server or an API server that does not answer.
        """
        url = f"{self.url}/{path.lstrip('/')}"
        try:
            body, headers = self._receive(url, url, RELAY_SECONDS)
        except HTTPError as error:
            body = error.read(MAX_BYTES)
            if self._proxy is not None and (found := self._proxy.refusal(error.code, body)):
                raise found from error
            return error.code, body, dict(error.headers.items())
        return 200, body, headers

    def _get(self, page: str, url: str) -> bytes:
        try:
            return self._receive(page, url, TIMEOUT_SECONDS)[0]
        except HTTPError as error:
            raise self._refused(page, error) from error

    def _receive(self, page: str, url: str, seconds: float) -> tuple[bytes, Mapping[str, str]]:
        """The body and headers of an answer; HTTPError for one that is an error."""
        try:
            with self._ask_again(url, seconds) as answer:
                body, headers = bytes(answer.read(MAX_BYTES + 1)), answer.headers
        except HTTPError:
            raise
        except URLError as error:
            raise self._unreachable(_reason(error)) from error
        except (OSError, HTTPException) as error:
            raise self._unreachable(repr(error)) from error
        if len(body) > MAX_BYTES:
            raise KznError(f"{page}: the answer is larger than {MAX_BYTES >> 20} MiB", hint=_HINT)
        return body, headers

    def _ask_again(self, url: str, seconds: float) -> Any:
        """Ask, and through an API server once more for what another credential or Host mends."""
        try:
            return self._ask(url, seconds)
        except HTTPError as error:
            proxy = self._proxy
            if proxy is None:
                raise
            if error.code == UNAUTHORIZED:
                proxy.renew()
            elif error.code != MISDIRECTED or not proxy.name_server():
                raise
        return self._ask(url, seconds)

    def _ask(self, url: str, seconds: float) -> Any:
        if self._proxy is None:
            request = Request(url, headers=self._headers())  # noqa: S310 - http(s), parse_url
            return self._open(request, timeout=seconds)
        handlers, headers = self._proxy.handlers()
        request = Request(url, headers=headers)  # noqa: S310 - http(s), parse_url
        return build_opener(_NoRedirects, *handlers).open(request, timeout=seconds)

    def _refused(self, page: str, error: HTTPError) -> KznError:
        body = error.read(2000)
        if self._proxy is not None and (found := self._proxy.refusal(error.code, body)):
            return found
        text, hint = _problem(body)
        if error.code == BAD_REQUEST:
            return UsageError(f"{self.url}: {text}", hint=hint)
        hint = hint or ("the server is busy; try again" if error.code == 503 else _HINT)
        return KznError(f"{page}: HTTP status {error.code}: {text}", hint=hint)

    def _unreachable(self, reason: str) -> KznError:
        if self._proxy is not None:
            return self._proxy.unreachable(reason)
        return KznError(f"{self.url}: {reason}", hint=_HINT)

    def _headers(self) -> dict[str, str]:
        path = self._token_file
        if path is None:
            return {}
        if not self._token or path.is_file():
            try:
                self._token = path.read_text("ascii").strip()
            except (OSError, ValueError) as error:
                raise UsageError(f"token file {path}: {error}", hint=_FILE_HINT) from error
        if not self._token.isprintable() or not self._token:
            raise UsageError(f"token file {path} has no token", hint=_FILE_HINT)
        return {"Authorization": f"Bearer {self._token}"}


def parse_url(text: str) -> str:
    """The base of an HTTP URL without a slash at its end; UsageError if it is not one."""
    hint = "write http://HOST:PORT"
    shown = repr(text[:60])
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{shown} is not a URL: {error}", hint=hint) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UsageError(f"{shown} is not an HTTP URL", hint=hint)
    if parts.query or parts.fragment:
        raise UsageError(f"{shown}: a base URL cannot have a query or a fragment", hint=hint)
    return text.rstrip("/")


def _problem(body: bytes) -> tuple[str, str]:
    """Message and hint of an answer that is an error; the text itself if it is not kzn's JSON."""
    try:
        found = json.loads(body)
        return str(found["error"]), str(found.get("hint", ""))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return body[:200].decode(errors="replace").strip(), ""


def _reason(error: URLError) -> str:
    if isinstance(error.reason, OSError) and error.reason.strerror:
        return error.reason.strerror
    return str(error.reason)
