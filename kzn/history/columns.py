"""The tables of a history and the SQL that fills them. Pure.

Raw files have one row for each minute, pair of ends, port, protocol, class, reason and initiator.
Rollups lack the columns `DETAIL` of both ends; all other columns have the same names. Rollups of
nodes have each flow twice: as ``sent`` with the node of its source, and as ``received`` with that
of its destination. Files of schema 1 lack the columns `ADDED`, which are read as empty there.
"""

from kzn.history.segments import DAY, FOLDERS, HOUR, Level
from kzn.model.settled import End

SCHEMA = 2
"""In the metadata of each file, key ``kzn_history``."""

END_FIELDS = (*End._fields, "provider_id")
"""``provider_id`` is spec.providerID of the end's node."""
DETAIL = ("pod", "node", "address", "provider_id")
"""Fields of an end that only raw files have."""
FLOW_FIELDS = ("port", "protocol", "class", "reason", "initiator", "cluster")
ADDED = ("src_group", "src_provider_id", "dst_group", "dst_provider_id", "cluster")
"""Columns since schema 2."""
ORDER = ("dst_workload", "src_workload", "dst_namespace", "src_namespace", "time")
"""Sorted files are a quarter of the size, and row groups without a workload are skipped."""
ORDER_OF_NODES = ("direction", "src_node", "dst_node", "time")
ROW_GROUP = 32_768
"""Rows; small groups let a reader skip more of them."""

OF_NODE = ("node", "provider_id")
"""Fields of an end that rollups of nodes have of one end alone."""
OF_PLACE = ("zone", "region")
"""Those that they have of both."""
TIMES: dict[Level, int] = {"node_hour": 2}
"""How often a flow is in a file that has it once in the files that it is made of."""
DIRECTION = "direction"
SENT, RECEIVED = "sent", "received"
KEPT_OF_NODES = {
    "src": f"{DIRECTION} = '{SENT}'",
    "dst": f"{DIRECTION} = '{RECEIVED}'",
    "cause": f"({DIRECTION} = '{SENT}') = (initiator <> 'destination')",
}
"""SQL of a rollup of nodes: the rows that have each flow once, with the node of this side."""
_NODE_FLOW = ("class", "reason", "initiator", "cluster")
NODE_FIELDS = frozenset(
    (
        *OF_PLACE,
        *(f"{side}_{name}" for side in ("src", "dst", "cause") for name in (*OF_NODE, *OF_PLACE)),
        *_NODE_FLOW,
    )
)
"""The dimensions and filters that rollups of nodes may have, those of `OF_NODE` of one side."""


def _keys(level: Level) -> tuple[str, ...]:
    if level in {"node_hour", "node_day"}:
        of_ends = [f"{s}_{name}" for s in ("src", "dst") for name in (*OF_NODE, *OF_PLACE)]
        return DIRECTION, *of_ends, *_NODE_FLOW
    fields = [name for name in END_FIELDS if level == "raw" or name not in DETAIL]
    return *(f"{side}_{name}" for side in ("src", "dst") for name in fields), *FLOW_FIELDS


KEYS: dict[Level, tuple[str, ...]] = {level: _keys(level) for level in FOLDERS}
"""The columns of a file but for time, packets and bytes."""

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
INITIATORS = ("unknown", "source", "destination")


def merged(files: str, condition: str = "true") -> str:
    """SELECT of everything in a list of raw files; a minute's late rows stay rows of their own."""
    return f"SELECT * FROM {relation(files)} WHERE {condition}"


def from_files(level: Level, files: str, condition: str = "true") -> str:
    """SELECT of the columns of a rollup from a list of files, as an SQL expression, added up.

    Rollups of hours are made of raw files, those of days of the hours' rollups of their kind. Of
    rows that do not fulfil ``condition`` nothing is in it.
    """
    keys = ", ".join(KEYS[level])
    relation_of = of_directions(files) if level == "node_hour" else relation(files)
    if level == "node_day":
        relation_of = f"read_parquet({files})"
    return f"""SELECT {_trunc(HOUR if level in {"hour", "node_hour"} else DAY)} AS time, {keys},
        sum(packets)::UBIGINT AS packets, sum(bytes)::UBIGINT AS bytes
        FROM {relation_of} WHERE {condition} GROUP BY ALL"""


def of_directions(files: str) -> str:
    """A relation of raw files that has each flow twice, as rollups of nodes have it."""
    nodes = ", ".join(
        f"CASE {DIRECTION} WHEN '{kept}' THEN {side}_{name} ELSE '' END AS {side}_{name}"
        for side, kept in (("src", SENT), ("dst", RECEIVED))
        for name in OF_NODE
    )
    return f"""(SELECT * REPLACE ({nodes})
        FROM {relation(files)} CROSS JOIN (VALUES ('{SENT}'), ('{RECEIVED}')) AS d({DIRECTION}))"""


