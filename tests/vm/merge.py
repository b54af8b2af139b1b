"""Rows of a page's tables, and what a run adds to them.

In: a page, and rows of guests. Out: the rows of both, the last one of each cell. Never: a result of
another release of a kernel that has been run again.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import table

Row = Mapping[str, Any]
REFUSED = re.compile(r'`(\w+)`: "([^"]*)"')


def merged(page: str, rows: Sequence[Row], versions: Iterable[str]) -> list[Row]:
    """The rows of the page, with those of a run in their place, ordered by ``versions``."""
    found: dict[tuple[object, ...], Row] = {}
    releases = {row["kernel"] for row in rows}
    for row in [*of_page(page), *rows]:
        if not any(_replaces(release, row["kernel"], versions) for release in releases):
            found[_cell(row)] = row
    order = {version: number for number, version in enumerate(versions)}

    def position(row: Row) -> int:
        return min((at for v, at in order.items() if table.is_of(row["kernel"], v)), default=-1)

    return sorted(found.values(), key=position)


def _replaces(release: str, other: str, versions: Iterable[str]) -> bool:
    """Whether two different releases are of one version."""
    return release != other and any(
        table.is_of(release, version) and table.is_of(other, version) for version in versions
    )


def _cell(row: Row) -> tuple[object, ...]:
    names = ("kernel", "probe", "family", "traffic", "device", "smp", "cpus", "possible")
    return tuple(row.get(name) for name in names)


def of_page(page: str) -> Iterator[Row]:
    """The rows of the first three tables of a page, without cells that were not tried."""
    kernels = dict(_kernels(page))
    reasons = {kernel: dict(REFUSED.findall(words[3])) for kernel, words in kernels.items()}
    layouts = {kernel: words[0] for kernel, words in kernels.items()}
    for (kernel, probe, family, kind), result in table.read(page).items():
        if result != table.MISSING:
            row = {"kernel": kernel, "layout": layouts[kernel], "probe": probe, "family": family}
            why = {"reason": reasons[kernel][probe]} if probe in reasons[kernel] else {}
            yield row | {"traffic": kind, "result": result} | why
    for kernel, words in kernels.items():
        if words[2] != table.MISSING:
            row = {"kernel": kernel, "layout": words[0], "probe": "auto"}
            yield row | {"takes": words[1].strip("`"), "result": words[2]}
    devices: dict[tuple[str, str], dict[str, str]] = {}
    for (kernel, probe, device), result in table.read_devices(page).items():
        if result != table.MISSING:
            devices.setdefault((kernel, device), {})[probe] = result
    for (kernel, device), results in devices.items():
        yield {"kernel": kernel, "layout": layouts[kernel], "device": device} | results


def _kernels(page: str) -> Iterator[tuple[str, list[str]]]:
    """Layout, choice of `auto`, its result, and refusals, by kernel."""
    inside = False
    for words in table.lines(page):
        if words[0] == table.DEVICE_COLUMN:
            return
        inside = words[1] == table.LAYOUT_COLUMN or (inside and len(words) == 5)
        if inside and words[0] != "kernel":
            yield words[0], words[1:]
