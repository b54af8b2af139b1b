"""The plugins of an entry point group: each is usable, or broken with a reason.

In: entry points (`registered` reads those of the installed packages), and the group's own check.
Out: values of the group's type and `BrokenPlugin`, by name.
Never: an exception because a plugin is broken, or two usable plugins of one name.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from typing import Generic, Protocol, TypeVar

from kzn.errors import UsageError

log = logging.getLogger(__name__)

OWN = "kzn"
"""The package of kzn itself: its plugins have precedence over others of the same name."""


class Declared(Protocol):
    """What a plugin of any group declares: see `PluginGroup`."""

    @property
    def name(self) -> str:
        """The name of its entry point."""
        ...

    @property
    def api(self) -> int:
        """The version of the group's interface that it was written for."""
        ...


T = TypeVar("T")
D = TypeVar("D", bound=Declared)


@dataclass(frozen=True, slots=True)
class BrokenPlugin:
    """An entry point without a usable value, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class PluginGroup(Generic[D]):
    """The plugins of the entry point group ``name``, each a ``kind`` for the version ``api``.

    ``noun`` is what one is called. ``problem`` returns why one cannot be used, or an empty string.
    ``hint`` goes with the error of a broken one.
    """

    name: str
    noun: str
    kind: type[D]
    api: int
    problem: Callable[[D], str] = lambda _plugin: ""
    hint: str = ""

    def installed(self, points: Iterable[EntryPoint] | None = None) -> list[D | BrokenPlugin]:
        """All registered ones by name; a broken one is logged and never raises."""
        points = registered(self.name) if points is None else points
        found = load_plugins(points, self.kind, self._problem)
        for plugin in found:
            if isinstance(plugin, BrokenPlugin):
                log.warning("%s %s cannot be used: %s", self.noun, plugin.name, plugin.reason)
        return found

    def usable(self, plugins: Iterable[D | BrokenPlugin]) -> list[D]:
        """Those that can be used."""
        return [plugin for plugin in plugins if isinstance(plugin, self.kind)]

    def find(self, name: str, plugins: Iterable[D | BrokenPlugin], known: str = "") -> D:
        """The one of that name; UsageError, which shows ``known`` or all names, if it is not there.

        UsageError also if it is broken.
        """
        plugins = list(plugins)
        for plugin in plugins:
            if plugin.name != name:
                continue
            if isinstance(plugin, self.kind):
                return plugin
            assert isinstance(plugin, BrokenPlugin)  # noqa: S101 - by the type of the list
            raise UsageError(f"{self.noun} {name} is broken: {plugin.reason}", hint=self.hint)
        known = known or ", ".join(plugin.name for plugin in plugins) or "none"
        raise UsageError(f"unknown {self.noun} {name!r}", hint=f"installed: {known}")

    def _problem(self, name: str, plugin: D) -> str:
        if plugin.api != self.api:
            return f"it was written for {self.noun} API {plugin.api}, this kzn has {self.api}"
        if plugin.name != name:
            return f"its entry point is named {name!r}, its declaration {plugin.name!r}"
        return self.problem(plugin)


def registered(group: str) -> list[EntryPoint]:
    """The group's entry points in all installed packages.

    A package with a damaged list of entry points is left out, with a line in the log.
    """
    try:
        return list(entry_points(group=group))
    except Exception:  # noqa: BLE001 - one package's list is damaged, in whichever group: find it
        return [point for package in distributions() for point in _points_of(package, group)]


def load_plugins(
    points: Iterable[EntryPoint], kind: type[T], problem: Callable[[str, T], str]
) -> list[T | BrokenPlugin]:
    """Import each entry point, in the order of the names.

    ``kind`` is the type of a usable plugin. ``problem`` is called with the entry point's name and
    value and returns why it is not usable, or an empty string. If several packages register one
    name, none of theirs is used, unless one package is kzn itself: then kzn's is.
    """
    by_name: dict[str, list[EntryPoint]] = {}
    for point in sorted(
        set(points), key=lambda point: (point.name, not _is_own(point), point.value)
    ):
        by_name.setdefault(point.name, []).append(point)
    return [row for same in by_name.values() for row in _rows(same, kind, problem)]


def _points_of(package: Distribution, group: str) -> list[EntryPoint]:
    try:
        return list(package.entry_points.select(group=group))
    except Exception as error:  # noqa: BLE001 - a parser may fail in any way on a damaged file
        log.warning("cannot read the entry points of package %s: %s", package.name, error)
        return []


def _rows(
    same: list[EntryPoint], kind: type[T], problem: Callable[[str, T], str]
) -> Iterator[T | BrokenPlugin]:
    """The rows of one name: a usable one is first."""
    first, *others = same
    if others and not _is_own(first):
        packages = ", ".join(map(_source, same))
        yield BrokenPlugin(first.name, f"several packages register this name: {packages}")
        return
    own_or_only = _load(first, kind, problem)
    yield own_or_only
    for other in others:
        reason = f"{_source(other)} registers a name that kzn itself has; kzn's own is used"
        yield BrokenPlugin(other.name, reason)


def _load(point: EntryPoint, kind: type[T], problem: Callable[[str, T], str]) -> T | BrokenPlugin:
    try:
        value = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin's module may raise anything
        reason = f"{point.value} does not load: {type(error).__name__}: {error}"
        return BrokenPlugin(point.name, reason)
    if not isinstance(value, kind):
        reason = f"{point.value} is of type {type(value).__name__}, not {kind.__name__}"
        return BrokenPlugin(point.name, reason)
    reason = problem(point.name, value)
    return BrokenPlugin(point.name, reason) if reason else value


def _is_own(point: EntryPoint) -> bool:
    return point.value.partition(".")[0] == OWN


def _source(point: EntryPoint) -> str:
    """The package that registers an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
