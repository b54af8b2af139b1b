"""Checks, before it is loaded, that a third party's object has the maps and structs of this kzn.

In: an object's bytes. Out: KznError with the first difference to kzn's own object, which is built
from the headers that the other must have been built with. Never: loads the object, or checks kzn's
own, which a unit test compares.
"""

from collections.abc import Iterable, Iterator

from kzn.errors import KznError
from kzn.libbpf.btf import Field
from kzn.libbpf.object_layout import MapLayout, ObjectLayout, layout_of, read_layout
from kzn.libbpf.objects import BpfObject
from kzn.probes import postrouting
from kzn.probes.declaration import API, Probe

OWN = "kzn"
"""The package of kzn itself; its objects are not checked."""

BUFFERS = ("flows_0", "flows_1")
ENDPOINTS = "endpoints"
MAPS = (
    "rows",
    *BUFFERS,
    "totals",
    "control",
    "spool",
    "fence",
    "devices",
    "device_places",
    "addresses",
    ENDPOINTS,
    "tunnels",
)
"""The maps of bpf/src/maps.bpf.h, which every probe shares."""
SETTINGS, REASONS, LAYOUT = "settings", "total", "layout"
"""The constant of maps.bpf.h, the enum of flow.h, and the field with KZN_LAYOUT in settings."""

HINT = "build it again with the headers of this kzn (kzn probes --headers prints their folder)"

TERMS = {
    "kind": "type",
    "key_size": "bytes of key",
    "value_size": "bytes of value",
    "max_entries": "entries",
    "flags": "flags",
}


def check(probe: Probe, image: bytes) -> None:
    """KznError when the probe's object is damaged or has another layout than this kzn."""
    if probe.package == OWN:
        return
    found = read_layout(image, probe.name, SETTINGS, REASONS)
    for difference in differences(found, own_layout(postrouting.PROBE)):
        raise KznError(f"object {probe.name} does not fit this kzn: {difference}", hint=HINT)


def own_layout(probe: Probe) -> ObjectLayout:
    """The layout of one of kzn's own objects, which is opened in this process."""
    with BpfObject(probe.image(), probe.name) as opened:
        return layout_of(opened, SETTINGS, REASONS)


def differences(found: ObjectLayout, ours: ObjectLayout) -> Iterator[str]:
    """Differences of an object from kzn's own, likeliest cause first; other maps are ignored."""
    number = _layout_number(found)
    if number is not None and number != API:
        yield f"it was built for layout {number} of flow.h, this kzn has {API}"
    yield from _fields("struct settings", found.constant, ours.constant)
    for name in MAPS:
        if name not in found.maps:
            yield f"it has no map {name}"
            continue
        any_size = name in ("rows", *BUFFERS)  # the agent sets it
        for difference in _map(found.maps[name], ours.maps[name], any_size=any_size):
            yield f"map {name}: {difference}"
    for name in sorted(found.enum.keys() & ours.enum.keys()):
        if found.enum[name] != ours.enum[name]:
            yield f"{name} is {found.enum[name]}, in this kzn {ours.enum[name]}"


def _layout_number(found: ObjectLayout) -> int | None:
    """KZN_LAYOUT in its settings; None when these have no such field."""
    raw = bytes.fromhex(found.initial)
    for field in found.constant:
        if field.path == LAYOUT and field.kind == "u32":
            return int.from_bytes(raw[field.bit // 8 :][:4], "little")
    return None


def _map(found: MapLayout, ours: MapLayout, *, any_size: bool = False) -> Iterator[str]:
    for name, term in TERMS.items():
        actual, expected = getattr(found, name), getattr(ours, name)
        if actual != expected and not (any_size and name == "max_entries"):
            yield f"{term} {actual}, in this kzn {expected}"
    yield from _fields("key", found.key, ours.key)
    yield from _fields("value", found.value, ours.value)
    if (found.inner is None) != (ours.inner is None):
        yield "it is a map of maps" if found.inner else "it is not a map of maps"
    if found.inner and ours.inner:
        yield from (f"its inner maps: {text}" for text in _map(found.inner, ours.inner))


def _fields(what: str, found: Iterable[Field], ours: Iterable[Field]) -> Iterator[str]:
    theirs, own = {field.path: field for field in found}, {field.path: field for field in ours}
    for path, field in own.items():
        name = path or what
        if path not in theirs:
            yield f"the {what} has no {name}"
        elif theirs[path] != field:
            yield f"{name} is {_place(theirs[path])}, in this kzn {_place(field)}"
    for path in theirs.keys() - own.keys():
        yield f"the {what} has {path}, which this kzn does not have"


def _place(field: Field) -> str:
    return f"{field.kind} at byte {field.bit // 8}"
