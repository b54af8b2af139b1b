"""The installed sinks: entry points of the group ``kzn.sinks``, usable ones and broken ones."""

import logging
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint

from kzn.errors import UsageError
from kzn.plugins import BrokenPlugin, load_plugins, registered
from kzn.sinks.declaration import API, Sink, SinkPlugin, Store
from kzn.sinks.target import Target, parse_target

log = logging.getLogger(__name__)

GROUP = "kzn.sinks"


def installed(points: Iterable[EntryPoint] | None = None) -> list[SinkPlugin | BrokenPlugin]:
    """All registered sinks by name; a broken one is logged and never raises."""
    found = load_plugins(registered(GROUP) if points is None else points, SinkPlugin, _problem)
    for sink in found:
        if isinstance(sink, BrokenPlugin):
            log.warning("sink %s cannot be used: %s", sink.name, sink.reason)
    return found


def find(name: str, sinks: Iterable[SinkPlugin | BrokenPlugin]) -> SinkPlugin:
    """The sink of that name; UsageError if it is not installed or broken."""
    sinks = list(sinks)
    for sink in sinks:
        if sink.name != name:
            continue
        if isinstance(sink, SinkPlugin):
            return sink
        raise UsageError(f"sink {name} is broken: {sink.reason}")
    usable = [sink.form for sink in sinks if isinstance(sink, SinkPlugin)]
    raise UsageError(f"unknown sink {name!r}", hint=f"installed: {', '.join(usable) or 'none'}")


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


def _problem(name: str, sink: SinkPlugin) -> str:
    """Why a declaration under an entry point of this name cannot be used; empty if it can."""
    if sink.api != API:
        return f"it was written for sink API {sink.api}, this kzn has {API}"
    if sink.name != name:
        return f"its entry point is named {name!r}, its declaration {sink.name!r}"
    return ""
