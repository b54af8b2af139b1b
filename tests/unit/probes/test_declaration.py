"""A declaration that could never be attached or pinned is no declaration."""

from dataclasses import replace

import pytest

from kzn.probes import tcx
from kzn.probes.declaration import NetfilterHook
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
