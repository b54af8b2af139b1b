"""The declaration of `clsact`, and that its object has what it names."""

from kzn.probes.clsact import PROBE
from kzn.probes.declaration import ClsactHook


def test_it_is_one_program_on_every_uplink() -> None:
    [hook] = PROBE.hooks
    assert isinstance(hook, ClsactHook)
    assert PROBE.device_hooks() == PROBE.hooks


def test_its_object_has_the_program_that_it_names() -> None:
    image = PROBE.image()
    assert image.startswith(b"\x7fELF\x02\x01")  # 64 bits, little-endian
    assert b"\0clsact_egress\0" in image
    assert b"/usr/" not in image


def test_its_object_calls_no_function_that_an_older_kernel_lacks() -> None:
    assert b"bpf_rdonly_cast" not in PROBE.image()
    assert b"bpf_dynptr" not in PROBE.image()
