"""The example package: what is installed of it, and what its object is built of."""

import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path

import example
import pytest

HEADERS = example.ROOT / "bpf" / "src"


@pytest.fixture(scope="module")
def kzn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with kzn installed from its wheel."""
    return example.install(example.ROOT, tmp_path_factory.mktemp("kzn"))


def test_the_package_brings_its_entry_point_and_its_object_built(tmp_path: Path) -> None:
    site = example.install(example.SOURCE, tmp_path)
    [found] = distributions(path=[str(site)])
    [point] = found.entry_points
    assert (found.name, point.group, point.name) == ("kzn-probe-marked", "kzn.probes", "marked")
    package = site / "kzn_probe_marked"
    assert sorted(path.name for path in package.iterdir()) == ["__init__.py", "marked.bpf.o"]
    image = (package / "marked.bpf.o").read_bytes()
    assert image == (example.SOURCE / "kzn_probe_marked" / "marked.bpf.o").read_bytes()


def test_an_installed_kzn_says_where_its_headers_are(kzn: Path) -> None:
    command = [sys.executable, "-P", "-m", "kzn.cli.main", "probes", "--headers"]
    said = Path(example.run(command, PYTHONPATH=str(kzn)).strip())
    assert said == kzn / "kzn" / "include"
    for header in HEADERS.glob("*.h"):
        assert (said / header.name).read_bytes() == header.read_bytes()


def test_the_object_is_the_same_wherever_it_and_the_headers_lie(kzn: Path, tmp_path: Path) -> None:
    if not (shutil.which("clang-19") and shutil.which("llvm-strip-19")):
        pytest.skip("clang-19 and llvm-19 are not installed: .ci/run verify installs them")
    built = []
    for number, headers in enumerate((HEADERS, kzn / "kzn" / "include")):
        copy = tmp_path / str(number)
        shutil.copytree(example.SOURCE, copy)
        example.run(["make", "-B", "-C", str(copy), f"HEADERS={headers}"])
        built.append((copy / "kzn_probe_marked" / "marked.bpf.o").read_bytes())
    assert built[0] == built[1]
