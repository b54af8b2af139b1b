"""The declaration of `clsact`, and its object."""

from kzn.probes.clsact import PROBE
from kzn.probes.declaration import ClsactHook


def test_one_program_is_attached_to_every_uplink() -> None:
    assert PROBE.hooks == (ClsactHook("clsact_egress", headerless="clsact_headerless"),)
    assert PROBE.kind.is_on_devices


def test_the_object_has_the_declared_program() -> None:
    image = PROBE.image()
    assert image.startswith(b"\x7fELF\x02\x01")  # 64 bits, little-endian
    assert b"\0clsact_egress\0" in image
    assert b"/usr/" not in image


def test_the_object_calls_no_kfunc() -> None:
    assert b"bpf_rdonly_cast" not in PROBE.image()
    assert b"bpf_dynptr" not in PROBE.image()
