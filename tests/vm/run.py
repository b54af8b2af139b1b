"""Runs the guest suite on other kernels in QEMU: ``python tests/vm/run.py [VERSION ...]``.

Each guest is a kernel of a Debian package and an initramfs with a root file system, the project
and its tests. Without KVM it is emulated (TCG), which is slow, with the same results.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import merge
import table
from debian import SUITES, kernel
from machine import Outcome, Setup, accelerator, boot, row_of
from rootfs import PROJECT

CACHE = Path(os.environ.get("KZN_VM_CACHE", Path.home() / ".cache" / "kzn-vm"))
PAGE = PROJECT / "docs" / "kernels.md"
LIMITS = {"smoke": 1500.0, "table": 3600.0, "whole": 5400.0, "smp": 3600.0}
"""Time limit of a guest in seconds, by suite; KZN_VM_SECONDS overrides it."""
CPUS = {"smp": ("8", "16,sockets=4,cores=16,maxcpus=64", "64")}
"""QEMU's -smp of the guests of a suite, one guest for each; those of other suites have 2 CPUs.

A kernel that does not know its hypervisor expects CPUs to come in further sockets only.
"""
PASSED_ON = ("KZN_VM_TESTS", "KZN_SMP_RUNS")
"""Environment variables that guests have too."""
COMPARED = ("baseline", "empty")
"""Programs of the bench with which `smp` compares costs; a guest has no compiler."""

_print_lock = Lock()


def main() -> int:
    """Run the suite on the kernels named as arguments (default: all) and print a summary."""
    given = _arguments()
    if given.check_table:
        found = list(table.problems(given.page.read_text(), tuple(SUITES)))
        print("\n".join(found) or f"{given.page.name} has all cells of the suite")
        return 1 if found else 0
    if given.rows:
        rows = [row for path in given.rows for row in _rows(path)]
        return _write(rows, given) if given.write_table else _judge(rows, given)
    CACHE.mkdir(parents=True, exist_ok=True)
    print(f"kernels {', '.join(given.versions)}, suite {given.suite}, {accelerator()}", flush=True)
    kernels = {version: kernel(version, CACHE) for version in given.versions}
    guests = [(version, setup) for version in kernels for setup in _setups(given)]
    with ThreadPoolExecutor(given.jobs) as pool:
        outcomes = list(
            pool.map(
                lambda guest: boot(
                    guest[0], kernels[guest[0]], CACHE, guest[1], _say(guest[0], guest[1])
                ),
                guests,
            )
        )
    return _summary(outcomes, given)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=", ".join(SUITES))
    parser.add_argument("--suite", choices=LIMITS, default="whole", help="smoke: minutes, for CI")
    parser.add_argument("--jobs", type=int, default=1, help="guests at a time")
    parser.add_argument("--cpus", action="append", help="QEMU's -smp; once for each guest")
    parser.add_argument(
        "--rows",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="boot nothing: take the rows from outputs of earlier runs, the last one of each cell",
    )
    parser.add_argument("--write-table", action="store_true", help="write the results to the page")
    parser.add_argument("--check-table", action="store_true", help="check the page, boot nothing")
    parser.add_argument("--page", type=Path, default=PAGE, help="docs/kernels.md")
    given = parser.parse_args()
    given.versions = given.versions or list(SUITES)
    given.cpus = given.cpus or CPUS.get(given.suite, ("2",))
    unknown = [version for version in given.versions if version not in SUITES]
    if unknown:
        parser.error(f"unknown kernel {', '.join(unknown)}; known are {', '.join(SUITES)}")
    if given.write_table and given.suite == "smoke":
        parser.error("--write-table needs all cells: --suite table, or whole")
    return given


def _setups(given: argparse.Namespace) -> list[Setup]:
    """The guests of a suite, for each kernel."""
    environment = {"KZN_VM_SUITE": given.suite}
    environment |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    limit = float(os.environ.get("KZN_VM_SECONDS", LIMITS[given.suite]))
    files = {}
    if given.suite == "smp":
        files = {f"kzn/bench/{name}.o": _compiled(name) for name in COMPARED}
    return [Setup(environment, limit, cpus, files) for cpus in given.cpus]


def _compiled(name: str) -> bytes:
    sys.path += [str(PROJECT), str(PROJECT / "bench")]
    from lib.testrun import compile_object  # needs kzn, which other suites do not

    return compile_object(PROJECT / "bench" / "lib" / "bpf" / f"{name}.bpf.c")


def _say(version: str, setup: Setup) -> Callable[[str], None]:
    cpus = setup.cpus.partition(",")[0]
    head = version if cpus == "2" else f"{version}, {cpus} CPUs "

    def say(line: str) -> None:
        with _print_lock:
            print(f"{head:<5}| {line}", flush=True)

    return say


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows in the output of an earlier run."""
    return [row for line in path.read_text(errors="replace").splitlines() if (row := row_of(line))]


def _judge(rows: Sequence[Mapping[str, Any]], given: argparse.Namespace) -> int:
    """Print what is wrong with rows; 0 if nothing is."""
    bad = list(_problems(rows, given))
    print("\n".join(bad) or f"{len(rows)} rows, all as expected")
    return 1 if bad else 0


def _write(rows: list[dict[str, Any]], given: argparse.Namespace) -> int:
    """Write rows to the page if all of their kernels are there and as expected.

    The page keeps what it has of other kernels, and of cells that these rows do not have.
    """
    page = given.page.read_text()
    if given.suite == "smp":
        if not _judge(rows, given):
            given.page.write_text(table.put(page, table.rendered_smp(rows), table.SMP_MARKS))
            return 0
        return 1
    together = merge.merged(page, rows, tuple(SUITES))
    mine = [row for row in together if row["kernel"] in {row["kernel"] for row in rows}]
    if _judge(mine, given):
        return 1
    given.page.write_text(table.put(page, table.rendered(together)))
    return 0


def _problems(rows: Sequence[Mapping[str, Any]], given: argparse.Namespace) -> Iterator[str]:
    """What is wrong or missing in the rows of each of their kernels."""
    if given.suite == "smp":
        yield from table.wrong_smp(rows)
        return
    if not rows:
        yield "no results"
    for release in dict.fromkeys(row["kernel"] for row in rows):
        yield from table.wrong(table.cells(rows), release)
        yield from table.wrong_auto(rows, release)
        devices = table.device_cells(rows)
        yield from table.wrong_devices(devices, release, table.devices_of(given.suite))


def _summary(outcomes: list[Outcome], given: argparse.Namespace) -> int:
    """Print the guests and their cells; 0 if all results are as expected."""
    print("\nkernel                         CPUs  suite    seconds  exact  refused")
    rows = [row for outcome in outcomes for row in outcome.rows]
    for outcome in outcomes:
        words, how = table.results(outcome.rows), "passed" if outcome.passed else "FAILED"
        print(
            f"{outcome.release:<30} {outcome.cpus.partition(',')[0]:<5} {how:<8}"
            f" {outcome.seconds:>7.0f}  {words.count('exact'):>5}  {words.count('refused'):>7}"
        )
    bad = 0 if "KZN_VM_TESTS" in os.environ else _judge(rows, given)
    if bad or not all(outcome.passed for outcome in outcomes):
        return 1
    return _write(rows, given) if given.write_table else 0


if __name__ == "__main__":
    sys.exit(main())
