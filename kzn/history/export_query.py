"""What is to be exported: the groups or the flows of a query, a format, a limit. Pure."""

from dataclasses import dataclass
from typing import Literal

from kzn.errors import UsageError
from kzn.history.query import TrafficQuery

Format = Literal["csv", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "parquet")
DEFAULT_ROWS = 1_000_000
MAX_ROWS = 20_000_000


@dataclass(frozen=True, slots=True)
class Export:
    """What to write: the groups of ``query``, or without dimensions its flows, at most ``rows``.

    With points there is a row for each group and step of time.
    """

    query: TrafficQuery
    format: Format = "csv"
    rows: int = DEFAULT_ROWS

    def __post_init__(self) -> None:
        """UsageError for what cannot be exported."""
        if not 1 <= self.rows <= MAX_ROWS:
            raise UsageError(f"limit {self.rows} is out of range", hint=f"1 to {MAX_ROWS}")
        if self.format not in FORMATS:
            raise UsageError(f"{self.format[:40]!r} is not a format", hint=", ".join(FORMATS))
