"""Invalid objects, and objects other than kzn's, are errors before the kernel is called."""

import pytest

from kzn.errors import KznError
from kzn.libbpf.objects import BpfObject
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import Settings


@pytest.mark.parametrize("image", [b"", b"not an object", b"\x7fELF" + bytes(60)])
def test_an_invalid_object_is_refused_with_libbpfs_message(image: bytes) -> None:
    with pytest.raises(KznError, match="open object odd") as raised:
        BpfObject(image, "odd")
    assert raised.value.hint


def test_a_truncated_object_is_refused() -> None:
    with pytest.raises(KznError, match="open object cut"):
        BpfObject(PROBE.image()[:20_000], "cut")


def test_settings_of_another_size_are_refused() -> None:
    with (
        BpfObject(PROBE.image(), "postrouting") as opened,
        pytest.raises(KznError, match="has 72 bytes of settings, kzn writes 3"),
    ):
        opened.set_constant("settings", b"abc")


def test_an_object_lists_its_programs_and_accepts_settings() -> None:
    with BpfObject(PROBE.image(), "postrouting") as opened:
        assert opened.programs() == ["postrouting_ipv4", "postrouting_ipv6"]
        opened.set_constant("settings", Settings().constants())
        opened.size("flows_0", 10)
        with pytest.raises(KznError, match="has no map flows_9"):
            opened.size("flows_9", 10)
