"""Whether an object that others built has the maps and structs of this kzn, before it is loaded.

kzn's own objects are the measure: they are built of bpf/src, as the object must have been. What is
of kzn's own package is trusted, since a test compares all of it.
"""

from collections.abc import Iterable, Iterator

from kzn.errors import KznError
from kzn.libbpf.btf import Field
from kzn.libbpf.object_layout import MapLayout, ObjectLayout, layout_of, read_layout
from kzn.libbpf.objects import BpfObject
from kzn.probes import postrouting
from kzn.probes.declaration import API, Probe

OWN = "kzn"
"""The package whose objects need no check."""

BUFFERS = ("flows_0", "flows_1")
MAPS = (*BUFFERS, "totals", "control", "spool", "fence")
"""The maps of bpf/src/account.bpf.h, which every probe shares."""
SETTINGS, REASONS, LAYOUT = "settings", "total", "layout"
"""A constant of account.bpf.h, an enum of flow.h, and the field of settings with its KZN_LAYOUT."""

HINT = "build it again with the headers of this kzn, which lie where kzn probes --headers says"

WORDS = {
    "kind": "type",
    "key_size": "bytes of key",
    "value_size": "bytes of value",
    "max_entries": "entries",
    "flags": "flags",
}


def check(probe: Probe, image: bytes) -> None:
    """KznError when the probe's object is damaged, is for another layout, or lacks a program."""
    if probe.package == OWN:
        return
    found = read_layout(image, probe.name, SETTINGS, REASONS)
    for difference in differences(found, shape(postrouting.PROBE)):
        raise KznError(f"object {probe.name} does not fit this kzn: {difference}", hint=HINT)


def shape(probe: Probe) -> ObjectLayout:
    """The shape of a probe's object, which must be one of kzn's own: it is opened here."""
    with BpfObject(probe.image(), probe.name) as opened:
        return layout_of(opened, SETTINGS, REASONS)


def differences(found: ObjectLayout, ours: ObjectLayout) -> Iterator[str]:
    """How an object differs from ours, most telling first; maps of its own are its affair."""
    number = _layout(found)
    if number is not None and number != API:
        yield f"it is built for layout {number} of flow.h, this kzn has {API}"
    yield from _fields("struct settings", found.constant, ours.constant)
    for name in MAPS:
        if name not in found.maps:
            yield f"it has no map {name}"
            continue
        size_of_flows = name in BUFFERS  # which the agent sets
        for difference in _map(found.maps[name], ours.maps[name], any_size=size_of_flows):
            yield f"map {name}: {difference}"
    for name in sorted(found.enum.keys() & ours.enum.keys()):
        if found.enum[name] != ours.enum[name]:
            yield f"{name} is {found.enum[name]}, in this kzn {ours.enum[name]}"


def _layout(found: ObjectLayout) -> int | None:
    """What it says in its settings, where every layout has it if any; None when it says nothing."""
    raw = bytes.fromhex(found.initial)
    for field in found.constant:
        if field.path == LAYOUT and field.kind == "u32":
            return int.from_bytes(raw[field.bit // 8 :][:4], "little")
    return None


def _map(found: MapLayout, ours: MapLayout, *, any_size: bool = False) -> Iterator[str]:
    for name, word in WORDS.items():
        is_so, should = getattr(found, name), getattr(ours, name)
        if is_so != should and not (any_size and name == "max_entries"):
            yield f"{word} {is_so}, in this kzn {should}"
    yield from _fields("key", found.key, ours.key)
    yield from _fields("value", found.value, ours.value)
    if (found.inner is None) != (ours.inner is None):
        yield f"it holds {'no' if found.inner is None else 'other'} maps"
    if found.inner and ours.inner:
        yield from (f"of the maps in it, {text}" for text in _map(found.inner, ours.inner))


def _fields(what: str, found: Iterable[Field], ours: Iterable[Field]) -> Iterator[str]:
    there, here = {field.path: field for field in found}, {field.path: field for field in ours}
    for path, field in here.items():
        name = path or what
        if path not in there:
            yield f"the {what} has no {name}"
        elif there[path] != field:
            yield f"{name} is {_place(there[path])}, in this kzn {_place(field)}"
    for path in there.keys() - here.keys():
        yield f"the {what} has {path}, which this kzn has not"


def _place(field: Field) -> str:
    return f"{field.kind} at byte {field.bit // 8}"
