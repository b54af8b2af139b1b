"""Which probes are installed: the entry points of ``kzn.probes``, good ones and broken ones."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points

from kzn.errors import UsageError
from kzn.probes.declaration import API, Probe

log = logging.getLogger(__name__)

GROUP = "kzn.probes"
AUTO = "auto"
"""The name that stands for a choice among those that declare a place in it."""


@dataclass(frozen=True, slots=True)
class BrokenProbe:
    """An entry point that gave no usable declaration, and why."""

    name: str
    reason: str


def installed(points: Iterable[EntryPoint] | None = None) -> list[Probe | BrokenProbe]:
    """All registered probes by name; a plugin that fails is a `BrokenProbe`, never an exception.

    Of two packages with one name neither is taken, unless one is kzn itself.
    """
    found = set(_registered() if points is None else points)
    by_name: dict[str, list[EntryPoint]] = {}
    for point in sorted(found, key=lambda point: (point.name, not _is_own(point), point.value)):
        by_name.setdefault(point.name, []).append(point)
    return [row for same in by_name.values() for row in _rows(same)]


def find(name: str, probes: list[Probe | BrokenProbe]) -> Probe:
    """The probe of that name. UsageError when there is none."""
    for probe in probes:
        if probe.name != name:
            continue
        if isinstance(probe, Probe):
            return probe
        raise UsageError(f"probe {name} is broken: {probe.reason}", hint="see kzn probes")
    known = ", ".join(probe.name for probe in probes) or "none"
    raise UsageError(f"there is no probe {name!r}", hint=f"installed: {known}")


def candidates(name: str, probes: list[Probe | BrokenProbe]) -> list[Probe]:
    """The probe of that name alone; with `AUTO` all that declare a place in the choice, in order.

    UsageError when there is none of that name.
    """
    if name != AUTO:
        return [find(name, probes)]
    willing = [p for p in probes if isinstance(p, Probe) and p.auto is not None]
    return sorted(willing, key=lambda probe: (probe.auto, probe.name))


def _registered() -> list[EntryPoint]:
    try:
        return list(entry_points(group=GROUP))
    except Exception:  # noqa: BLE001 - one package's list is damaged, of whatever group: leave it out
        return [point for package in distributions() for point in _of(package)]


def _of(package: Distribution) -> list[EntryPoint]:
    try:
        return list(package.entry_points.select(group=GROUP))
    except Exception as error:  # noqa: BLE001 - as above
        log.warning("the entry points of package %s cannot be read: %s", package.name, error)
        return []


def _rows(same: list[EntryPoint]) -> Iterator[Probe | BrokenProbe]:
    """The rows of one name: a usable one is first."""
    first, *others = same
    if others and not _is_own(first):
        yield _broken(first, f"several packages have it: {', '.join(map(_source, same))}")
        return
    yield _load(first)
    for other in others:
        yield _broken(other, f"{_source(other)} has it too; kzn's own probe of this name stays")


def _is_own(point: EntryPoint) -> bool:
    return point.value.partition(".")[0] == "kzn"


def _source(point: EntryPoint) -> str:
    """The package that registers a probe."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _load(point: EntryPoint) -> Probe | BrokenProbe:
    try:
        probe = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may fail in any way; it must not take kzn along
        return _broken(point, f"{point.value} does not load: {type(error).__name__}: {error}")
    if not isinstance(probe, Probe):
        return _broken(point, f"{point.value} is a {type(probe).__name__}, not a Probe")
    if probe.api != API:
        return _broken(point, f"it is made for probe API {probe.api}, this kzn has {API}")
    if probe.name == AUTO:
        return _broken(point, f"no probe can be called {AUTO!r}: that stands for a choice")
    if probe.name != point.name:
        return _broken(point, f"its entry point is {point.name!r}, it calls itself {probe.name!r}")
    return probe


def _broken(point: EntryPoint, reason: str) -> BrokenProbe:
    log.warning("probe %s is left out: %s", point.name, reason)
    return BrokenProbe(point.name, reason)
