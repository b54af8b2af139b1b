"""Columns that do not fit go by rank."""

import io

from rich.console import Console
from rich.text import Text

from kzn.top.tables import Column, fitting, table


def column(title: str, width: int, rank: int = 0, *, is_name: bool = False) -> Column:
    return Column(title, [Text("x" * width)], rank, is_name=is_name)


COLUMNS = [
    column("name", 30, is_name=True),
    column("kind", 10, 3),
    column("rate", 8),
    column("trend", 15, 1),
    column("bytes", 8, 2),
]


def titles(width: int) -> str:
    return " ".join(one.title for one in fitting(COLUMNS, width))


def test_the_highest_rank_goes_first_and_names_are_cut_before_the_last_goes() -> None:
    assert titles(79) == "name kind rate trend bytes"
    assert titles(78) == "name rate trend bytes"
    assert titles(67) == "name rate trend bytes"
    assert titles(66) == "name rate trend"
    assert titles(43) == "name rate trend"
    assert titles(42) == "name rate"
    assert titles(5) == "name rate"


def test_the_cursor_is_on_the_name_and_leaves_charts_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    console.print(table(COLUMNS[:2], 80, 0))
    row = console.file.getvalue().splitlines()[1]  # type: ignore[attr-defined]
    assert row.startswith("\x1b[1;7m" + "x" * 30 + "\x1b[0m")
    assert row.endswith("\x1b[1m" + "x" * 10 + "\x1b[0m")


def test_a_cut_name_ends_with_an_ellipsis_and_the_numbers_are_whole() -> None:
    console = Console(file=io.StringIO(), width=43)
    console.print(table(COLUMNS, 43))
    last = console.file.getvalue().splitlines()[-1]  # type: ignore[attr-defined]
    assert last.split() == ["x" * 15 + "…", "x" * 8, "x" * 15]
