"""Candidates: which cannot run here and why, and which are alternatives to the selected one."""

from dataclasses import replace

import pytest

from kzn.agent.select.candidates import Candidates
from kzn.errors import UnsupportedError
from kzn.probes import clsact, postrouting, tcx
from kzn.probes.declaration import Feature, Probe

ALL = (postrouting.PROBE, tcx.PROBE, clsact.PROBE)


def without(*rows: tuple[Probe, str, str]) -> Candidates:
    left = Candidates(ALL, {})
    for probe, reason, hint in rows:
        message = f"probe {probe.name}: {reason}\nthe verifier's log"
        left = left.without(probe, UnsupportedError(message, hint=hint))
    return left


def test_when_none_can_run_the_error_has_every_reason_and_the_first_hint() -> None:
    rows = [(p, f"no {p.name}", f"do {p.name}") for p in ALL]
    error = without(*rows).none_left()
    assert error.message == (
        "no probe can run here: postrouting: no postrouting; tcx: no tcx; clsact: no clsact"
    )
    assert (error.hint, error.exit_code) == ("do postrouting", 3)


def test_a_reason_that_all_have_is_stated_once() -> None:
    error = without(*((p, "this kernel has no BTF", "") for p in ALL)).none_left()
    assert error.message == "no probe can run here: this kernel has no BTF"


def test_without_an_installed_candidate_the_error_asks_for_a_name() -> None:
    with pytest.raises(UnsupportedError, match="no probe that auto may select is installed"):
        Candidates.of([])


def test_a_probe_that_needs_a_missing_feature_is_not_a_candidate() -> None:
    feature = Feature("no_such_type", "nonsense", "nothing")
    odd = [replace(p, features=(feature,)) for p in ALL]
    with pytest.raises(UnsupportedError, match="this kernel has no nonsense"):
        Candidates.of(odd)


@pytest.mark.parametrize(
    ("selected", "alternatives"),
    [
        (postrouting.PROBE, ("tcx",)),
        (tcx.PROBE, ("postrouting",)),
        (clsact.PROBE, ("postrouting",)),
    ],
)
def test_those_of_another_place_are_alternatives_and_one_of_each(
    selected: Probe, alternatives: tuple[str, ...]
) -> None:
    assert Candidates(ALL, {}).alternatives(selected) == alternatives
    assert without((tcx.PROBE, "no tcx", "")).alternatives(clsact.PROBE) == ("postrouting",)
    assert without((tcx.PROBE, "no tcx", "")).alternatives(postrouting.PROBE) == ("clsact",)
