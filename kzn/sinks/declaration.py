"""What a sink is: a name, and a function that makes the object which takes segments.

In: `FinishedSegment`, one after another. Out: nothing, or `LaterError` or `RefusedError`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kzn.errors import KznError
from kzn.history.query import Answer, TrafficQuery
from kzn.history.retention import Keep
from kzn.sinks.target import Target

API = 1
"""Version of this contract; a sink written for another one is not used."""
_REASON = re.compile(r"[a-z][a-z0-9_]{0,39}")


class LaterError(KznError):
    """A segment cannot be taken now; it is offered again."""


class RefusedError(KznError):
    """A segment will never be taken: it is dropped and counted; ``reason`` is a metric label."""

    def __init__(self, message: str, *, reason: str = "refused") -> None:
        super().__init__(message)
        self.reason = reason if _REASON.fullmatch(reason) else "refused"


@dataclass(frozen=True, slots=True)
class FinishedSegment:
    """An immutable Parquet file of settled flows, sorted, with the columns of docs/operations.md.

    ``name`` is unique for ever and says what it is (kzn.history.segments); its flows ended in
    [begin, end), Unix seconds, an hour. ``server`` is the history that it comes from, eight hex
    digits. ``size`` is in bytes.
    """

    name: str
    server: str
    begin: int
    end: int
    size: int
    path: Path

    def arrow(self) -> Any:
        """The rows as an object with ``__arrow_c_stream__``; blocks, and imports DuckDB."""
        import duckdb  # noqa: PLC0415 - 70 MB that most sinks do not need

        db = duckdb.connect(":memory:", config={"threads": 1})
        db.execute("SET timezone = 'UTC'")
        return db.read_parquet(str(self.path))


class Sink(Protocol):
    """Takes segments, one call at a time."""

    async def put(self, segment: FinishedSegment) -> None:
        """Return when the segment is durable at the target.

        A segment may come again, after an error or a restart, also if the call before succeeded:
        its name says that it is the same. LaterError and RefusedError as they say; any other
        exception is as LaterError. The call is cancelled after `deliver.PUT_SECONDS`.
        """
        ...

    async def close(self) -> None:
        """Release connections; nothing is put afterwards."""
        ...


class Store(Protocol):
    """Answers queries from what sinks of one or several servers have put at a target."""

    @property
    def keep(self) -> Keep:
        """How long its data are kept."""
        ...

    async def ask(self, query: TrafficQuery) -> Answer:
        """The answer; UsageError for a query that it cannot answer, KznError if it is away."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


@dataclass(frozen=True, slots=True)
class SinkPlugin:
    """A sink under its entry point's name, which is also the scheme of its URL.

    ``open`` makes the sink of a server from ``--sink``; it raises UsageError for a URL that it does
    not understand, and does not connect.
    """

    name: str
    open: Callable[[Target], Sink]
    form: str
    """The form of its URL, for errors and help."""
    open_store: Callable[[Target], Store] | None = None
    """Makes what answers from the target, for ``--history-store``; None if it cannot answer."""
    api: int = API
