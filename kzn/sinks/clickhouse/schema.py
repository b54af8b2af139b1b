"""The tables in ClickHouse: rows of minutes, and rollups by materialised views. Pure.

The columns are those of the history's files. The version is in the names of the tables, so that
another layout can be filled beside this one.
"""

from kzn.history.columns import DETAIL, DIRECTION, KEYS, OF_NODE, RECEIVED, SENT
from kzn.history.retention import Keep
from kzn.history.segments import HOUR, Level

TABLES: dict[Level, str] = {
    "raw": "kzn_flows_v1",
    "hour": "kzn_flows_hour_v1",
    "day": "kzn_flows_day_v1",
    "node_hour": "kzn_flows_node_hour_v1",
    "node_day": "kzn_flows_node_day_v1",
}
SEGMENT = "segment"
"""A column that tells where rows come from; empty where the engine knows repeats by itself."""
MODERN = (22, 3)
"""Since then: Parquet, insert tokens without replication, TTL."""
ORDERED = (23, 5)
"""Since then: a setting that keeps the order of Parquet's rows, which was fixed before."""
WINDOW = 10_000
"""Inserts of which an engine knows a repeat: a week of minutes."""
_FIRST = ("cluster", "dst_workload", "src_workload", "dst_namespace", "src_namespace")
_FIRST_OF_NODES = ("cluster", DIRECTION, "src_node", "dst_node")


def columns(level: Level) -> tuple[str, ...]:
    """The columns of files and tables of a level."""
    return ("time", *KEYS[level], "packets", "bytes")


def create(keep: Keep, version: tuple[int, int]) -> list[str]:
    """The statements that make what is not there."""
    return [
        *(_table(level, keep, version) for level in TABLES),
        *(_view(level) for level in TABLES if level != "raw"),
    ]


def _table(level: Level, keep: Keep, version: tuple[int, int]) -> str:
    is_modern = version >= MODERN
    listed = [f"    {_quoted(name)} {_type(name, is_modern)}" for name in columns(level)]
    keys = [*(_FIRST_OF_NODES if is_of_nodes(level) else _FIRST), "time"]
    engine = "MergeTree"
    if level == "raw":
        listed.append(f"    {SEGMENT} String DEFAULT ''")
    else:
        engine = "SummingMergeTree((packets, bytes))"
        keys += [name for name in KEYS[level] if name not in keys]
    parts = [
        f"CREATE TABLE IF NOT EXISTS {TABLES[level]} (\n" + ",\n".join(listed) + "\n)",
        f"ENGINE = {engine}",
        f"PARTITION BY {'toYYYYMMDD' if level == 'raw' else 'toYYYYMM'}(time)",
        f"ORDER BY ({', '.join(map(_quoted, keys))})",
    ]
    if is_modern:
        parts.append(f"TTL time + INTERVAL {keep.of(level) // HOUR} HOUR")
        parts.append(f"SETTINGS non_replicated_deduplication_window = {WINDOW}")
    return "\n".join(parts)


def _view(level: Level) -> str:
    keys = ", ".join(map(_quoted, KEYS[level]))
    values, source = keys, TABLES["raw"]
    if is_of_nodes(level):  # each flow twice, as kzn.history.columns has it
        values = ", ".join(map(_of_direction, KEYS[level]))
        source += f" ARRAY JOIN ['{SENT}', '{RECEIVED}'] AS {DIRECTION}"
    rounded = "toStartOfHour(time)" if level in {"hour", "node_hour"} else "toStartOfDay(time)"
    return (
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {TABLES[level]}_view TO {TABLES[level]} AS\n"
        f"SELECT {rounded} AS time, {values},\n"
        "    sum(packets) AS packets, sum(bytes) AS bytes\n"
        f"FROM {source} GROUP BY time, {keys}"
    )


def is_of_nodes(level: Level) -> bool:
    """Whether it is a rollup of nodes."""
    return level in {"node_hour", "node_day"}


def _of_direction(name: str) -> str:
    side, _, field = name.partition("_")
    if field not in OF_NODE:
        return _quoted(name)
    kept = SENT if side == "src" else RECEIVED
    return f"if({DIRECTION} = '{kept}', {_quoted(name)}, '') AS {_quoted(name)}"


def _type(name: str, is_modern: bool) -> str:
    numbers = {"time": "DateTime('UTC')", "port": "UInt16", "packets": "UInt64", "bytes": "UInt64"}
    if name in numbers:
        return numbers[name]
    is_detail = name.removeprefix("src_").removeprefix("dst_") in DETAIL
    return "LowCardinality(String)" if is_modern and not is_detail else "String"


def _quoted(name: str) -> str:
    return f'"{name}"'
