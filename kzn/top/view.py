"""What the screen shows of the numbers, and what each key changes. Pure.

In: a `View`, a key, the workloads in the order of the screen. Out: the next `View`, None to end.
Never: a key that does something unseen: all of them are in `HELP`.
"""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kzn.top.history import SortKey
from kzn.top.reading import Workload

SORTS: dict[str, SortKey] = {"r": "rate", "t": "total", "c": "cost", "n": "name"}
HELP = (
    ("up, down, k, j", "select a workload; Page up, Page down, Home, End"),
    ("Enter", "open it: with whom, which ports, who opened the connections"),
    ("Escape, Left", "back; without a workload open: no filter"),
    ("/", "filter by namespace, name, kind or zone; Enter keeps it, Escape removes it"),
    ("r t c n", "sort by rate, total bytes, cost, name"),
    ("?", "these lines"),
    ("q", "end"),
)
MAX_FILTER = 60
PAGE = 10
_MOVES = {"up": -1, "k": -1, "down": 1, "j": 1, "page-up": -PAGE, "page-down": PAGE}
_BACK = frozenset({"escape", "left", "backspace"})
_SEQUENCES = {
    "[A": "up",
    "[B": "down",
    "[C": "right",
    "[D": "left",
    "[H": "home",
    "[F": "end",
    "[1~": "home",
    "[4~": "end",
    "[5~": "page-up",
    "[6~": "page-down",
}
_CONTROLS = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace"}


@dataclass(frozen=True, slots=True)
class View:
    """``selected`` is the workload under the cursor, None for the first; ``opened`` has a page."""

    sort: SortKey = "rate"
    filter: str = ""
    editing: bool = False
    selected: Workload | None = None
    opened: Workload | None = None
    help: bool = False

    def matches(self, *texts: str) -> bool:
        """Whether each word of the filter is in one of the texts, in any case."""
        words = self.filter.lower().split()
        found = [text.lower() for text in texts]
        return all(any(word in text for text in found) for word in words)


class KeyReader:
    """Makes keys of the bytes of a terminal; characters are themselves, others have names."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")

    def keys(self, data: bytes) -> Iterator[str]:
        """The keys of one read: a terminal sends the bytes of a key together."""
        text = self._decoder.decode(data)
        while text:
            if text[0] == "\x1b" and text[1:2] in {"[", "O"}:
                end = 2
                while end < len(text) and not text[end].isalpha() and text[end] != "~":
                    end += 1
                sequence, text = f"[{text[2 : end + 1]}", text[end + 1 :]
                yield _SEQUENCES.get(sequence, "")
                continue
            yield "escape" if text[0] == "\x1b" else _CONTROLS.get(text[0], text[0])
            text = text[1:]


def pressed(view: View, key: str, listed: Sequence[Workload]) -> View | None:
    """The view after a key; None ends. ``listed`` are the workloads in the screen's order."""
    if view.editing:
        return _edited(view, key)
    if key == "q":
        return None
    if key in SORTS:
        return replace(view, sort=SORTS[key])
    if key == "?":
        return replace(view, help=not view.help)
    if key in _BACK:
        return _back(view, key)
    return view if view.opened is not None or view.help else _on_list(view, key, listed)


def _back(view: View, key: str) -> View:
    if view.help or view.opened is not None:
        return replace(view, help=False, opened=None)
    return replace(view, filter="") if key == "escape" else view


def _on_list(view: View, key: str, listed: Sequence[Workload]) -> View:
    if key == "/":
        return replace(view, editing=True)
    if not listed:
        return view
    at = position(view, listed)
    if key in {"enter", "right"}:
        return replace(view, selected=listed[at], opened=listed[at])
    if key in _MOVES:
        return replace(view, selected=listed[min(max(at + _MOVES[key], 0), len(listed) - 1)])
    if key in {"home", "end"}:
        return replace(view, selected=listed[0 if key == "home" else -1])
    return view


def position(view: View, listed: Sequence[Workload]) -> int:
    """Where the cursor is; the first row if the selected workload is not listed."""
    return listed.index(view.selected) if view.selected in listed else 0


def _edited(view: View, key: str) -> View:
    if key == "enter":
        return replace(view, editing=False)
    if key == "escape":
        return replace(view, editing=False, filter="")
    if key == "backspace":
        return replace(view, filter=view.filter[:-1])
    if len(key) == 1 and key.isprintable() and len(view.filter) < MAX_FILTER:
        return replace(view, filter=view.filter + key)
    return view
