"""Objects of third parties: one that does not fit is refused with the difference, before a load."""

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from objectedit import ENUM, STRUCT, Image

from kzn.agent.maps import structs
from kzn.agent.maps.buffers import ENDPOINT
from kzn.errors import KznError
from kzn.libbpf.btf import Field
from kzn.libbpf.object_layout import MAX_IMAGE
from kzn.model.flows import FLOW_COUNTS, FLOW_KEY
from kzn.model.totals import MAX_SLOTS, SLOTS
from kzn.probes import clsact, layout, postrouting, tcx
from kzn.probes.declaration import API, Probe

IMAGE = postrouting.PROBE.image()
FOREIGN = replace(postrouting.PROBE, name="plugged", package="of_others")
OWN = (clsact.PROBE, postrouting.PROBE, tcx.PROBE)


def refused(image: bytes) -> KznError:
    """The error for an object."""
    with pytest.raises(KznError) as raised:
        layout.check(FOREIGN, image)
    assert raised.value.hint
    assert "\n" not in raised.value.message
    return raised.value


@pytest.mark.parametrize("probe", OWN, ids=lambda probe: probe.name)
def test_the_objects_of_kzn_fit_each_other(probe: Probe) -> None:
    layout.check(replace(FOREIGN, hooks=probe.hooks), probe.image())
    assert (
        list(layout.differences(layout.own_layout(probe), layout.own_layout(postrouting.PROBE)))
        == []
    )


def test_the_structs_in_python_are_those_of_the_objects() -> None:
    found = layout.own_layout(postrouting.PROBE)
    flows = found.maps["flows_0"]
    assert flows.key == fields(FLOW_KEY)
    assert flows.value == fields(FLOW_COUNTS)
    assert flows.key_size == structs.KEY_SIZE
    slot = f"slot[{MAX_SLOTS}]"
    assert [f.path for f in found.maps["totals"].value] == [f"{slot}.packets", f"{slot}.bytes"]
    assert found.maps["control"].value_size == structs.CONTROL_SIZE
    assert found.maps["spool"].value_size == structs.STATE_SIZE
    names = [
        "_".join(filter(None, ["TOTAL", kind.upper(), reason.upper()])) for kind, reason in SLOTS
    ]
    endpoints = found.maps["endpoints"]
    assert endpoints.key == fields(ENDPOINT)
    assert (endpoints.key_size, endpoints.value_size) == structs.ENDPOINT_SIZES
    assert found.enum == {name: row for row, name in enumerate(names)} | {"TOTAL_MAX": MAX_SLOTS}
    assert structs.LAYOUT == API


def fields(kind: np.dtype[np.void]) -> tuple[Field, ...]:
    """The fields of a structured type as BTF has them."""
    assert kind.names is not None
    rows = []
    for name in kind.names:
        one, offset = kind[name], kind.fields[name][1] if kind.fields else 0
        size = f"[{one.shape[0]}]" if one.shape else ""
        rows.append(Field(f"{name}{size}", offset * 8, f"u{one.base.itemsize * 8}"))
    return tuple(rows)


def test_an_object_of_another_layout_is_refused_with_its_number() -> None:
    changed = Image(IMAGE)
    at = changed.sections[".rodata"] + 12
    assert changed.number(at) == API
    error = refused(changed.put(at, API + 1))
    assert error.message == (
        f"object plugged does not fit this kzn: "
        f"it was built for layout {API + 1} of flow.h, this kzn has {API}"
    )
    assert "kzn probes --headers" in error.hint


def member(
    struct: str, name: str, *, moved: int = 0, kind_of: str = ""
) -> Callable[[Image], bytes]:
    """A member that lies elsewhere, or has the type of another member of its struct."""

    def change(image: Image) -> bytes:
        at = image.row(STRUCT, struct, name)
        if kind_of:
            return image.put(at + 4, image.number(image.row(STRUCT, struct, kind_of) + 4))
        return image.put(at + 8, image.number(at + 8) + moved)

    return change


def size(struct: str, more: int) -> Callable[[Image], bytes]:
    """A struct of another size."""

    def change(image: Image) -> bytes:
        at = image.type_at(struct) + 8
        return image.put(at, image.number(at) + more)

    return change


def value(enum: str, name: str, new: int) -> Callable[[Image], bytes]:
    """Another number of an enum."""
    return lambda image: image.put(image.row(ENUM, enum, name) + 4, new)


def name(old: str, new: str) -> Callable[[Image], bytes]:
    """Another name."""
    return lambda image: image.renamed(old, new)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (name("drained", "drainee"), "map control: the value has no drained"),
        (name("fence", "hedge"), "it has no map fence"),
        (name("settings", "settinks"), "object plugged has no constant settings"),
        (
            member("control", "skip_inbound", moved=32),
            "map control: skip_inbound is u32 at byte 8, in this kzn u32 at byte 4",
        ),
        (
            member("control", "drained", kind_of="active"),
            "map control: drained is u32 at byte 8, in this kzn u64 at byte 8",
        ),
        (
            member("flow_key", "src", kind_of="protocol"),
            "map flows_0: the key has no src[16]",
        ),
        (size("control", 8), "map control: bytes of value 72, in this kzn 64"),
        (size("flow_key", 4), "map flows_0: bytes of key 44, in this kzn 40"),
        (size("spool_state", 8), "map spool: bytes of value 104, in this kzn 96"),
        (member("flows", "type", kind_of="max_entries"), "map flows_0: type 65536, in this kzn 1"),
        (
            member("flows", "map_flags", kind_of="max_entries"),
            "map flows_0: flags 65536, in this kzn 1",
        ),
        (
            value("total", "TOTAL_MISSED_PARSE", 12),
            "TOTAL_MISSED_PARSE is 12, in this kzn 4",
        ),
    ],
)
def test_a_struct_or_map_that_differs_is_named(
    change: Callable[[Image], bytes], sentence: str
) -> None:
    assert sentence in refused(change(Image(IMAGE))).message


def test_an_object_without_btf_is_refused() -> None:
    error = refused(Image(IMAGE).without_btf())
    assert "object plugged has no BTF" in error.message
    assert "-g" in error.hint


def test_bytes_that_are_not_an_object_are_refused_with_the_error_of_libbpf() -> None:
    assert "open object plugged: libbpf cannot read it" in refused(b"no object").message
    assert f"more than {MAX_IMAGE}" in refused(bytes(MAX_IMAGE + 1)).message


def test_a_child_that_crashes_on_an_object_is_an_error_with_its_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = tmp_path / "python"
    died.write_text("#!/bin/sh\nkill -SEGV $$\n")
    died.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(died))
    error = refused(IMAGE)
    assert re.fullmatch(
        r"open object plugged: it cannot be read: libbpf v\S+ ended by SIGSEGV", error.message
    )
    assert "damaged" in error.hint


@pytest.mark.slow
@settings(max_examples=60)
@given(
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12
    ),
    part=st.sampled_from([".BTF", "all"]),
)
def test_a_damaged_object_is_refused_or_fits_and_nothing_else_happens(
    edits: list[tuple[float, int]], part: str
) -> None:
    sections = Image(IMAGE).sections
    begin, end = (0, len(IMAGE)) if part == "all" else (sections[".BTF"], sections[".BTF.ext"])
    damaged = bytearray(IMAGE)
    for place, byte in edits:
        damaged[begin + int(place * (end - begin))] = byte
    with suppress(KznError):
        layout.check(FOREIGN, bytes(damaged))
