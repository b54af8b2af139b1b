"""A built-in probe has one stem in five places: source, declaration, object, two test files."""

from pathlib import Path

from kzn.probes.declaration import Probe
from kzn.probes.registry import installed

ROOT = Path(__file__).parents[3]


def test_every_built_in_probe_has_its_five_files() -> None:
    built_in = [p for p in installed() if isinstance(p, Probe) and p.package == "kzn"]
    assert built_in
    for probe in built_in:
        stem = probe.name
        assert probe.resource == f"objects/{stem}.bpf.o"
        for place in (
            ROOT / "bpf" / "src" / f"{stem}.bpf.c",
            ROOT / "kzn" / "probes" / f"{stem}.py",
            ROOT / "tests" / "unit" / "probes" / f"test_{stem}.py",
            ROOT / "tests" / "kernel" / f"test_{stem}.py",
            ROOT / "kzn" / probe.resource,
        ):
            assert place.is_file(), place


def test_every_source_belongs_to_a_probe() -> None:
    names = {probe.name for probe in installed()}
    for source in (ROOT / "bpf" / "src").rglob("*.bpf.c"):
        assert source.name.removesuffix(".bpf.c") in names


def test_a_hook_folder_holds_headers_only_and_every_one_is_included() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "bpf" / "src").glob("*.bpf.c"))
    for path in (ROOT / "bpf" / "src").glob("*/*"):
        assert path.name.endswith(".bpf.h"), path
        assert f'#include "{path.parent.name}/{path.name}"' in sources
