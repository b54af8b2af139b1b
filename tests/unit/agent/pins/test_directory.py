"""The names in a pin directory, and the errors of its file system."""

from pathlib import Path

import pytest

from kzn.agent.pins import directory
from kzn.errors import KznError, UnsupportedError
from kzn.probes import postrouting, tcx
from kzn.probes.attach import MAPS


def made(pin_dir: Path, name: str, *pins: str) -> Path:
    folder = pin_dir / name
    folder.mkdir()
    for pin in pins:
        (folder / pin).touch()
    return folder


@pytest.mark.parametrize(
    "pins",
    [
        (),
        MAPS,
        (*MAPS, "link_ipv4", "link_ipv6"),
        ("flows_0", "program_egress", "filter_3", "qdisc_3"),
        ("control", "spool", "a_map_of_another_version"),
    ],
)
def test_a_folder_with_pins_of_kzn_is_a_set_even_if_unfinished(
    tmp_path: Path, pins: tuple[str, ...]
) -> None:
    assert directory.is_set(made(tmp_path, "probe", *pins))


def test_a_folder_with_other_pins_or_folders_is_not_a_set(tmp_path: Path) -> None:
    assert not directory.is_set(made(tmp_path, "other", "flows_0", "cilium_ipcache"))
    nested = made(tmp_path, "nested", *MAPS)
    (nested / "folder").mkdir()
    assert not directory.is_set(nested)


def test_retired_sets_are_found_by_probe_oldest_first(tmp_path: Path) -> None:
    folder = made(tmp_path, "postrouting")
    for expected in (1, 2):
        assert directory.next_retired(folder).name == f"postrouting+retired+{expected}"
        directory.next_retired(folder).mkdir()
    made(tmp_path, "tcx+retired+10")
    made(tmp_path, "postrouting+retired+9")
    names = [path.name for path in directory.retired(postrouting.PROBE, tmp_path)]
    assert names == [f"postrouting+retired+{number}" for number in (1, 2, 9)]
    assert [path.name for path in directory.retired(tcx.PROBE, tmp_path)] == ["tcx+retired+10"]
    assert len(directory.retired(None, tmp_path)) == 4
    assert {directory.probe_of(path) for path in tmp_path.iterdir()} == {"postrouting", "tcx"}


def test_a_retired_set_may_have_any_name_and_files_are_not_sets(tmp_path: Path) -> None:
    folder = made(tmp_path, "postrouting")
    for end in ("old", "", "3", "-1", "1_0"):
        made(tmp_path, f"postrouting+retired+{end}")
    (tmp_path / "postrouting+retired+7").touch()
    names = [path.name for path in directory.retired(None, tmp_path)]
    assert names == [f"postrouting+retired+{end}" for end in ("", "-1", "1_0", "old", "3")]
    assert directory.next_retired(folder).name == "postrouting+retired+8"


def test_what_is_put_aside_is_not_a_set_any_more(tmp_path: Path) -> None:
    names = [
        directory.put_aside(made(tmp_path, name, *MAPS)).name
        for name in ("tcx", "tcx+new", "tcx+retired+1")
    ]
    assert names == ["tcx+foreign+1", "tcx+foreign+2", "tcx+foreign+3"]
    assert directory.current(tmp_path) == directory.retired(None, tmp_path) == []


def test_notes_retired_sets_and_other_files_are_not_current(tmp_path: Path) -> None:
    made(tmp_path, "tcx", *MAPS)
    made(tmp_path, "tcx+retired+1", *MAPS)
    made(tmp_path, "auto+distrusted")
    made(tmp_path, "other", "cilium_ipcache")
    (tmp_path / "file").touch()
    assert [path.name for path in directory.current(tmp_path)] == ["tcx"]


def test_errors_of_the_file_system_have_a_hint() -> None:
    with (
        pytest.raises(UnsupportedError, match="/pins: denied") as raised,
        directory.file_errors(Path("/pins")),
    ):
        raise PermissionError(1, "denied")
    assert raised.value.hint.startswith("run as root")
    with (
        pytest.raises(UnsupportedError, match="/pins: the bpf file system is read-only") as fixed,
        directory.file_errors(Path("/pins")),
    ):
        raise OSError(30, "Read-only file system")
    assert "remount,rw" in fixed.value.hint
    with (
        pytest.raises(KznError, match=r"/kzn\.1: denied") as dotted,
        directory.file_errors(Path("/kzn.1")),
    ):
        raise PermissionError(1, "denied")
    assert "no name with a dot" in dotted.value.hint
