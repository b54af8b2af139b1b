"""The declaration of `postrouting`: its hooks and its object."""

from kzn.probes.postrouting import PROBE


def test_one_program_is_attached_for_each_family_between_filter_and_source_nat() -> None:
    assert [hook.family for hook in PROBE.netfilter_hooks()] == ["ipv4", "ipv6"]
    for hook in PROBE.netfilter_hooks():
        assert hook.hook == 4
        assert all(0 < priority < 100 for priority in hook.priorities)


def test_the_object_has_every_declared_program_and_feature() -> None:
    image = PROBE.image()
    assert image.startswith(b"\x7fELF\x02\x01")  # 64 bits, little-endian
    for hook in PROBE.hooks:
        assert b"\0" + hook.program.encode() + b"\0" in image
    for feature in PROBE.features:
        assert feature.btf_type.encode() in image


def test_the_object_contains_no_path_of_the_machine_that_built_it() -> None:
    assert b"/home/" not in PROBE.image()
    assert b"/usr/" not in PROBE.image()
