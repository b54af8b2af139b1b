"""The table of docs/kernels.md: written from the results of guests, and checked.

In: rows as the guest suite prints them. Out: Markdown between two markers of a page, or problems.
Never: hides a failed cell, or omits a cell that was not tried.
"""

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "guest"))
from cells import (
    COST,
    COSTS,
    DEVICES,
    FAMILIES,
    PROBES,
    SMOKE,
    SMP,
    TRAFFIC,
    lacking,
    on_devices,
)

BEGIN, END = "<!-- results of `make vm` -->", "<!-- end of results -->"
MARKS = (BEGIN, END)
SMP_MARKS = ("<!-- results on many CPUs -->", "<!-- end of results on many CPUs -->")
NAMES = {"ipv4": "IPv4", "ipv6": "IPv6"}
MISSING = "not tried"
DEVICE_COLUMN = "devices or protocol"
LAYOUT_COLUMN = "layout of the maps"
Key = tuple[str, str, str, str]
"""Release, probe, family and traffic of a cell."""
DeviceKey = tuple[str, str, str]
"""Release, probe and device of a cell of the second table."""
SHOWN = {"flows": "flows", "rows": "in rows", "hash": "in the hash", "packets": "packets"}
"""Numbers of a row that its cell has too, with their units."""


def cells(rows: Sequence[Mapping[str, Any]]) -> dict[Key, str]:
    """The result of each cell: exact, refused, or FAILED."""
    found: dict[Key, str] = {}
    for row in rows:
        if "traffic" in row:
            key = (row["kernel"], row["probe"], row["family"], row["traffic"])
            found[key] = row["result"]
    return found


