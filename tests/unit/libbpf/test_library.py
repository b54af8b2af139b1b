"""Errors of libbpf: numbers become names, missing privileges and libraries have hints."""

import errno

import pytest

from kzn.errors import KernelError, UnsupportedError
from kzn.libbpf import library


def test_a_result_without_error_is_returned() -> None:
    assert library.check(7, "count") == 7


def test_an_error_names_the_action_and_the_errno() -> None:
    with pytest.raises(KernelError, match=r"pin x: EEXIST \(File exists\)") as raised:
        library.check(-errno.EEXIST, "pin x")
    assert raised.value.errno == errno.EEXIST


def test_the_hint_for_a_missing_privilege_names_the_capabilities() -> None:
    with pytest.raises(KernelError) as raised:
        library.check(-errno.EPERM, "load")
    assert "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON" in raised.value.hint


def test_the_hint_for_a_missing_library_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "LIBRARY", "libbpf-missing.so.1")
    library.libbpf.cache_clear()
    try:
        with pytest.raises(UnsupportedError, match="libbpf-missing") as raised:
            library.libbpf()
    finally:
        library.libbpf.cache_clear()
    assert "apt-get install libbpf1" in raised.value.hint


def test_the_version_is_1() -> None:
    assert library.version().startswith("v1.")
