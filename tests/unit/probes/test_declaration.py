"""A declaration that could never be attached or pinned is no declaration."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kzn.errors import KznError
from kzn.probes import tcx
from kzn.probes.declaration import NetfilterHook, Probe
from kzn.probes.postrouting import PROBE


def test_a_hook_without_a_priority_is_refused() -> None:
    with pytest.raises(ValueError, match="hook ipv4 has no priorities"):
        NetfilterHook("ipv4", "postrouting_ipv4", 4, priorities=())


def test_a_probe_without_a_hook_is_refused() -> None:
    with pytest.raises(ValueError, match="probe postrouting has no hooks"):
        replace(PROBE, hooks=())


@pytest.mark.parametrize("name", ["", "../up", "with.dot", "postrouting+new", "Upper", "x" * 33])
def test_a_name_that_is_no_name_of_a_pin_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a probe"):
        replace(PROBE, name=name)


def test_a_probe_has_hooks_of_one_kind() -> None:
    with pytest.raises(ValueError, match="hooks of several kinds"):
        replace(PROBE, hooks=(*PROBE.hooks, *tcx.PROBE.hooks))


HOOK = NetfilterHook("ipv4", "postrouting_ipv4", 4, priorities=(50,))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("family", "inet", "'inet' is no family"),
        ("family", 2, "NetfilterHook.family is a int, not a str"),
        ("program", "post routing", "is no name of a program"),
        ("program", "\N{LATIN SMALL LETTER E WITH ACUTE}", "is no name of a program"),
        ("hook", 5, "there is no netfilter hook 5"),
        ("priorities", [50], "priorities is a list, not a tuple"),
        ("priorities", (50, "51"), "'51' is no priority"),
        ("priorities", ((1 << 31) - 1,), "is no priority"),
    ],
)
def test_a_hook_that_others_wrote_down_wrongly_is_told(field: str, value: Any, reason: str) -> None:
    with pytest.raises((ValueError, TypeError), match=reason):
        replace(HOOK, **{field: value})


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("hooks", HOOK, "hooks is a NetfilterHook, not a tuple"),
        ("hooks", ("ipv4",), "Probe.hooks holds a str"),
        ("hooks", (HOOK, HOOK), "two hooks of one name"),
        ("features", ("bpf_nf_ctx",), "Probe.features holds a str"),
        ("capabilities", (12,), "Probe.capabilities holds a int"),
        ("name", None, "Probe.name is a NoneType"),
        ("resource", b"it.o", "Probe.resource is a bytes"),
        ("api", "1", "Probe.api is a str"),
    ],
)
def test_a_probe_that_others_wrote_down_wrongly_is_told(
    field: str, value: Any, reason: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=reason):
        replace(PROBE, **{field: value})


def test_a_probe_says_for_which_number_of_the_contract_it_is() -> None:
    with pytest.raises(TypeError, match="api"):
        Probe("x", "", "p", "o", (HOOK,), ())  # type: ignore[call-arg]


def test_a_package_that_fails_when_its_object_is_looked_for_is_an_incomplete_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kzn_test_half.py").write_text("raise RuntimeError('half')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KznError, match="half"):
        replace(PROBE, package="kzn_test_half").image()
