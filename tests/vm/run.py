"""Runs the guest suite on other kernels in QEMU: ``python tests/vm/run.py [VERSION ...]``.

Each guest is a kernel of a Debian package and an initramfs with a root file system, the project
and its tests. Without KVM it is emulated (TCG), which is slow, with the same results.
"""

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import table
from debian import SUITES, kernel
from machine import Outcome, accelerator, boot
from rootfs import PROJECT, root

CACHE = Path(os.environ.get("KZN_VM_CACHE", Path.home() / ".cache" / "kzn-vm"))
PAGE = PROJECT / "docs" / "kernels.md"
LIMITS = {"smoke": 1500.0, "table": 1800.0, "whole": 5400.0}
"""Time limit of a guest in seconds, by suite; KZN_VM_SECONDS overrides it."""

_print_lock = Lock()


def main() -> int:
    """Run the suite on the kernels named as arguments (default: all) and print a summary."""
    given = _arguments()
    if given.check_table:
        found = list(table.problems(given.page.read_text(), tuple(SUITES)))
        print("\n".join(found) or f"{given.page.name} has all cells of the suite")
        return 1 if found else 0
    CACHE.mkdir(parents=True, exist_ok=True)
    print(f"kernels {', '.join(given.versions)}, suite {given.suite}, {accelerator()}", flush=True)
    root(CACHE)
    kernels = {version: kernel(version, CACHE) for version in given.versions}
    with ThreadPoolExecutor(given.jobs) as pool:
        outcomes = list(
            pool.map(
                lambda item: boot(*item, CACHE, *_suite(given), _say(item[0])), kernels.items()
            )
        )
    return _summary(outcomes, given)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=", ".join(SUITES))
    parser.add_argument("--suite", choices=LIMITS, default="whole", help="smoke: minutes, for CI")
    parser.add_argument("--jobs", type=int, default=1, help="guests at a time")
    parser.add_argument("--write-table", action="store_true", help="write the results to the page")
    parser.add_argument("--check-table", action="store_true", help="check the page, boot nothing")
    parser.add_argument("--page", type=Path, default=PAGE, help="docs/kernels.md")
    given = parser.parse_args()
    given.versions = given.versions or list(SUITES)
    unknown = [version for version in given.versions if version not in SUITES]
    if unknown:
        parser.error(f"unknown kernel {', '.join(unknown)}; known are {', '.join(SUITES)}")
    if given.write_table and set(given.versions) != set(SUITES):
        parser.error("--write-table needs the results of all kernels: name none, or all")
    if given.write_table and given.suite == "smoke":
        parser.error("--write-table needs all cells: --suite table, or whole")
    return given


def _suite(given: argparse.Namespace) -> tuple[dict[str, str], float]:
    """The environment of a guest, and its time limit in seconds."""
    environment = {"KZN_VM_SUITE": given.suite}
    if tests := os.environ.get("KZN_VM_TESTS"):
        environment["KZN_VM_TESTS"] = tests
    return environment, float(os.environ.get("KZN_VM_SECONDS", LIMITS[given.suite]))


def _say(version: str) -> Callable[[str], None]:
    def say(line: str) -> None:
        with _print_lock:
            print(f"{version:<5}| {line}", flush=True)

    return say


def _summary(outcomes: list[Outcome], given: argparse.Namespace) -> int:
    """Print the guests and their cells; 0 if all results are as expected."""
    print("\nkernel                         suite    seconds  exact  refused")
    rows, bad = [row for outcome in outcomes for row in outcome.rows], []
    for outcome in outcomes:
        words = [*table.cells(outcome.rows).values(), *table.device_cells(outcome.rows).values()]
        print(
            f"{outcome.release:<30} {'passed' if outcome.passed else 'FAILED':<8}"
            f" {outcome.seconds:>7.0f}  {words.count('exact'):>5}  {words.count('refused'):>7}"
        )
        if "KZN_VM_TESTS" not in os.environ:
            bad += table.wrong(table.cells(outcome.rows), outcome.release)
            devices = table.device_cells(outcome.rows)
            bad += table.wrong_devices(devices, outcome.release, table.devices_of(given.suite))
    print("\n".join(bad))
    if bad or not all(outcome.passed for outcome in outcomes):
        return 1
    if given.write_table:
        given.page.write_text(table.put(given.page.read_text(), table.rendered(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
