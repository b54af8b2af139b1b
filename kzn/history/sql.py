"""A query as SQL: the statements that answer it from one relation of flows. Pure.

In: a `TrafficQuery` and an expression for the relation. Out: statements and their parameters; text
from outside is a parameter, never part of a statement.

The relation has the columns of kzn.history.columns. All statements of a query have the same rows
below them, so that rows, rest and total add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kzn.history.columns import KEYS
from kzn.history.query import END_DIMENSIONS, NAMED, Source, TrafficQuery
from kzn.history.segments import Level

Parameter = str | int | list[str]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with ``?`` and the parameters in their order."""

    sql: str
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class Statements:
    """What answers a query.

    ``groups`` makes a temporary table, which ``total`` (groups, bytes, packets, before) and
    ``rows`` (values, bytes, packets, before) read. The series have bucket and bytes, after the
    values of a row; they are None without points.
    """

    groups: Statement
    total: Statement
    rows: Statement
    series: Statement | None
    total_series: Statement | None


def compile_query(query: TrafficQuery, relation: Statement, step: int) -> Statements:
    """The statements of an aligned query over ``relation``, an expression for FROM."""
    where = _where(query)
    source = f"FROM {relation.sql} WHERE {where.sql}"
    parameters = (*relation.parameters, *where.parameters)
    names = [f"d{number}" for number, _ in enumerate(query.by)]
    values = [f"{expression(name)} AS d{number}" for number, name in enumerate(query.by)]
    listed, columns = ", ".join(values), ", ".join(names)
    is_now = f"time >= {_timestamp(query.begin)}"
    sums = (
        f"coalesce(sum(CASE WHEN {is_now} THEN bytes END), 0) AS bytes,"
        f" coalesce(sum(CASE WHEN {is_now} THEN packets END), 0) AS packets,"
        f" coalesce(sum(CASE WHEN NOT {is_now} THEN bytes END), 0) AS before"
    )
    head = f"{listed}, " if names else ""
    by = f" GROUP BY {columns}" if names else " HAVING count(*) > 0"
    tail = f"{columns}, " if names else ""
    order = "".join(f", {name}::VARCHAR" for name in names)
    top = f"(SELECT * FROM groups ORDER BY bytes DESC{order} LIMIT {query.limit})"
    series = total_series = None
    if query.points:
        bucket = f"(epoch(time)::BIGINT - {query.begin}) // {step} AS bucket"
        now = f"SELECT {head}{bucket}, bytes {source} AND {is_now}"
        joined = " AND ".join(f"now.{name} = top.{name}" for name in names) or "true"
        qualified = "".join(f"now.{name}, " for name in names)
        series = Statement(
            f"SELECT {qualified}bucket, sum(now.bytes) FROM ({now}) AS now"
            f" JOIN {top} AS top ON {joined} GROUP BY {qualified}bucket",
            parameters,
        )
        total_series = Statement(
            f"SELECT bucket, sum(bytes) FROM ({now}) AS now GROUP BY bucket", parameters
        )
    return Statements(
        groups=Statement(
            f"CREATE OR REPLACE TEMP TABLE groups AS SELECT {head}{sums} {source}{by}", parameters
        ),
        total=Statement("SELECT count(*), sum(bytes), sum(packets), sum(before) FROM groups"),
        rows=Statement(f"SELECT {tail}bytes, packets, before FROM {top} AS top"),
        series=series,
        total_series=total_series,
    )


def compile_export(
    query: TrafficQuery, relation: Statement | None, step: int, source: Source
) -> Statement:
    """The groups of an aligned query by name, or without dimensions all columns of its flows.

    Without a relation there are no rows. With points there is a row for each step of time.
    """
    level: Level = {"hours": "hour", "days": "day"}.get(source, "raw")  # type: ignore[assignment]
    names = list(query.by or KEYS[level])
    time = "time" if not query.by else ""
    if query.by and query.points:
        bucket = f"(epoch(time)::BIGINT - {query.begin}) // {step}"
        time = f"make_timestamp(({query.begin} + {bucket} * {step}) * 1000000) AS time"
    listed = [*filter(None, [time]), *(f'{expression(name)} AS "{name}"' for name in names)]
    counts = ("packets", "bytes")
    if relation is None:
        empty = ["NULL::TIMESTAMP AS time"] if time else []
        empty += [f'NULL::{"USMALLINT" if n == "port" else "VARCHAR"} AS "{n}"' for n in names]
        empty += [f"NULL::UBIGINT AS {name}" for name in counts]
        return Statement(f"SELECT {', '.join(empty)} WHERE false")
    where = _where(query)
    listed += [f"sum({name})::UBIGINT AS {name}" for name in counts] if query.by else counts
    tail = " GROUP BY ALL" if query.by else ""
    return Statement(
        f"SELECT {', '.join(listed)} FROM {relation.sql} WHERE {where.sql}{tail}",
        (*relation.parameters, *where.parameters),
    )


def _where(query: TrafficQuery) -> Statement:
    parts = [f"time >= {_timestamp(query.first)}", f"time < {_timestamp(query.end)}"]
    parameters: list[Parameter] = []
    for name, accepted in query.where:
        sides = [f"src_{name}", f"dst_{name}"] if name in END_DIMENSIONS else [name]
        found = [_accepts(side, accepted) for side in sides]
        parts.append("(" + " OR ".join(one.sql for one in found) + ")")
        parameters += [parameter for one in found for parameter in one.parameters]
    return Statement(" AND ".join(parts), tuple(parameters))


def _accepts(name: str, accepted: Sequence[str]) -> Statement:
    value = f"{expression(name)}::VARCHAR"
    marks = ", ".join("?" * len(accepted))
    sql, parameters = f"{value} IN ({marks})", list(accepted)
    side, _, field = name.partition("_")
    if field in NAMED and (names := names_of(accepted)):
        namespace = expression(f"{side}_namespace")
        sql += f" OR ({namespace} <> '' AND concat({namespace}, '/', {value}) IN ({marks}))"
        parameters += accepted
        sql = f"{value} IN ({', '.join('?' * len(names))}) AND ({sql})"
        parameters = [*names, *parameters]
    return Statement(f"({sql})", tuple(parameters))


def names_of(accepted: Sequence[str]) -> list[str]:
    """All names that values of a `NAMED` filter may mean; none if none has a namespace.

    A plain list of names lets an engine skip what has none of them.
    """
    if not any("/" in one for one in accepted):
        return []
    cut = (one[at + 1 :] for one in accepted for at, char in enumerate(one) if char == "/" and at)
    return sorted({*accepted, *cut})


def expression(name: str) -> str:
    """The SQL of a dimension, whose name is one of a closed list."""
    if name.startswith("cause_"):
        field = name.removeprefix("cause_")
        return f"(CASE WHEN initiator = 'destination' THEN dst_{field} ELSE src_{field} END)"
    return f'"{name}"'


def _timestamp(seconds: int) -> str:
    return f"make_timestamp({max(seconds, -(10**11)) * 1_000_000})"
