"""The installed probes: entry points of the group ``kzn.probes``, usable ones and broken ones."""

from kzn.plugins import BrokenPlugin, PluginGroup
from kzn.probes.declaration import API, Probe

GROUP = "kzn.probes"
AUTO = "auto"
"""As a probe's name: the agent selects one of those that declare a place in `Probe.auto`."""


def _problem(probe: Probe) -> str:
    if probe.name == AUTO:
        return f"a probe cannot be named {AUTO!r}, which lets the agent select one"
    return ""


_PROBES = PluginGroup(GROUP, "probe", Probe, API, _problem, hint="see kzn probes")
installed, find = _PROBES.installed, _PROBES.find


def candidates(name: str, probes: list[Probe | BrokenPlugin]) -> list[Probe]:
    """The probe of that name alone; for `AUTO` all that declare a place, lowest first.

    UsageError when there is none of that name.
    """
    if name != AUTO:
        return [find(name, probes)]
    eligible = [p for p in probes if isinstance(p, Probe) and p.auto is not None]
    return sorted(eligible, key=lambda probe: (probe.auto, probe.name))
