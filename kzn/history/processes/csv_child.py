"""Writes a file of the history as CSV on stdout, for engines that cannot read Parquet.

In: arguments: the file, the name of its segment, the columns. Out: rows of these columns, then the
name; times as Unix seconds. Never: an import of DuckDB into the server, or more than `MEMORY`.
"""

import sys

import duckdb

from kzn.history.columns import literal, literals, relation

MEMORY = "256MB"


def main() -> None:
    """Write the rows."""
    path, segment, names = sys.argv[1:]
    listed = ", ".join(
        "epoch(time)::BIGINT AS time" if name == "time" else f'"{name}"'
        for name in names.split(",")
    )
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": MEMORY,
        "temp_directory": "",
    }
    with duckdb.connect(":memory:", config=config) as db:
        db.execute("SET timezone = 'UTC'")
        db.execute(
            f"COPY (SELECT {listed}, {literal(segment)} AS segment"  # noqa: S608 - as the names of columns
            f" FROM {relation(literals([path]))})"
            " TO '/dev/stdout' (FORMAT csv, HEADER false, FORCE_QUOTE *, NULLSTR '')"
        )


if __name__ == "__main__":
    main()
