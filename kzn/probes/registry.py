"""The installed probes: entry points of the group ``kzn.probes``, usable ones and broken ones."""

import logging
from collections.abc import Iterable
from importlib.metadata import EntryPoint

from kzn.errors import UsageError
from kzn.plugins import BrokenPlugin, load_plugins, registered
from kzn.probes.declaration import API, Probe

log = logging.getLogger(__name__)

GROUP = "kzn.probes"
AUTO = "auto"
"""As a probe's name: the agent selects one of those that declare a place in `Probe.auto`."""


def installed(points: Iterable[EntryPoint] | None = None) -> list[Probe | BrokenPlugin]:
    """All registered probes by name; a broken one is logged and never raises."""
    found = load_plugins(registered(GROUP) if points is None else points, Probe, _problem)
    for probe in found:
        if isinstance(probe, BrokenPlugin):
            log.warning("probe %s cannot be used: %s", probe.name, probe.reason)
    return found


def find(name: str, probes: list[Probe | BrokenPlugin]) -> Probe:
    """The probe of that name; UsageError if it is not installed or broken."""
    for probe in probes:
        if probe.name != name:
            continue
        if isinstance(probe, Probe):
            return probe
        raise UsageError(f"probe {name} is broken: {probe.reason}", hint="see kzn probes")
    known = ", ".join(probe.name for probe in probes) or "none"
    raise UsageError(f"unknown probe {name!r}", hint=f"installed: {known}")


def candidates(name: str, probes: list[Probe | BrokenPlugin]) -> list[Probe]:
    """The probe of that name alone; for `AUTO` all that declare a place, lowest first.

    UsageError when there is none of that name.
    """
    if name != AUTO:
        return [find(name, probes)]
    eligible = [p for p in probes if isinstance(p, Probe) and p.auto is not None]
    return sorted(eligible, key=lambda probe: (probe.auto, probe.name))


def _problem(name: str, probe: Probe) -> str:
    """Why a declaration under an entry point of this name cannot be used; empty if it can."""
    if probe.api != API:
        return f"it was written for probe API {probe.api}, this kzn has {API}"
    if probe.name == AUTO:
        return f"a probe cannot be named {AUTO!r}, which lets the agent select one"
    if probe.name != name:
        return f"its entry point is named {name!r}, its declaration {probe.name!r}"
    return ""
