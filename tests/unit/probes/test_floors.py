"""Objects call nothing newer than the oldest kernel that their probe claims to support.

Kernels 6.4 to 6.11 cannot be tried (docs/kernels.md): these checks stand in for them.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kzn.probes import clsact, postrouting, tcx
from kzn.probes.declaration import Probe

Version = tuple[int, int]

FLOORS: list[tuple[Probe, Version]] = [
    (postrouting.PROBE, (6, 4)),
    (tcx.PROBE, (6, 6)),
    (clsact.PROBE, (5, 12)),
]
HELPERS: dict[int, Version] = {
    1: (3, 19),  # map_lookup_elem
    2: (3, 19),  # map_update_elem
    5: (4, 1),  # ktime_get_ns
    8: (4, 1),  # get_smp_processor_id
    26: (4, 5),  # skb_load_bytes
    86: (4, 20),  # sk_release
    99: (5, 2),  # skc_lookup_tcp
    118: (5, 6),  # jiffies64
}
"""Numbers of include/uapi/linux/bpf.h, and the first Linux that has them."""
KFUNCS: dict[str, Version] = {
    "bpf_rdonly_cast": (6, 2),
    "bpf_dynptr_from_skb": (6, 4),
    "bpf_dynptr_slice": (6, 4),
}
CALL = 0x85
EXECUTABLE = 0x4
SYMTAB = 2


@dataclass(frozen=True, slots=True)
class Section:
    """One section of an ELF file: its type, flags, contents, and the section that it links to."""

    type: int
    flags: int
    data: bytes
    link: int


def sections(image: bytes) -> list[Section]:
    """All sections of a little-endian 64-bit ELF file, in order."""
    [start] = struct.unpack_from("<Q", image, 40)
    size, number = struct.unpack_from("<HH", image, 58)
    found = []
    for at in range(start, start + size * number, size):
        _, kind, flags, _, offset, length, link = struct.unpack_from("<IIQQQQI", image, at)
        found.append(Section(kind, flags, image[offset : offset + length], link))
    return found


def helpers(image: bytes) -> set[int]:
    """Numbers of the helpers that are called; a call with a source register is another kind."""
    return {
        number
        for section in sections(image)
        if section.flags & EXECUTABLE
        for code, registers, _, number in struct.iter_unpack("<BBhi", section.data)
        if code == CALL and not registers >> 4
    }


def undefined(image: bytes) -> Iterator[str]:
    """Names that the kernel must have."""
    every = sections(image)
    for section in every:
        if section.type != SYMTAB:
            continue
        names = every[section.link].data
        for name, _, _, home, _, _ in struct.iter_unpack("<IBBHQQ", section.data):
            if name and not home:
                yield names[name : names.index(b"\0", name)].decode()


@pytest.mark.parametrize(("probe", "floor"), FLOORS, ids=lambda one: getattr(one, "name", ""))
def test_no_helper_is_newer_than_the_kernel_that_a_probe_claims(
    probe: Probe, floor: Version
) -> None:
    called = helpers(probe.image())
    assert called <= HELPERS.keys(), "add the first Linux that has it"
    assert 1 in called, "nothing is looked up: is this parsed right?"
    assert all(HELPERS[number] <= floor for number in called)


@pytest.mark.parametrize(("probe", "floor"), FLOORS, ids=lambda one: getattr(one, "name", ""))
def test_no_kernel_function_is_newer_than_the_kernel_that_a_probe_claims(
    probe: Probe, floor: Version
) -> None:
    called = set(undefined(probe.image()))
    assert called <= KFUNCS.keys(), "add the first Linux that has it"
    assert all(KFUNCS[name] <= floor for name in called)


@pytest.mark.parametrize(("probe", "floor"), FLOORS, ids=lambda one: getattr(one, "name", ""))
def test_the_hint_names_the_kernel_that_a_probe_claims(probe: Probe, floor: Version) -> None:
    hints = " ".join(feature.hint for feature in probe.features)
    assert f"Linux {floor[0]}.{floor[1]} or later" in hints
