"""GET requests to the HTTP API of a kzn server.

In: a base URL, a topic of /api/v1 and a query. Out: a value made of the JSON answer.
Raises: UsageError for a URL or a query that cannot be used, KznError for everything that fails
afterwards.
Never: more than MAX_BYTES of an answer, or a socket that is silent for TIMEOUT_SECONDS.
"""

import json
from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

from kzn.errors import KznError, UsageError

TIMEOUT_SECONDS = 10.0
MAX_BYTES = 64 << 20
BAD_REQUEST = 400

_HINT = (
    "the URL must be the HTTP address of kzn server, such as http://kzn-server:8080; "
    "outside the cluster run kubectl -n kzn port-forward svc/kzn-server 8080 first"
)
_T = TypeVar("_T")


class ApiClient:
    """One server; ``url`` is its base URL without a slash at the end."""

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)

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

    def _get(self, page: str, url: str) -> bytes:
        try:
            with urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - http(s), parse_url
                body = bytes(answer.read(MAX_BYTES + 1))
        except HTTPError as error:
            text, hint = _problem(error)
            if error.code == BAD_REQUEST:
                raise UsageError(f"{self.url}: {text}", hint=hint) from error
            hint = hint or ("the server is busy; try again" if error.code == 503 else _HINT)
            raise KznError(f"{page}: HTTP status {error.code}: {text}", hint=hint) from error
        except URLError as error:
            raise KznError(f"{self.url}: {_reason(error)}", hint=_HINT) from error
        except (OSError, HTTPException) as error:
            raise KznError(f"{self.url}: {error!r}", hint=_HINT) from error
        if len(body) > MAX_BYTES:
            raise KznError(f"{page}: the answer is larger than {MAX_BYTES >> 20} MiB", hint=_HINT)
        return body


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


def _problem(error: HTTPError) -> tuple[str, str]:
    """Message and hint of an answer that is an error; the text itself if it is not kzn's JSON."""
    body = error.read(2000)
    try:
        found = json.loads(body)
        return str(found["error"]), str(found.get("hint", ""))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return body[:200].decode(errors="replace").strip(), ""


def _reason(error: URLError) -> str:
    if isinstance(error.reason, OSError) and error.reason.strerror:
        return error.reason.strerror
    return str(error.reason)
