"""Declarations: wrong values are refused, and hooks answer what depends on their kind."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kzn.errors import KznError
from kzn.probes import clsact, tcx
from kzn.probes.declaration import NetfilterHook, Probe
from kzn.probes.postrouting import PROBE


def test_a_hook_without_a_priority_is_refused() -> None:
    with pytest.raises(ValueError, match="hook ipv4 has no priorities"):
        NetfilterHook("ipv4", "postrouting_ipv4", 4, priorities=())


def test_a_probe_without_a_hook_is_refused() -> None:
    with pytest.raises(ValueError, match="probe postrouting has no hooks"):
        replace(PROBE, hooks=())


@pytest.mark.parametrize("name", ["", "../up", "with.dot", "postrouting+new", "Upper", "x" * 33])
def test_a_name_that_bpffs_or_a_label_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name of a probe"):
        replace(PROBE, name=name)


def test_hooks_of_two_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="hooks of several kinds"):
        replace(PROBE, hooks=(*PROBE.hooks, *tcx.PROBE.hooks))


@pytest.mark.parametrize("probe", [PROBE, tcx.PROBE, clsact.PROBE], ids=lambda probe: probe.name)
def test_a_running_agent_keeps_no_capability_that_the_probe_did_not_ask_for(probe: Probe) -> None:
    assert set(probe.kind.kept_capabilities) <= set(probe.capabilities)


def test_a_hook_has_its_families_and_whether_it_is_attached_to_devices() -> None:
    assert [hook.families for hook in PROBE.hooks] == [("ipv4",), ("ipv6",)]
    assert (PROBE.netfilter_hooks(), PROBE.device_hooks()) == (PROBE.hooks, ())
    for probe in (tcx.PROBE, clsact.PROBE):
        assert (probe.netfilter_hooks(), probe.device_hooks()) == ((), probe.hooks)
        assert probe.kind.is_on_devices
        assert probe.families == PROBE.families


HOOK = NetfilterHook("ipv4", "postrouting_ipv4", 4, priorities=(50,))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("family", "inet", "'inet' is not a family"),
        ("family", 2, "NetfilterHook.family is a int, not a str"),
        ("program", "post routing", "is not a name of a program"),
        ("program", "\N{LATIN SMALL LETTER E WITH ACUTE}", "is not a name of a program"),
        ("hook", 5, "unknown netfilter hook 5"),
        ("priorities", [50], "priorities is a list, not a tuple"),
        ("priorities", (50, "51"), "'51' is not a priority"),
        ("priorities", ((1 << 31) - 1,), "is not a priority"),
    ],
)
def test_a_hook_with_a_wrong_value_is_refused_with_the_field(
    field: str, value: Any, reason: str
) -> None:
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
def test_a_probe_with_a_wrong_value_is_refused_with_the_field(
    field: str, value: Any, reason: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=reason):
        replace(PROBE, **{field: value})


def test_a_probe_must_name_the_api_that_it_was_written_for() -> None:
    with pytest.raises(TypeError, match="api"):
        Probe("x", "", "p", "o", (HOOK,), ())  # type: ignore[call-arg]


def test_a_package_that_fails_while_its_object_is_read_is_a_kzn_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kzn_test_half.py").write_text("raise RuntimeError('half')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KznError, match="half"):
        replace(PROBE, package="kzn_test_half").image()
