"""The translator of errors: numbers become names, privileges become hints."""

import errno

import pytest

from kzn.errors import KernelError, UnsupportedError
from kzn.libbpf import library


def test_a_result_that_is_no_error_passes() -> None:
    assert library.check(7, "count") == 7


def test_an_error_names_the_thing_and_the_number() -> None:
    with pytest.raises(KernelError, match=r"pin x: EEXIST \(File exists\)") as raised:
        library.check(-errno.EEXIST, "pin x")
    assert raised.value.errno == errno.EEXIST


def test_a_missing_privilege_says_which_are_needed() -> None:
    with pytest.raises(KernelError) as raised:
        library.check(-errno.EPERM, "load")
    assert "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON" in raised.value.hint


def test_a_missing_library_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "LIBRARY", "libbpf-of-nobody.so.1")
    library.libbpf.cache_clear()
    try:
        with pytest.raises(UnsupportedError, match="libbpf-of-nobody") as raised:
            library.libbpf()
    finally:
        library.libbpf.cache_clear()
    assert "apt-get install libbpf1" in raised.value.hint


def test_the_version_is_that_of_a_libbpf_1() -> None:
    assert library.version().startswith("v1.")
