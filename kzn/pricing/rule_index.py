"""The rules of one list by what they are for, so that a long list answers as fast as a short one.

In: rules in their order. Out: the first that applies. Never: another rule than a scan would find.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate

from kzn.pricing.declaration import ANY, Rule

_WILD = re.compile(r"[*?\[]")
_MOST_REGIONS = 10_000
"""Regions of senders that are remembered: regions come from labels of nodes, which may change."""

_Test = Callable[[str], object]


class RuleIndex:
    """Answers as a scan of ``rules`` does.

    A list that was imported has ten rules or more for each region of a sender; those that are for
    one class, price class and sender are found once, and are few.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._tests: dict[tuple[str, ...], _Test] = {}
        self._rules: dict[tuple[str, str], list[tuple[_Test, _Test, Rule]]] = {}
        self._of_sender: dict[tuple[str, str, str], list[tuple[_Test, Rule]]] = {}
        for rule in rules:
            tests = self._test(rule.src_regions), self._test(rule.dst_regions)
            self._rules.setdefault((rule.cls, rule.price_class), []).append((*tests, rule))

    def first(self, cls: str, src_region: str, dst_region: str, price_class: str) -> Rule | None:
        """The first rule that applies."""
        key = cls, price_class, src_region
        if (found := self._of_sender.get(key)) is None:
            rules = self._rules.get((cls, price_class), ())
            found = [(dst, rule) for src, dst, rule in rules if src(src_region)]
            if len(self._of_sender) >= _MOST_REGIONS:
                self._of_sender.clear()
            self._of_sender[key] = found
        return next((rule for matches, rule in found if matches(dst_region)), None)

    def _test(self, globs: tuple[str, ...]) -> _Test:
        """A test of regions; rules with the same regions share it."""
        if (found := self._tests.get(globs)) is None:
            found = self._tests[globs] = _test_of(globs)
        return found


def _test_of(globs: Sequence[str]) -> _Test:
    if globs == ANY:
        return _is_any
    if not any(map(_WILD.search, globs)):
        return frozenset(globs).__contains__
    return re.compile("|".join(map(translate, globs))).match


def _is_any(_region: str) -> bool:
    return True
