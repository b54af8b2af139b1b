"""ClickHouse's HTTP interface.

In: SQL, a body. Out: text. KznError subclasses for what the engine or the network says.
Never: a request without a deadline, or a password that is read once and kept for ever.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from kzn.errors import KznError, UsageError
from kzn.history.retention import Keep, parse_keep
from kzn.sinks.declaration import LaterError
from kzn.sinks.target import Target, secret

OPTIONS = ("tls", "ca-file", "user-file", "password-file", "create", "keep")
FORM = "clickhouse://HOST[:PORT]/DATABASE[?tls=yes&user-file=FILE&password-file=FILE&create=yes]"
PORT, TLS_PORT = 8123, 8443
DEFAULT_KEEP = "raw=30d,hour=400d,day=1200d"
_CODE = re.compile(r"Code: (\d+)[.,]")
_DATABASE = re.compile(r"[A-Za-z0-9_]{1,100}")


class EngineError(LaterError):
    """The engine refused a statement; ``code`` is ClickHouse's, 0 if it told none."""

    def __init__(self, message: str, code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


def keep_of(target: Target) -> Keep:
    """The option ``keep`` of a URL: how long the tables keep minutes, hours and days."""
    return parse_keep(target.options.get("keep", DEFAULT_KEEP), option=f"{target.shown}: keep")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the engine is and how to speak to it."""

    url: str
    database: str
    tls: ssl.SSLContext | bool
    user: Path | None
    password: Path | None

    @staticmethod
    def of(target: Target) -> "Place":
        """The place of a URL; UsageError."""
        target.only(*OPTIONS)
        database = target.path.strip("/") or "default"
        if not target.host or not _DATABASE.fullmatch(database):
            raise UsageError(f"{target.shown} has no host or no database", hint=f"write {FORM}")
        is_tls, authority = target.flag("tls"), target.file("ca-file")
        context: ssl.SSLContext | bool = True
        if authority is not None and not is_tls:
            raise UsageError(
                f"{target.shown}: ca-file is for TLS, and the password would go in clear text",
                hint="add tls=yes",
            )
        if authority is not None:
            try:
                context = ssl.create_default_context(cafile=str(authority))
            except (OSError, ssl.SSLError) as error:
                raise UsageError(f"{target.shown}: ca-file has no certificates") from error
        host = f"[{target.host}]" if ":" in target.host else target.host
        port = target.port or (TLS_PORT if is_tls else PORT)
        return Place(
            f"{'https' if is_tls else 'http'}://{host}:{port}/",
            database,
            context,
            target.file("user-file"),
            target.file("password-file"),
        )

    def headers(self) -> dict[str, str]:
        """The user and the password as they are in their files now."""
        found = {"X-ClickHouse-User": secret(self.user), "X-ClickHouse-Key": secret(self.password)}
        return {name: value for name, value in found.items() if value}


class Client:
    """Statements over connections that are kept open; used on one event loop."""

    def __init__(self, place: Place, *, seconds: float) -> None:
        self._place = place
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    async def run(
        self, sql: str, body: Any = None, settings: Mapping[str, str] | None = None
    ) -> str:
        """The answer to a statement; the statement is the body if there is no other."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._seconds, sock_connect=10)
            self._session = aiohttp.ClientSession(timeout=timeout)
        parameters = {"database": self._place.database, "wait_end_of_query": "1"}
        parameters |= dict(settings or {})
        if body is not None:
            parameters["query"] = sql
        try:
            async with self._session.post(
                self._place.url,
                params=parameters,
                data=sql.encode() if body is None else body,
                headers=self._place.headers(),
                ssl=self._place.tls,
                allow_redirects=False,
            ) as answer:
                text = (await answer.read()).decode(errors="replace")
        except TimeoutError as error:
            raise LaterError(f"{self._place.url}: no answer in {self._seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise LaterError(f"{self._place.url}: {error}") from error
        if answer.status != 200:
            found = _CODE.search(text)
            first = " ".join(text.split())[:300]
            raise EngineError(
                f"{self._place.url} answers {answer.status}: {first}", int(found[1]) if found else 0
            )
        return text

    async def version(self) -> tuple[int, int]:
        """The engine's major and minor version."""
        text = await self.run("SELECT version()")
        found = re.match(r"(\d+)\.(\d+)", text)
        if found is None:
            raise KznError(f"{self._place.url} is not ClickHouse: {text[:80]!r}")
        return int(found[1]), int(found[2])

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
