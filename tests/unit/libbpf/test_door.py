"""The translator of errors: numbers become names, privileges become hints."""

import errno

import pytest

from kzn.errors import KernelError, UnsupportedError
from kzn.libbpf import door


def test_a_result_that_is_no_error_passes() -> None:
    assert door.check(7, "count") == 7


def test_an_error_names_the_thing_and_the_number() -> None:
    with pytest.raises(KernelError, match=r"pin x: EEXIST \(File exists\)") as raised:
        door.check(-errno.EEXIST, "pin x")
    assert raised.value.errno == errno.EEXIST


def test_a_missing_privilege_says_which_are_needed() -> None:
    with pytest.raises(KernelError) as raised:
        door.check(-errno.EPERM, "load")
    assert "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON" in raised.value.hint


def test_a_missing_library_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "LIBRARY", "libbpf-of-nobody.so.1")
    door.libbpf.cache_clear()
    try:
        with pytest.raises(UnsupportedError, match="libbpf-of-nobody") as raised:
            door.libbpf()
    finally:
        door.libbpf.cache_clear()
    assert "apt-get install libbpf1" in raised.value.hint


def test_the_version_is_that_of_a_libbpf_1() -> None:
    assert door.version().startswith("v1.")