def results(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The results of all cells of the three tables."""
    smp = [row["result"] for row in rows if "smp" in row]
    return [*cells(rows).values(), *device_cells(rows).values(), *smp]


def is_of(release: str, version: str) -> bool:
    """Whether a kernel is of a version, such as 6.12."""
    return re.match(rf"{re.escape(version)}\b", release) is not None


def devices_of(suite: str) -> Collection[str]:
    """The devices that a suite of the guests tries."""
    return SMOKE if suite == "smoke" else DEVICES


def device_cells(rows: Sequence[Mapping[str, Any]]) -> dict[DeviceKey, str]:
    """The result of each cell of the second table."""
    found: dict[DeviceKey, str] = {}
    for row in rows:
        if "device" in row:
            for probe in on_devices(row["kernel"]):
                result = row.get("result", row.get(probe, MISSING))
                found[row["kernel"], probe, row["device"]] = result
    return found


def rendered(rows: Sequence[Mapping[str, Any]]) -> str:
    """The tables: of traffic, of what `auto` chose with reasons of refusals, and of devices."""
    found = cells(rows)
    lines = [
        _line("kernel", "probe", "family", *TRAFFIC.values()),
        "|---" * (3 + len(TRAFFIC)) + "|",
    ]
    kernels = list(dict.fromkeys(row["kernel"] for row in rows))
    for kernel in kernels:
        for probe in PROBES:
            for family in FAMILIES:
                words = [found.get((kernel, probe, family, kind), MISSING) for kind in TRAFFIC]
                lines.append(_line(kernel, f"`{probe}`", NAMES[family], *words))
    lines += [
        "",
        _line("kernel", LAYOUT_COLUMN, "`--probe auto` takes", "counts", "the others are refused"),
        "|---" * 5 + "|",
    ]
    for kernel in kernels:
        lines.append(_line(kernel, layouts(kernel, rows), *_auto(kernel, rows)))
    lines += ["", *rendered_devices(kernels, rows)]
    return "\n".join(lines) + "\n"


def rendered_devices(kernels: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines of the table of devices."""
    on = [(kernel, probe) for kernel in kernels for probe in on_devices(kernel)]
    found = device_cells(rows)
    return [
        _line(DEVICE_COLUMN, *(f"{kernel} `{probe}`" for kernel, probe in on)),
        "|---" * (1 + len(on)) + "|",
        *(_line(name, *(found.get((*key, name), MISSING) for key in on)) for name in DEVICES),
    ]


def _auto(kernel: str, rows: Sequence[Mapping[str, Any]]) -> tuple[str, str, str]:
    results = [row for row in rows if row["kernel"] == kernel and "probe" in row]
    autos = [row for row in results if row["probe"] == "auto"][-1:]
    why = {row["probe"]: row["reason"] for row in results if row["result"] == "refused"}
    refused = "; ".join(f'`{probe}`: "{reason}"' for probe, reason in why.items())
    if not autos:
        return MISSING, MISSING, refused or "none"
    return f"`{autos[0]['takes']}`", autos[0]["result"], refused or "none"


def _line(*words: str) -> str:
    return f"| {' | '.join(words)} |"


def rendered_smp(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of many CPUs: what was counted, and ratios of costs to the baseline's."""
    on = list(dict.fromkeys(_guest(row) for row in rows if "smp" in row))
    found = {(_guest(row), row["smp"]): row for row in rows if "smp" in row}
    lines = [
        _line("on many CPUs", *(f"{kernel}, {cpus}" for kernel, cpus in on)),
        "|---" * (1 + len(on)) + "|",
        _line(LAYOUT_COLUMN, *(layouts(kernel, rows) for kernel, _ in on)),
        *(_line(name, *(_smp_cell(found.get((key, name), {})) for key in on)) for name in SMP),
    ]
    for name in COSTS:
        rest = [found.get((key, COST), {}).get("ratios", {}).get(name, MISSING) for key in on]
        lines.append(_line(f"cost: {name}", *map(str, rest)))
    return "\n".join(lines) + "\n"


def _guest(row: Mapping[str, Any]) -> tuple[str, str]:
    """The release and the CPUs of a row."""
    cpus, possible = row["cpus"], row["possible"]
    return row["kernel"], f"{cpus} CPUs" if cpus == possible else f"{cpus} of {possible} CPUs"


def _smp_cell(row: Mapping[str, Any]) -> str:
    words = [f"{row[name]:,} {what}" for name, what in SHOWN.items() if name in row]
    return f"{row.get('result', MISSING)}{': ' if words else ''}{', '.join(words)}"


def layouts(kernel: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The layouts of the maps in which the rows of a kernel were counted."""
    words = {word for r in rows if r["kernel"] == kernel for word in str(r["layout"]).split(", ")}
    return ", ".join(sorted(words))


def wrong_smp(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Cells of the third table that are not exact, in the guests that there are; costs may lack."""
    smp = [row for row in rows if "smp" in row]
    if not smp:
        yield "no results on many CPUs"
    for guest in dict.fromkeys(map(_guest, smp)):
        found = {row["smp"]: row["result"] for row in smp if _guest(row) == guest}
        for name in SMP:
            if found.get(name) != "exact":
                yield f"{', '.join(guest)}, {name}: {found.get(name, MISSING)}, not exact"


def wrong_auto(rows: Sequence[Mapping[str, Any]], release: str) -> Iterator[str]:
    """What `--probe auto` counted on a kernel, if not every byte."""
    found = [r["result"] for r in rows if r["kernel"] == release and r.get("probe") == "auto"]
    if found[-1:] != ["exact"]:
        yield f"{release}, auto: {[MISSING, *found][-1]}, not exact"


def put(page: str, table: str, marks: tuple[str, str] = MARKS) -> str:
    """A page with the table between its markers."""
    begin, end = marks
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"the page lacks the markers {begin} and {end}")
    return f"{before}{begin}\n{table}{end}{after}"


def read(page: str) -> dict[Key, str]:
    """The cells of a page's table."""
    families = {name: family for family, name in NAMES.items()}
    found: dict[Key, str] = {}
    for words in lines(page):
        if len(words) == 3 + len(TRAFFIC) and words[2] in families:
            kernel, probe, family = words[0], words[1].strip("`"), families[words[2]]
            for kind, word in zip(TRAFFIC, words[3:], strict=True):
                found[kernel, probe, family, kind] = word
    return found


def read_devices(page: str) -> dict[DeviceKey, str]:
    """The cells of a page's second table."""
    columns: list[list[str]] = []
    found: dict[DeviceKey, str] = {}
    for words in lines(page):
        if words[0] == DEVICE_COLUMN:
            columns = [word.replace("`", "").split() for word in words[1:]]
        elif columns and len(words) == 1 + len(columns):
            for (kernel, probe), word in zip(columns, words[1:], strict=True):
                found[kernel, probe, words[0]] = word
    return found


def lines(page: str) -> Iterator[list[str]]:
    """The cells of each line of a page's tables."""
    between = page.partition(BEGIN)[2].partition(END)[0]
    for line in between.splitlines():
        if line.startswith("| "):
            yield [word.strip() for word in line.strip("| ").split("|")]


def problems(page: str, versions: Sequence[str]) -> Iterator[str]:
    """The cells of the suite that the table of a page lacks, and those with wrong results."""
    found, devices = read(page), read_devices(page)
    for version in versions:
        kernels = {key[0] for key in found if is_of(key[0], version)}
        if len(kernels) != 1:
            yield f"the table has {len(kernels)} kernels {version}, not one"
        for kernel in kernels:
            yield from wrong(found, kernel)
            yield from wrong_devices(devices, kernel)


def wrong(found: Mapping[Key, str], kernel: str) -> Iterator[str]:
    """Cells of a kernel with an unexpected or no result."""
    refused = lacking(kernel)
    for probe in PROBES:
        wanted = "refused" if probe in refused else "exact"
        for family in FAMILIES:
            for kind in TRAFFIC:
                result = found.get((kernel, probe, family, kind), MISSING)
                if result != wanted:
                    yield f"{kernel}, {probe}, {family}, {kind}: {result}, not {wanted}"


def wrong_devices(
    found: Mapping[DeviceKey, str], kernel: str, names: Collection[str] = DEVICES
) -> Iterator[str]:
    """As `wrong`, of devices of the second table."""
    for name in (name for name in DEVICES if name in names):
        for probe in on_devices(kernel):
            wanted = DEVICES[name].get(probe, "exact")
            result = found.get((kernel, probe, name), "missing")
            if result != wanted:
                yield f"{kernel}, {probe}, {name}: {result}, not {wanted}"
