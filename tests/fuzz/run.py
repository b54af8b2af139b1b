"""Fuzzes kzn/wire with atheris (dependency group ``fuzz``): all targets, or one.

    python tests/fuzz/run.py [TARGET] [--runs N] [--seconds S] [--corpus DIR]

Each target runs in a process of its own, from the seeds beside this file; the last line is one
JSON object. New inputs are kept only with --corpus. Exit code 1 is a finding: libFuzzer has written
its input into the working directory.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
MAX_RSS_MB = 512


def fuzz_one(target: str, arguments: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["kzn.wire"]):
        from targets import TARGETS

    atheris.Setup([sys.argv[0], *arguments], TARGETS[target])
    atheris.Fuzz()


def run(target: str, options: argparse.Namespace) -> dict[str, object]:
    """Fuzz one target in a child process; its statistics."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(options.corpus, target) if options.corpus else Path(scratch)
        corpus.mkdir(parents=True, exist_ok=True)
        arguments = [
            f"-runs={options.runs}",
            f"-max_total_time={options.seconds}",
            "-print_final_stats=1",
            f"-rss_limit_mb={MAX_RSS_MB}",
            "-timeout=5",
            "-max_len=4096",
            f"-artifact_prefix=finding-{target}-",
            str(corpus),
            str(HERE / "seeds" / target),
        ]
        child = subprocess.run(
            [sys.executable, __file__, "--child", target, *arguments],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", child.stderr))
    if child.returncode:
        sys.stderr.write(child.stderr[-8000:])
    return {
        "target": target,
        "executions": int(stats.get("number_of_executed_units", 0)),
        "seconds": round(time.monotonic() - began, 1),
        "peak_rss_mb": int(stats.get("peak_rss_mb", 0)),
        "finding": child.returncode != 0,
    }


def main() -> int:
    """Run the targets; print a line for each, and all results as the last line."""
    if sys.argv[1:2] == ["--child"]:
        fuzz_one(sys.argv[2], sys.argv[3:])
    names = sorted(path.name for path in (HERE / "seeds").iterdir())
    parser = argparse.ArgumentParser(description="Fuzz kzn/wire.")
    parser.add_argument("target", nargs="?", choices=names, help="default: all")
    parser.add_argument("--runs", type=int, default=250_000, help="executions of each target")
    parser.add_argument("--seconds", type=int, default=600, help="time limit of each target")
    parser.add_argument("--corpus", help="folder of inputs to start from, where new ones are added")
    options = parser.parse_args()
    rows = []
    for target in [options.target] if options.target else names:
        rows.append(run(target, options))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)  # noqa: T201
    total = sum(int(str(row["executions"])) for row in rows)
    findings = sum(bool(row["finding"]) for row in rows)
    print(json.dumps({"name": "fuzz", "executions": total, "findings": findings, "targets": rows}))  # noqa: T201
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
