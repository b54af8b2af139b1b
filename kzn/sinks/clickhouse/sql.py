"""A query as statements of ClickHouse. Pure.

In: a `TrafficQuery`, a table. Out: SQL for FORMAT JSONCompact; text from outside is a literal.

One statement gives rows, the total over all groups (WITH TOTALS) and the number of groups (rows
before LIMIT), so that they add up while rows are being inserted. With points and dimensions a
second one gives rows, total and their series, with all other groups as one: an engine holds no
series of a group that is not shown.
"""

from collections.abc import Sequence

from kzn.history.query import END_DIMENSIONS, NAMED, TrafficQuery
from kzn.history.sql import expression, names_of

_ESCAPED = {"\\": "\\\\", "'": "\\'", "\0": "\\0"}


def literal(text: str) -> str:
    """A string literal."""
    return "'" + "".join(_ESCAPED.get(char, char) for char in text) + "'"


def compile_query(query: TrafficQuery, table: str, step: int, *, is_modern: bool) -> str:
    """The statement for the largest groups of an aligned query.

    Its columns: one for each dimension, bytes, packets, bytes before, rows of the table; without
    dimensions and with points the series: an array, or for an old engine two, numbers of points and
    their bytes.
    """
    names = [f"d{number}" for number, _ in enumerate(query.by)]
    listed = [f"{expression(name)} AS d{number}" for number, name in enumerate(query.by)]
    listed += _sums(query, step, is_modern=is_modern, has_series=bool(query.points) and not names)
    sql = f"SELECT {', '.join(listed)} FROM {table} WHERE {_where(query)}"
    if names:
        order = "".join(f", toString({name})" for name in names)
        sql += f" GROUP BY {', '.join(names)} WITH TOTALS ORDER BY b DESC{order}"
        sql += f" LIMIT {max(query.limit, 1)}"
    return f"{sql} FORMAT JSONCompact"


def compile_series(query: TrafficQuery, table: str, step: int, *, is_modern: bool) -> str:
    """The statement for the series of the largest groups.

    Its columns: 1 for such a group and 0 for all others together, then as `compile_query` without
    dimensions and with points, after the values.
    """
    values = [expression(name) for name in query.by]
    names = [f"d{number}" for number, _ in enumerate(values)]
    listed = [f"{value} AS {name}" for value, name in zip(values, names, strict=True)]
    order = "".join(f", toString({name})" for name in names)
    where = f"FROM {table} WHERE {_where(query)}"
    top = (
        f"SELECT {', '.join(names)} FROM (SELECT {', '.join(listed)},"
        f" sum(if({_is_now(query)}, bytes, 0)) AS b {where} GROUP BY {', '.join(names)}"
        f" ORDER BY b DESC{order} LIMIT {query.limit})"
    )
    keys = [f"({', '.join(values)}) IN ({top}) AS h"]
    for number, (name, value) in enumerate(zip(query.by, values, strict=True)):
        keys.append(f"if(h, {value}, {0 if name == 'port' else literal('')}) AS k{number}")
    sums = _sums(query, step, is_modern=is_modern, has_series=True)
    grouped = ", ".join(["h", *(f"k{number}" for number, _ in enumerate(values))])
    return (
        f"SELECT {', '.join([*keys, *sums])} {where} GROUP BY {grouped} WITH TOTALS"
        " FORMAT JSONCompact"
    )


def _is_now(query: TrafficQuery) -> str:
    return f"(time >= toDateTime({query.begin}))"


def _sums(query: TrafficQuery, step: int, *, is_modern: bool, has_series: bool) -> list[str]:
    is_now = _is_now(query)
    listed = [
        f"sum(if({is_now}, bytes, 0)) AS b",
        f"sum(if({is_now}, packets, 0)) AS p",
        f"sum(if({is_now}, 0, bytes)) AS f",
        "count() AS n",
    ]
    if has_series:
        point = f"intDiv(toInt64(toUInt32(time)) - {query.begin}, {step})"
        point, size = f"toUInt32(if({is_now}, {point}, 0))", f"if({is_now}, bytes, 0)"
        points = -(-(query.end - query.begin) // step)
        listed.append(
            f"sumResample(0, {points}, 1)({size}, {point}) AS s"
            if is_modern
            else f"sumMap([{point}], [{size}]) AS s"
        )
    return listed


def _where(query: TrafficQuery) -> str:
    begin = max(query.first, 0)
    parts = [f"time >= toDateTime({begin})", f"time < toDateTime({query.end})"]
    for name, accepted in query.where:
        sides = [f"src_{name}", f"dst_{name}"] if name in END_DIMENSIONS else [name]
        parts.append("(" + " OR ".join(_accepts(side, accepted) for side in sides) + ")")
    return " AND ".join(parts)


def _accepts(name: str, accepted: Sequence[str]) -> str:
    if not accepted:
        return "0"
    value = f"toString({expression(name)})" if name == "port" else expression(name)
    literals = ", ".join(map(literal, accepted))
    sql = f"{value} IN ({literals})"
    side, _, field = name.partition("_")
    if field in NAMED and (names := names_of(accepted)):
        namespace = expression(f"{side}_namespace")
        sql += f" OR ({namespace} <> '' AND concat({namespace}, '/', {value}) IN ({literals}))"
        sql = f"{value} IN ({', '.join(map(literal, names))}) AND ({sql})"
    return f"({sql})"
