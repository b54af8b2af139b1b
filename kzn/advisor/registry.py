"""The installed rules: entry points of the group ``kzn.advice``, usable and broken ones."""

import logging
from collections.abc import Iterable
from importlib.metadata import EntryPoint

from kzn.advisor.declaration import API, Rule
from kzn.plugins import BrokenPlugin, load_plugins, registered

log = logging.getLogger(__name__)

GROUP = "kzn.advice"


def installed(points: Iterable[EntryPoint] | None = None) -> list[Rule | BrokenPlugin]:
    """All registered rules by name; a broken one is logged and never raises."""
    found = load_plugins(registered(GROUP) if points is None else points, Rule, _problem)
    for one in found:
        if isinstance(one, BrokenPlugin):
            log.warning("rule %s cannot be used: %s", one.name, one.reason)
    return found


def usable(rules: Iterable[Rule | BrokenPlugin]) -> list[Rule]:
    """Those that can be used."""
    return [one for one in rules if isinstance(one, Rule)]


def _problem(name: str, one: Rule) -> str:
    """Why a rule under an entry point of this name cannot be used; empty if it can."""
    if one.api != API:
        return f"it was written for rule API {one.api}, this kzn has {API}"
    if one.name != name:
        return f"its entry point is named {name!r}, its declaration {one.name!r}"
    return ""
