"""Opening a pinned set: all of its descriptors, or none."""

import errno
import os
from pathlib import Path

import pytest

from kzn.agent.pins.install import open_set
from kzn.errors import KernelError
from kzn.probes.attach import MAPS

DESCRIPTORS = Path("/proc/self/fd")


class FakeLibrary:
    """libbpf before a kernel in which every pin exists, but for one; it fails as it is told."""

    def __init__(self, *, missing: str = "", open_error: int = 0, info_error: int = 0) -> None:
        self._missing = missing
        self._open_error = open_error
        self._info_error = info_error

    def bpf_obj_get(self, path: bytes) -> int:
        if path.decode().endswith(f"/{self._missing}"):
            return -(self._open_error or errno.ENOENT)
        return os.open("/dev/null", os.O_RDONLY)

    def bpf_obj_get_info_by_fd(self, _fd: int, _info: object, _size: object) -> int:
        return -self._info_error


def use(library: FakeLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("maps", "pins"):
        monkeypatch.setattr(f"kzn.libbpf.{module}.libbpf", lambda: library)
    monkeypatch.setattr("kzn.libbpf.pins.kind_of", lambda _: "map")


def descriptors() -> int:
    return len(list(DESCRIPTORS.iterdir()))


@pytest.mark.parametrize("missing", [MAPS[0], MAPS[2], MAPS[-1]])
def test_a_set_without_one_of_its_maps_is_none_and_leaves_no_descriptor(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(FakeLibrary(missing=missing), monkeypatch)
    before = descriptors()
    assert open_set(Path("/pins/postrouting")) is None
    assert descriptors() == before


def test_a_set_with_something_that_is_no_map_is_none_and_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(FakeLibrary(info_error=errno.ENOMEM), monkeypatch)
    monkeypatch.setattr("kzn.libbpf.pins.kind_of", lambda _: "prog")
    before = descriptors()
    assert open_set(Path("/pins/postrouting")) is None
    assert descriptors() == before


def test_a_set_of_another_layout_is_none_and_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(FakeLibrary(), monkeypatch)  # all sizes are 0
    before = descriptors()
    assert open_set(Path("/pins/postrouting")) is None
    assert descriptors() == before


@pytest.mark.parametrize(
    "library",
    [
        FakeLibrary(missing=MAPS[2], open_error=errno.ENOMEM),
        FakeLibrary(missing=MAPS[-1], open_error=errno.EPERM),
        FakeLibrary(info_error=errno.ENOMEM),
    ],
)
def test_an_error_of_the_kernel_is_raised_and_leaves_no_descriptor(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(library, monkeypatch)
    before = descriptors()
    with pytest.raises(KernelError):
        open_set(Path("/pins/postrouting"))
    assert descriptors() == before
