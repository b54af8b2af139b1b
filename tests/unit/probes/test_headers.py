"""The folder of the C headers: in the installed package, else in the checkout."""

import re
from pathlib import Path

import pytest

from kzn.errors import KznError
from kzn.probes.headers import headers

ROOT = Path(__file__).parents[3]


def test_a_checkout_uses_the_headers_of_its_sources() -> None:
    assert (headers() / "account.bpf.h").samefile(ROOT / "bpf" / "src" / "account.bpf.h")


def test_an_installed_kzn_prefers_its_own_headers(tmp_path: Path) -> None:
    for name in ("include", "src"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flow.h").touch()
    assert headers((tmp_path / "include", tmp_path / "src")) == tmp_path / "include"


def test_a_missing_header_folder_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(KznError, match="headers of kzn are missing") as raised:
        headers((tmp_path,))
    assert "reinstall" in raised.value.hint


def test_the_image_build_copies_the_headers_that_the_wheel_includes() -> None:
    [included] = re.findall(
        r'^force-include = { "(\S+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert f"COPY {included} /src/{included}\n" in (ROOT / "Containerfile").read_text()
    for name in (".containerignore", ".dockerignore"):
        assert f"!{included}" in (ROOT / name).read_text().splitlines()
