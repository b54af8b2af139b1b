"""Writes a file of the history as CSV on stdout, for engines that cannot read Parquet.

In: arguments: the file, the name of its segment, the first row, the columns. Out: rows, always in
the same order, of the name and these columns; times as Unix seconds. The last column is a number in
quotes, so that a part of a row is not a row. Never: an import of DuckDB into the server, or more
than `MEMORY`.
"""

import sys

import duckdb

from kzn.history.columns import literal, literals, relation

MEMORY = "256MB"


def main() -> None:
    """Write the rows."""
    path, segment, first, names = sys.argv[1:]
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
            f"COPY (SELECT {literal(segment)} AS segment, {listed}"  # noqa: S608 - as the names of columns
            f" FROM {relation(literals([path]))} OFFSET {int(first)})"
            " TO '/dev/stdout' (FORMAT csv, HEADER false, FORCE_QUOTE *, NULLSTR '')"
        )


if __name__ == "__main__":
    main()