def of_nodes(side: str, *, has_rollups: bool, has_raw: bool) -> str:
    """A relation of rollups of nodes and of raw files: a parameter for each kind that there is.

    Each flow is in it once, with the node of ``side``: src, dst or cause.
    """
    kept = KEPT_OF_NODES[side]
    names = ", ".join(("time", *KEYS["node_hour"][1:], "packets", "bytes"))
    parts = [f"SELECT {names} FROM read_parquet(?) WHERE {kept}"] * has_rollups
    parts += [f"SELECT {names} FROM {relation('?')}"] * has_raw
    return f"({' UNION ALL '.join(parts)})"


def relation(files: str) -> str:
    """A relation of a list of files, as an SQL expression or a parameter, that has `ADDED`."""
    added = ", ".join(f"coalesce({name}, '') AS {name}" for name in ADDED)
    missing = ", ".join(f"NULL::VARCHAR AS {name}" for name in ADDED)
    return f"""(SELECT * REPLACE ({added}) FROM (
        FROM read_parquet({files}, union_by_name = true)
        UNION ALL BY NAME SELECT {missing} WHERE false))"""


def everything(files: str) -> str:
    """SELECT of the rows of a list of files of one level, in their order."""
    return f"SELECT * FROM read_parquet({files})"


def ordered(select: str, level: Level) -> str:
    """``select`` in the order of a level's files."""
    order = ", ".join(ORDER_OF_NODES if level in {"node_hour", "node_day"} else ORDER)
    return f"{select} ORDER BY {order}"


def copy(select: str, path: str) -> str:
    """COPY of ``select``, which is sorted, to a file; ``path`` is an SQL literal."""
    return f"""COPY ({select}) TO {path}
        (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP},
        KV_METADATA {{kzn_history: '{SCHEMA}'}})"""


def rows_of(files: str) -> str:
    """SELECT of the number of rows in a list of files, from their footers."""
    return f"SELECT sum(num_rows) FROM parquet_file_metadata({files})"


def rows_by(files: str, column: str, condition: str = "true") -> str:
    """SELECT of the values of a column in a list of files, ascending, and their rows."""
    return f"""SELECT {column}, count(*) FROM read_parquet({files}, union_by_name = true)
        WHERE {condition} GROUP BY 1 ORDER BY 1 NULLS LAST"""


def between(column: str, low: str | None, high: str | None) -> str:
    """A condition: the column is from ``low`` to ``high``, both included; None if both are."""
    if low is None or high is None:
        return f"{column} IS NULL"
    return f"{column} >= {literal(low)} AND {column} <= {literal(high)}"


def bytes_by_file(files: str, condition: str) -> str:
    """SELECT of the names of files and their bytes in rows that fulfil ``condition``."""
    return f"""SELECT filename, coalesce(sum(bytes) FILTER ({condition}), 0)
        FROM read_parquet({files}, union_by_name = true, filename = true) GROUP BY 1"""


def totals_of(files: str) -> str:
    """SELECT of the packets and bytes of a list of files."""
    return f"""SELECT coalesce(sum(packets), 0), coalesce(sum(bytes), 0)
        FROM read_parquet({files}, union_by_name = true)"""


def sums_of(files: str) -> str:
    """SELECT of class, packets and bytes of a list of files."""
    return f"""SELECT class, sum(packets), sum(bytes)
        FROM read_parquet({files}, union_by_name = true) GROUP BY class"""


def read_all(level: Level) -> str:
    """SELECT that reads each value of a file, the parameter; an error if it is no file of a level.

    The columns must be there with their types, but for `ADDED`. A maximum of one would need no
    more than the footer, so each value is hashed.
    """
    numbers = "max(epoch(time)), sum(packets), sum(bytes)"
    texts = (name for name in KEYS[level] if name not in {*ADDED, "port"})
    lengths = ", ".join(f"max(strlen({name}))" for name in texts)
    return f"SELECT bit_xor(hash(COLUMNS(*))), {numbers}, {lengths} FROM read_parquet($1)"


def one_line(error: Exception) -> str:
    """The message of DuckDB, without the statement that it ends with."""
    return " ".join(str(error).split("\nLINE ")[0].split())


def literal(text: str) -> str:
    """A string literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def literals(texts: list[str]) -> str:
    """A list literal of SQL."""
    return f"[{', '.join(map(literal, texts))}]"


def _trunc(seconds: int) -> str:
    return f"make_timestamp((epoch(time)::BIGINT // {seconds}) * {seconds} * 1000000)"
