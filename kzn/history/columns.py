"""The tables of a history and the SQL that fills them. Pure.

Raw files have one row for each minute, pair of ends, port, protocol, class, reason and initiator.
Rollups lack the columns pod, node and address of both ends; all other columns have the same names.
"""

from kzn.history.segments import DAY, HOUR, Level
from kzn.model.settled import End

SCHEMA = 1
"""In the metadata of each file, key ``kzn_history``."""

END_FIELDS = End._fields
DETAIL = ("pod", "node", "address")
"""Fields of an end that only raw files have."""
FLOW_FIELDS = ("port", "protocol", "class", "reason", "initiator")
ORDER = ("dst_workload", "src_workload", "dst_namespace", "src_namespace", "time")
"""Sorted files are a quarter of the size, and row groups without a workload are skipped."""
ROW_GROUP = 122_880

KEYS: dict[Level, tuple[str, ...]] = {
    level: (
        *(
            f"{side}_{name}"
            for side in ("src", "dst")
            for name in END_FIELDS
            if level == "raw" or name not in DETAIL
        ),
        *FLOW_FIELDS,
    )
    for level in ("raw", "hour", "day")
}
"""The columns of a file but for time, packets and bytes."""

CREATE_ENDS = "CREATE OR REPLACE TABLE ends (id INTEGER, {})".format(
    ", ".join(f"{name} VARCHAR" for name in END_FIELDS)
)
INSERT_ENDS = "INSERT INTO ends SELECT unnest($1::INTEGER[]), {}".format(
    ", ".join(f"unnest(${number}::VARCHAR[])" for number, _ in enumerate(END_FIELDS, 2))
)
CREATE_VERDICTS = "CREATE OR REPLACE TABLE verdicts (id UTINYINT, class VARCHAR, reason VARCHAR)"
CREATE_INITIATORS = (
    "CREATE OR REPLACE TABLE initiators AS SELECT * FROM"
    " (VALUES (0::UTINYINT, 'unknown'), (1, 'source'), (2, 'destination')) AS t(id, initiator)"
)
CREATE_PROTOCOLS = (
    "CREATE OR REPLACE TABLE protocols AS SELECT range::UTINYINT AS id, CASE range"
    " WHEN 1 THEN 'icmp' WHEN 6 THEN 'tcp' WHEN 17 THEN 'udp' WHEN 58 THEN 'icmpv6'"
    " WHEN 132 THEN 'sctp' ELSE range::VARCHAR END AS protocol FROM range(256)"
)


def from_rows() -> str:
    """SELECT of the raw columns from the table ``rows`` of ids, joined with the names."""
    ends = ", ".join(
        f"{side}.{name} AS {side}_{name}" for side in ("src", "dst") for name in End._fields
    )
    return f"""SELECT make_timestamp(r.time * 1000000) AS time, {ends},
        r.port, p.protocol, v.class, v.reason, i.initiator, r.packets, r.bytes
        FROM rows r JOIN ends src ON src.id = r.src JOIN ends dst ON dst.id = r.dst
        JOIN verdicts v ON v.id = r.verdict JOIN protocols p ON p.id = r.protocol
        JOIN initiators i ON i.id = r.initiator"""


def from_files(level: Level, files: str) -> str:
    """SELECT of the columns of ``level`` from a list of files, as an SQL expression, added up."""
    span = {"raw": "time", "hour": _trunc(HOUR), "day": _trunc(DAY)}[level]
    keys = ", ".join(KEYS[level])
    return f"""SELECT {span} AS time, {keys},
        sum(packets)::UBIGINT AS packets, sum(bytes)::UBIGINT AS bytes
        FROM read_parquet({files}, union_by_name = true) GROUP BY ALL"""


def copy(select: str, path: str) -> str:
    """COPY of ``select`` to a sorted file; ``path`` is an SQL literal."""
    return f"""COPY (SELECT * FROM ({select}) ORDER BY {", ".join(ORDER)}) TO {path}
        (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP},
        KV_METADATA {{kzn_history: '{SCHEMA}'}})"""


def sums_of(files: str) -> str:
    """SELECT of class, packets and bytes of a list of files."""
    return f"""SELECT class, sum(packets), sum(bytes)
        FROM read_parquet({files}, union_by_name = true) GROUP BY class"""


def literal(text: str) -> str:
    """A string literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def literals(texts: list[str]) -> str:
    """A list literal of SQL."""
    return f"[{', '.join(map(literal, texts))}]"


def _trunc(seconds: int) -> str:
    return f"make_timestamp((epoch(time)::BIGINT // {seconds}) * {seconds} * 1000000)"
