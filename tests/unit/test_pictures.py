"""The pictures of the documentation: small, used, and asking for nothing."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = sorted((ROOT / "docs" / "pictures").iterdir())
LARGEST = 200_000
PAGES = "".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def test_there_is_a_light_and_a_dark_one_of_each() -> None:
    names = {path.name for path in PICTURES}
    assert names == {
        f"{stem}-{scheme}.{kind}"
        for stem, kind in (("overview", "webp"), ("top", "svg"))
        for scheme in ("light", "dark")
    }


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_small_and_on_a_page(path: Path) -> None:
    assert path.stat().st_size <= LARGEST
    assert f"pictures/{path.name}" in PAGES


@pytest.mark.parametrize("path", [path for path in PICTURES if path.suffix == ".svg"])
def test_a_drawing_loads_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("<svg")
    addresses = set(re.findall(r'https?://[^"\s)]+', text))
    assert addresses <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
    assert "<script" not in text
