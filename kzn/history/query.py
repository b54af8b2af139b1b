"""One question about past traffic, and its answer: the same for memory, files and engines. Pure.

In: a span, dimensions to group by, filters, a limit. Out: rows that add up: rows + other = total,
in bytes, packets, bytes before, and each point of the series.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from kzn.errors import UsageError
from kzn.history.columns import DETAIL, NODE_FIELDS, OF_NODE
from kzn.history.segments import DAY, HOUR, MINUTE

END_DIMENSIONS = (
    "namespace",
    "workload",
    "workload_kind",
    "pod",
    "node",
    "zone",
    "region",
    "address",
    "kind",
    "group",
    "provider_id",
)
SIDES: tuple[Literal["src", "dst", "cause"], ...] = ("src", "dst", "cause")
FLOW_DIMENSIONS = ("port", "protocol", "class", "reason", "initiator", "cluster")
DIMENSIONS = (
    *(f"{side}_{name}" for side in SIDES for name in END_DIMENSIONS),
    *FLOW_DIMENSIONS,
)
"""What to group by. ``cause`` is the end that opened the connection, the source if unknown."""
FILTERS = (*DIMENSIONS, *END_DIMENSIONS)
"""What to filter by. Without a side: either end."""
NAMED = ("workload", "pod")
"""Dimensions whose filters may be NAMESPACE/NAME."""

MAX_LIMIT = 10_000
MAX_POINTS = 1_000
MAX_BY = 8
MAX_INNER_BY = 20
"""Dimensions of a query that the server makes of another one."""
MAX_CELLS = 1_000_000
"""Rows times points of an answer."""
MAX_VALUES = 100
LONGEST = 800 * DAY
LATEST = (1 << 32) // DAY * DAY
"""The latest end of a span, 2106-02-07: times of ClickHouse have 32 bits, and old versions wrap."""


@dataclass(frozen=True, slots=True)
class TrafficQuery:
    """Flows whose intervals ended in [begin, end) (Unix seconds), largest groups first.

    ``where``: for each dimension its accepted values; all of them must hold. ``points``: how many
    points a series should have about, 0 for no series. ``compare``: also the span of the same
    length before.
    """

    begin: int
    end: int
    by: tuple[str, ...] = ()
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    limit: int = 50
    points: int = 0
    compare: bool = False

    def __post_init__(self) -> None:
        """UsageError for what cannot be asked, with what there is."""
        _check_span(self.begin, self.end)
        for name in self.by:
            if name not in DIMENSIONS:
                raise UsageError(f"{name[:40]!r} is not a dimension", hint=", ".join(DIMENSIONS))
        for name, values in self.where:
            if name not in FILTERS:
                raise UsageError(f"{name[:40]!r} is not a filter", hint=", ".join(FILTERS))
            if len(values) > MAX_VALUES:
                raise UsageError(f"too many values of {name}", hint=f"at most {MAX_VALUES}")
        if len(set(self.by)) != len(self.by) or len(self.by) > MAX_INNER_BY:
            raise UsageError(f"by: at most {MAX_BY} dimensions, each once")
        if self.limit * self.points > MAX_CELLS:
            raise UsageError(
                f"limit {self.limit} with {self.points} points is too much",
                hint=f"at most {MAX_CELLS} numbers in all",
            )
        for option, number, most in (
            ("limit", self.limit, MAX_LIMIT),
            ("points", self.points, MAX_POINTS),
        ):
            if not 0 <= number <= most:
                raise UsageError(f"{option} {number} is out of range", hint=f"0 to {most}")

    @property
    def needs_detail(self) -> bool:
        """Whether only minute data can answer it."""
        names = [*self.by, *(name for name, _ in self.where)]
        return any(name.removeprefix(f"{side}_") in DETAIL for name in names for side in SIDES)

    @property
    def side_of_nodes(self) -> Literal["src", "dst", "cause", ""]:
        """Whose node the rollups of nodes must have to answer it, empty if they cannot.

        They have one node of each flow, its id, the zones and regions of both ends, and no more. A
        query that names no node is answered by those of the source.
        """
        sides: set[Literal["src", "dst", "cause"]] = set()
        for name in (*self.by, *(name for name, _ in self.where)):
            for side in SIDES:
                field = name.removeprefix(f"{side}_")
                if field != name and field in OF_NODE:
                    sides.add(side)
            if name not in NODE_FIELDS:
                return ""
        if len(sides) > 1:
            return ""
        return next(iter(sides), "src")

    def aligned(self, unit: int) -> "TrafficQuery":
        """The query with its span widened to whole minutes, hours or days."""
        begin = self.begin // unit * unit
        return replace(self, begin=begin, end=max(-(-self.end // unit) * unit, begin + unit))

    def step(self, unit: int) -> int:
        """Seconds of a point, a multiple of ``unit``; the whole span without points."""
        length = self.end - self.begin
        if not self.points:
            return length
        return max(unit, math.ceil(length / self.points / unit) * unit)

    @property
    def first(self) -> int:
        """The begin of all that is read."""
        return self.begin - (self.end - self.begin if self.compare else 0)


def _check_span(begin: int, end: int) -> None:
    if not 0 <= begin < end:
        raise UsageError("the span is empty", hint="from must be before to")
    if end > LATEST:
        raise UsageError("the span ends after 2106-02-07", hint="times are in seconds")
    if end - begin > LONGEST:
        raise UsageError("the span is too long", hint=f"at most {LONGEST // DAY} days")


@dataclass(frozen=True, slots=True)
class Measure:
    """Sums of one group. ``before`` without ``compare`` and ``series`` without points are None."""

    bytes: int = 0
    packets: int = 0
    before: int | None = None
    series: tuple[int, ...] | None = None

    def minus(self, rows: Sequence["Measure"]) -> "Measure":
        """What is left without ``rows``."""
        before, series = self.before, self.series
        if before is not None:
            before -= sum(row.before or 0 for row in rows)
        if series is not None:
            columns = zip(*(row.series or () for row in rows), strict=True)
            sums = [sum(column) for column in columns] or [0] * len(series)
            series = tuple(a - b for a, b in zip(series, sums, strict=True))
        return Measure(
            self.bytes - sum(row.bytes for row in rows),
            self.packets - sum(row.packets for row in rows),
            before,
            series,
        )

    def to_json(self) -> dict[str, Any]:
        """The keys of an answer."""
        found: dict[str, Any] = {"bytes": self.bytes, "packets": self.packets}
        if self.before is not None:
            found["before"] = self.before
        if self.series is not None:
            found["series"] = list(self.series)
        return found


Value = str | int
Source = Literal["memory", "minutes", "hours", "days"]


@dataclass(frozen=True, slots=True)
class Row:
    """A group: the values of the dimensions, in the order of the query, and its sums."""

    values: tuple[Value, ...]
    measure: Measure


@dataclass(frozen=True, slots=True)
class MissingSpan:
    """A span in which bytes are missing, or of which nothing is known."""

    begin: int
    end: int
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a query whose span may have been widened to what the data has.

    ``of`` is the number of groups. Before ``complete_from`` and from ``complete_to`` on there is no
    data, or not all.
    """

    query: TrafficQuery
    step: int
    rows: tuple[Row, ...]
    total: Measure
    of: int
    source: Source
    complete_from: int | None
    complete_to: int | None = None
    gaps: tuple[MissingSpan, ...] = field(default=())

    @property
    def other(self) -> Measure:
        """All groups that are not among the rows."""
        return self.total.minus([row.measure for row in self.rows])

    def to_json(self) -> dict[str, Any]:
        """The object of an answer."""
        query = self.query
        return {
            "from": query.begin,
            "to": query.end,
            "step": self.step,
            "by": list(query.by),
            "rows": [
                dict(zip(query.by, row.values, strict=True)) | row.measure.to_json()
                for row in self.rows
            ],
            "other": self.other.to_json(),
            "total": self.total.to_json(),
            "of": self.of,
            "complete_from": self.complete_from,
            "complete_to": self.complete_to,
            "gaps": [{"from": gap.begin, "to": gap.end, "reason": gap.reason} for gap in self.gaps],
            "source": self.source,
        }


def query_from_wire(found: Any) -> TrafficQuery:
    """The query of ``asdict`` as JSON."""
    where = tuple((name, tuple(values)) for name, values in found["where"])
    return TrafficQuery(**{**found, "by": tuple(found["by"]), "where": where})


UNITS: dict[Source, int] = {"memory": MINUTE, "minutes": MINUTE, "hours": HOUR, "days": DAY}
"""Seconds of the finest step that a source has."""


def matches(name: str, accepted: Sequence[str], value: Value, namespace: str = "") -> bool:
    """Whether a value of a dimension is one of a filter's; NAMESPACE/NAME for `NAMED`."""
    if str(value) in accepted:
        return True
    is_named = name.removeprefix("src_").removeprefix("dst_").removeprefix("cause_") in NAMED
    return is_named and bool(namespace) and f"{namespace}/{value}" in accepted
