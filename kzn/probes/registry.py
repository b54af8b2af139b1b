"""Which probes are installed: the entry points of ``kzn.probes``, good ones and broken ones."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from kzn.errors import UsageError
from kzn.probes.declaration import API, Probe

log = logging.getLogger(__name__)

GROUP = "kzn.probes"
DEFAULT = "postrouting"


@dataclass(frozen=True, slots=True)
class BrokenProbe:
    """An entry point that gave no usable declaration, and why."""

    name: str
    reason: str


def installed(points: Iterable[EntryPoint] | None = None) -> list[Probe | BrokenProbe]:
    """All registered probes by name; a plugin that fails is a `BrokenProbe`, never an exception."""
    found = entry_points(group=GROUP) if points is None else points
    return [_load(point) for point in sorted(found, key=lambda point: point.name)]


def find(name: str, probes: list[Probe | BrokenProbe]) -> Probe:
    """The probe of that name; ``auto`` is the default one. UsageError when there is none."""
    wanted = DEFAULT if name == "auto" else name
    for probe in probes:
        if probe.name != wanted:
            continue
        if isinstance(probe, Probe):
            return probe
        raise UsageError(f"probe {name} is broken: {probe.reason}", hint="see kzn probes")
    known = ", ".join(probe.name for probe in probes) or "none"
    raise UsageError(f"there is no probe {name!r}", hint=f"installed: {known}")


def _load(point: EntryPoint) -> Probe | BrokenProbe:
    try:
        probe = point.load()
    except Exception as error:  # noqa: BLE001 - a plugin may fail in any way; it must not take kzn along
        return _broken(point, f"{point.value} does not load: {type(error).__name__}: {error}")
    if not isinstance(probe, Probe):
        return _broken(point, f"{point.value} is a {type(probe).__name__}, not a Probe")
    if probe.api != API:
        return _broken(point, f"it is made for probe API {probe.api}, this kzn has {API}")
    if probe.name != point.name:
        return _broken(point, f"its entry point is {point.name!r}, it calls itself {probe.name!r}")
    return probe


def _broken(point: EntryPoint, reason: str) -> BrokenProbe:
    log.warning("probe %s is left out: %s", point.name, reason)
    return BrokenProbe(point.name, reason)
