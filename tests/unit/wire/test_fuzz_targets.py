"""The fuzz targets accept their seeds, among them every input that once failed."""

from pathlib import Path

import pytest
from targets import TARGETS

SEEDS = Path(__file__).parents[2] / "fuzz" / "seeds"
ALL = sorted(path for path in SEEDS.glob("*/*"))


def test_every_target_has_small_seeds() -> None:
    assert {path.parent.name for path in ALL} == set(TARGETS)
    assert sum(path.stat().st_size for path in ALL) < 4096


@pytest.mark.parametrize("seed", ALL, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_seed_does_not_fail(seed: Path) -> None:
    TARGETS[seed.parent.name](seed.read_bytes())
