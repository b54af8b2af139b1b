"""Runs the programs of bench/ in turn and prints a table, or one JSON object a line.

    python bench/lib/every.py [--json] [NAME...]

If a program fails, its row has the error, and the exit code is 1.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BENCH = Path(__file__).parents[1]
MAX_SECONDS = 1800.0
COLUMNS = ("name", "ours", "baseline", "ratio", "unit")


def main() -> int:
    """Run and print; 0 if every program succeeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one object a line")
    parser.add_argument("names", nargs="*", help="programs of bench/; default: all")
    options = parser.parse_args()
    found = {path.stem: path for path in sorted(BENCH.glob("*.py"))}
    unknown = [name for name in options.names if name not in found]
    if unknown:
        parser.error(f"bench/ has no {', '.join(unknown)}; it has {', '.join(found)}")
    rows: list[dict[str, Any]] = []
    for name in options.names or found:
        began = time.monotonic()
        print(f"bench: {name} ...", file=sys.stderr, flush=True)
        row = run(name, found[name])
        row["seconds_taken"] = round(time.monotonic() - began)
        rows.append(row)
        if options.json:
            print(json.dumps(row), flush=True)
    if not options.json:
        print(table(rows))
    return int(any("error" in row for row in rows))


def run(name: str, program: Path) -> dict[str, Any]:
    """The result of one program: the JSON object on its last line."""
    command = [sys.executable, str(program), "--json"]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, timeout=MAX_SECONDS
        )
        row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        return {"name": name, "error": str(error)}
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """One line for each program, then its other figures."""
    head = [COLUMNS, *([str(row.get(key, "")) for key in COLUMNS] for row in rows)]
    widths = [max(len(cells[i]) for cells in head) for i in range(len(COLUMNS))]
    lines = ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in head]
    for row in rows:
        more = {key: value for key, value in row.items() if key not in COLUMNS}
        lines += ["", row["name"], *(f"  {key}: {value}" for key, value in more.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
