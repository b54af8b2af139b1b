"""Names of addresses, asked of a server's HTTP API and remembered for a while.

In: addresses as text. Out: `Owner` of each that the server knows. Never: more than `MAX_KNOWN`.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

from kzn.errors import KznError, UsageError

AT_ONCE = 100
"""What a server answers in one go (kzn.server.http.addresses.MAX_ADDRESSES)."""
MAX_BODY = 1 << 20
MAX_KNOWN = 100_000
KEEP_SECONDS = 30.0
TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose an address is. ``kind`` is pod, node, static, or external, unknown, ambiguous."""

    kind: str
    namespace: str = ""
    name: str = ""
    workload_kind: str = ""
    workload: str = ""
    zone: str = ""

    @property
    def label(self) -> str:
        """What a table shows in place of the address; empty when there is no name."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def parse_server(text: str) -> str:
    """A server's base URL without a slash at its end; UsageError when it is none."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            f"{text[:60]!r} is no URL of a server's HTTP port",
            hint="such as http://kzn-server:8080",
        )
    return text.rstrip("/")


class OwnerLookup:
    """What one server says; KznError when it does not answer."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = parse_server(url)
        self._clock = clock
        self._known: dict[str, tuple[float, Owner]] = {}

    def of(self, addresses: Iterable[str]) -> dict[str, Owner]:
        """The owners of all ``addresses``; asks for those that it has not asked for lately."""
        wanted = list(dict.fromkeys(addresses))
        stale = self._clock() - KEEP_SECONDS
        new = [a for a in wanted if a not in self._known or self._known[a][0] < stale]
        if len(self._known) + len(new) > MAX_KNOWN:
            self._known.clear()
            new = wanted
        for first in range(0, len(new), AT_ONCE):
            self._ask(new[first : first + AT_ONCE])
        return {address: self._known[address][1] for address in wanted if address in self._known}

    def _ask(self, addresses: list[str]) -> None:
        query = urlencode([("address", address) for address in addresses])
        body = _get(f"{self._url}/api/v1/addresses?{query}", self._url)
        try:
            for row in json.loads(body)["addresses"]:
                self._known[row["address"]] = (self._clock(), _owner(row))
        except (ValueError, KeyError, TypeError) as error:
            raise KznError(
                f"{self._url} does not answer as a kzn server", hint="is it the HTTP port?"
            ) from error


def _owner(row: dict[str, Any]) -> Owner:
    fields = ("namespace", "name", "workload_kind", "workload", "zone")
    return Owner(str(row["owner"]), **{name: str(row.get(name, "")) for name in fields})


def _get(url: str, server: str) -> bytes:
    try:
        with urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - http(s) by parse_server
            return bytes(answer.read(MAX_BODY))
    except HTTPError as error:
        hint = "is it the HTTP port of a kzn server of this version?" if error.code == 404 else ""
        raise KznError(f"{server}: {error.code} {error.reason}", hint=hint) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise KznError(
            f"ask {server} for names: {reason}",
            hint="is it the HTTP port of kzn server, and can this node reach it?",
        ) from error
