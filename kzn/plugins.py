"""Loads the plugins of one entry point group: each is usable, or broken with a reason.

In: entry points (`registered` reads those of the installed packages), and the group's own check.
Out: values of the group's type and `BrokenPlugin`, by name.
Never: an exception because a plugin is broken, or two usable plugins of one name.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from typing import TypeVar

log = logging.getLogger(__name__)

OWN = "kzn"
"""The package of kzn itself: its plugins have precedence over others of the same name."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BrokenPlugin:
    """An entry point without a usable value, and why."""

    name: str
    reason: str


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
