"""The example probe package: its installed files, and that its object can be rebuilt."""

import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path

import example
import pytest

pytestmark = pytest.mark.slow

HEADERS = example.ROOT / "bpf" / "src"


@pytest.fixture(scope="module")
def kzn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with kzn installed from its wheel."""
    return example.install(example.ROOT, tmp_path_factory.mktemp("kzn"))


def test_the_package_installs_its_entry_point_and_its_built_object(tmp_path: Path) -> None:
    site = example.install(example.SOURCE, tmp_path)
    [found] = distributions(path=[str(site)])
    [point] = found.entry_points
    assert (found.name, point.group, point.name) == ("kzn-probe-marked", "kzn.probes", "marked")
    package = site / "kzn_probe_marked"
    assert sorted(path.name for path in package.iterdir()) == ["__init__.py", "marked.bpf.o"]
    image = (package / "marked.bpf.o").read_bytes()
    assert image == (example.SOURCE / "kzn_probe_marked" / "marked.bpf.o").read_bytes()


def test_an_installed_kzn_prints_the_folder_of_all_its_headers(kzn: Path) -> None:
    command = [sys.executable, "-P", "-m", "kzn.cli.main", "probes", "--headers"]
    printed = Path(example.run(command, PYTHONPATH=str(kzn)).strip())
    assert printed == kzn / "kzn" / "include"
    for header in HEADERS.rglob("*.h"):
        assert (printed / header.relative_to(HEADERS)).read_bytes() == header.read_bytes()


def test_the_object_does_not_depend_on_the_folders_it_is_built_in(
    kzn: Path, tmp_path: Path
) -> None:
    if not (shutil.which("clang-19") and shutil.which("llvm-strip-19")):
        pytest.skip("clang-19 and llvm-19 are not installed: .ci/run verify installs them")
    built = []
    for number, headers in enumerate((HEADERS, kzn / "kzn" / "include")):
        copy = tmp_path / str(number)
        shutil.copytree(example.SOURCE, copy)
        example.run(["make", "-B", "-C", str(copy), f"HEADERS={headers}"])
        built.append((copy / "kzn_probe_marked" / "marked.bpf.o").read_bytes())
    assert built[0] == built[1]
