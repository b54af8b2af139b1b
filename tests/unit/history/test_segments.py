"""Names of history files: which of them count is in the names alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.history.segments import Segment, arranged, listing

HOUR0 = 1_795_651_200
SERVER = "0a0b0c0d"


def names(segments: list[Segment]) -> list[str]:
    return [one.name for one in segments]


@pytest.mark.parametrize(
    ("kind", "folder"), [("m", "raw"), ("h", "raw"), ("r", "hour"), ("d", "day")]
)
def test_a_name_is_read_as_it_was_written(kind: str, folder: str) -> None:
    segment = Segment(HOUR0, SERVER, 73, kind)
    assert segment.path(Path("/x")) == Path(
        f"/x/{folder}/2026-11-26/{kind}1795651200-0a0b0c0d-73.parquet"
    )
    assert Segment.of_name(segment.name) == segment


@pytest.mark.parametrize(
    "name", ["m1-0a0b0c0d-1.parquet.tmp", "x1-0a0b0c0d-1.parquet", "books.json"]
)
def test_other_files_are_ignored(name: str) -> None:
    assert Segment.of_name(name) is None


def test_a_merged_file_covers_what_it_was_made_of_whether_that_is_still_there_or_not() -> None:
    files = [Segment(HOUR0, SERVER, n, "m") for n in (1, 2, 3, 7)]
    merged = [Segment(HOUR0, SERVER, n, "h") for n in (2, 3)]
    other = Segment(HOUR0, "00000001", 1, "m")
    found = arranged(dict.fromkeys([*files, *merged, other], 10))
    assert names(found.levels["raw"]) == [
        "m1795651200-00000001-1.parquet",
        "h1795651200-0a0b0c0d-3.parquet",
        "m1795651200-0a0b0c0d-7.parquet",
    ]
    assert sorted(names(found.covered)) == sorted(names([*files[:3], merged[0]]))
    assert found.size() == 30


@given(st.lists(st.integers(1, 30), unique=True, max_size=12), st.data())
def test_the_same_numbers_count_at_every_step_of_a_merge(
    numbers: list[int], data: st.DataObject
) -> None:
    files = {Segment(HOUR0, SERVER, n, "m") for n in numbers}
    content = {one: {one.number} for one in files}
    for _ in range(data.draw(st.integers(0, 3))):
        counting = arranged(dict.fromkeys(files, 1)).levels["raw"]
        if not counting:
            return
        last = max(one.number for one in counting)
        merged = Segment(HOUR0, SERVER, last, "h")
        content[merged] = {n for one in counting for n in content[one]}
        files.add(merged)
        removed = data.draw(
            st.sets(st.sampled_from(sorted(arranged(dict.fromkeys(files, 1)).covered) or [merged]))
        )
        files -= removed - {merged}
        now = arranged(dict.fromkeys(files, 1)).levels["raw"]
        assert sorted(n for one in now for n in content[one]) == sorted(numbers)


def test_a_listing_has_sizes_and_temporary_files(tmp_path: Path) -> None:
    segment = Segment(HOUR0, SERVER, 1, "m")
    path = segment.path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"12345")
    path.with_name(path.name + ".tmp").write_bytes(b"1")
    (path.parent / "notes.txt").write_bytes(b"1")
    found = listing(tmp_path)
    assert found.sizes == {segment: 5}
    assert found.temporary == [path.with_name(path.name + ".tmp")]
