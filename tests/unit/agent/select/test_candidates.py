"""Candidates that cannot run here: every reason is told, once."""

from dataclasses import replace

import pytest

from kzn.agent.select.candidates import Candidates
from kzn.errors import UnsupportedError
from kzn.probes import clsact, postrouting, tcx
from kzn.probes.declaration import Feature, Probe

ALL = (postrouting.PROBE, tcx.PROBE, clsact.PROBE)


def refused(*rows: tuple[Probe, str, str]) -> Candidates:
    able = Candidates(ALL, {})
    for probe, reason, hint in rows:
        message = f"probe {probe.name}: {reason}\nthe verifier's log"
        able = able.without(probe, UnsupportedError(message, hint=hint))
    return able


def test_when_none_can_run_every_reason_is_told_and_the_first_hint() -> None:
    rows = [(p, f"no {p.name}", f"do {p.name}") for p in ALL]
    error = refused(*rows).none()
    assert error.message == (
        "no probe can run here: postrouting: no postrouting; tcx: no tcx; clsact: no clsact"
    )
    assert (error.hint, error.exit_code) == ("do postrouting", 3)


def test_a_reason_that_all_have_is_told_once() -> None:
    error = refused(*((p, "this kernel has no BTF", "") for p in ALL)).none()
    assert error.message == "no probe can run here: this kernel has no BTF"


def test_where_none_is_installed_that_may_be_chosen_it_says_so() -> None:
    with pytest.raises(UnsupportedError, match="no probe is installed that auto may choose"):
        Candidates.of([])


def test_a_probe_that_needs_what_no_kernel_has_is_left_out() -> None:
    feature = Feature("no_such_type", "nonsense", "nothing")
    odd = [replace(p, features=(feature,)) for p in ALL]
    with pytest.raises(UnsupportedError, match="this kernel has no nonsense"):
        Candidates.of(odd)


@pytest.mark.parametrize(
    ("chosen", "alternatives"),
    [
        (postrouting.PROBE, ("tcx",)),
        (tcx.PROBE, ("postrouting",)),
        (clsact.PROBE, ("postrouting",)),
    ],
)
def test_those_of_another_place_are_alternatives_and_one_of_each(
    chosen: Probe, alternatives: tuple[str, ...]
) -> None:
    assert Candidates(ALL, {}).alternatives(chosen) == alternatives
    assert refused((tcx.PROBE, "no tcx", "")).alternatives(clsact.PROBE) == ("postrouting",)
    assert refused((tcx.PROBE, "no tcx", "")).alternatives(postrouting.PROBE) == ("clsact",)
