"""Tables that fit a width: columns have a rank, and those of the highest rank go first. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

GAP = 2
"""Blanks between two columns."""
LEAST = 16
"""Characters to which a column of names may be cut."""


@dataclass(frozen=True, slots=True)
class Column:
    """``rank`` 0 stays; ``is_name`` may be cut to LEAST characters with an ellipsis."""

    title: str
    cells: Sequence[Text]
    rank: int = 0
    right: bool = False
    is_name: bool = False

    @property
    def width(self) -> int:
        """Characters of the widest cell."""
        return max(len(self.title), *(cell.cell_len for cell in self.cells), 0)

    @property
    def least(self) -> int:
        """Characters that it needs."""
        return min(self.width, max(LEAST, len(self.title))) if self.is_name else self.width


def needed(columns: Sequence[Column], *, whole: bool = False) -> int:
    """Characters that columns need side by side; ``whole``: without an ellipsis."""
    widths = [column.width if whole else column.least for column in columns]
    return sum(widths) + GAP * max(0, len(columns) - 1)


def fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns that fit: names are cut before a column of rank 1 goes."""
    left = list(columns)
    while (most := max((column.rank for column in left), default=0)) and needed(
        left, whole=most > 1
    ) > width:
        left.remove(next(column for column in left if column.rank == most))
    return left


def table(columns: Sequence[Column], width: int, reverse: int | None = None) -> Table:
    """A table of the columns that fit; row ``reverse`` is the one under the cursor."""
    used = fitting(columns, width)
    spare = max(0, width - needed(used))
    drawn = Table(box=None, pad_edge=False)
    for column in used:
        more = min(spare, column.width - column.least)
        spare -= more
        drawn.add_column(
            Text(column.title),
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if column.right else "left",
            width=min(column.least + more, width),
        )
    for number, cells in enumerate(zip(*(column.cells for column in used), strict=True)):
        row = list(cells)
        if number == reverse:  # the name alone: a chart in reverse reads upside down
            row[0] = row[0].copy()
            row[0].stylize("reverse")
        drawn.add_row(*row, style="bold" if number == reverse else None)
    return drawn
