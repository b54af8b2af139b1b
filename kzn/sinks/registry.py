"""The installed sinks: entry points of the group ``kzn.sinks``, usable ones and broken ones."""

from collections.abc import Iterable, Sequence

from kzn.errors import UsageError
from kzn.plugins import BrokenPlugin, PluginGroup
from kzn.sinks.declaration import API, Sink, SinkPlugin, Store
from kzn.sinks.target import Target, parse_target

GROUP = "kzn.sinks"


_SINKS = PluginGroup(GROUP, "sink", SinkPlugin, API)
installed = _SINKS.installed


def find(name: str, sinks: Iterable[SinkPlugin | BrokenPlugin]) -> SinkPlugin:
    """The sink of that name; UsageError if it is not installed or broken."""
    sinks = list(sinks)
    forms = ", ".join(sink.form for sink in _SINKS.usable(sinks)) or "none"
    return _SINKS.find(name, sinks, known=forms)


def parse_targets(urls: Sequence[str]) -> tuple[Target, ...]:
    """The targets of ``--sink``; UsageError if one cannot be, or two have one name or place."""
    targets = tuple(map(parse_target, urls))
    names = [target.name for target in targets]
    places = [target.place for target in targets]
    for target in targets:
        if names.count(target.name) > 1:
            raise UsageError(
                f"two sinks are named {target.name!r}", hint="give one of them ?name=OTHER"
            )
        if places.count(target.place) > 1:
            raise UsageError(
                f"two sinks are {target.shown}", hint="its rows would be there twice: name it once"
            )
    open_sinks(targets)  # which does not connect
    return targets


def parse_store(url: str) -> Target:
    """The target of ``--history-store``; UsageError if it cannot be."""
    target = parse_target(url)
    open_store(target)  # which does not connect
    return target


def open_sinks(
    targets: Iterable[Target], sinks: list[SinkPlugin | BrokenPlugin] | None = None
) -> dict[str, Sink]:
    """The sinks of the targets by name; UsageError for one that cannot be."""
    known = installed() if sinks is None else sinks
    return {target.name: find(target.scheme, known).open(target) for target in targets}


def open_store(target: Target, sinks: list[SinkPlugin | BrokenPlugin] | None = None) -> Store:
    """What answers from a target; UsageError for a sink that cannot answer."""
    plugin = find(target.scheme, installed() if sinks is None else sinks)
    if plugin.open_store is None:
        raise UsageError(f"{target.shown}: the sink {plugin.name} takes segments, it cannot answer")
    return plugin.open_store(target)
