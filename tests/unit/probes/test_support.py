"""A feature or capability that is missing is an error before anything is loaded."""

from dataclasses import replace
from pathlib import Path

import pytest

from kzn.errors import KznError, UnsupportedError
from kzn.probes import support
from kzn.probes.postrouting import PROBE

ALL = (1 << 41) - 1


def status(effective: int) -> str:
    return f"Name:\tpython\nCapEff:\t{effective:016x}\nSeccomp:\t0\n"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that stand for the kernel's BTF and this process's status."""
    btf, proc = tmp_path / "vmlinux", tmp_path / "status"
    btf.write_bytes(b"\0sk_buff\0bpf_nf_ctx\0net_device\0")
    proc.write_text(status(ALL))
    monkeypatch.setattr(support, "BTF", btf)
    monkeypatch.setattr(support, "STATUS", proc)
    return tmp_path


def test_a_kernel_with_every_feature_passes(kernel: Path) -> None:
    assert kernel.exists()
    support.require(PROBE)


def test_without_btf_the_hint_names_the_kernel_option(kernel: Path) -> None:
    (kernel / "vmlinux").unlink()
    with pytest.raises(UnsupportedError, match="has no BTF") as raised:
        support.require(PROBE)
    assert "CONFIG_DEBUG_INFO_BTF" in raised.value.hint
    assert raised.value.exit_code == 3


@pytest.mark.parametrize("names", [b"\0sk_buff\0", b"\0my_bpf_nf_ctx\0", b"\0bpf_nf_ctx_2\0"])
def test_without_netfilter_programs_the_hint_names_the_release(kernel: Path, names: bytes) -> None:
    (kernel / "vmlinux").write_bytes(names)
    with pytest.raises(UnsupportedError, match="no BPF programs on netfilter hooks") as raised:
        support.require(PROBE)
    assert "Linux 6.4" in raised.value.hint


@pytest.mark.parametrize("place", [0, 65_520, 65_530, 65_536, 131_071])
def test_a_name_is_found_at_any_offset_of_the_file(kernel: Path, place: int) -> None:
    (kernel / "vmlinux").write_bytes(b"x" * place + b"\0bpf_nf_ctx\0" + b"y" * 200_000)
    support.require(PROBE)


def test_missing_capabilities_are_named_in_the_error(kernel: Path) -> None:
    (kernel / "status").write_text(status(0))
    with pytest.raises(UnsupportedError, match="lacks CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF"):
        support.require(PROBE)


def test_a_probe_without_its_object_is_an_incomplete_installation() -> None:
    with pytest.raises(KznError, match=r"objects/gone\.bpf\.o") as raised:
        replace(PROBE, resource="objects/gone.bpf.o").image()
    assert "reinstall" in raised.value.hint
