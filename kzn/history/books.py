"""The books of a history: what of the ledger is recorded, dropped or lost, by class.

In: sums of segments, of drops, and of the ledger at a start. Out: one small file, replaced whole.
Never: a file that is half written, or a recorded sum whose segment is not durable.

For each class, at any time: ledger = recorded + dropped + lost at restarts + open, where open is
what the server has in memory. The ledger is one with a number (``instance``): books of another
ledger begin anew.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from kzn.errors import KznError, json_fault
from kzn.model.settled import ByClass, Sum, added

FILE = "books.json"
LAYOUT = 1
MAX_GAPS = 500


@dataclass(frozen=True, slots=True)
class Gap:
    """``bytes`` of flows that ended between ``begin`` and ``end`` (Unix seconds) are missing."""

    begin: int
    end: int
    reason: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Books:
    """Sums by class since the ledger began, and the number of the last segment they contain."""

    instance: int = 0
    number: int = 0
    recorded: ByClass = field(default_factory=dict)
    dropped: Mapping[str, ByClass] = field(default_factory=dict)
    lost: ByClass = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    until: int = 0
    """All flows whose intervals ended before this Unix time are recorded, dropped or lost."""
    since: int = 0
    """The first minute of the history, 0 if it is not known (books of before)."""
    checked: int = 0
    """Which rules the files that were there at a start are known to obey: kzn.history.writer."""

    def with_segment(self, number: int, sums: Mapping[str, Sum]) -> "Books":
        """The books with one more segment; unchanged if they have it already."""
        if number <= self.number:
            return self
        return replace(self, number=number, recorded=added(self.recorded, sums))

    def begun(self, minute: int) -> "Books":
        """The books of a history whose first files have ``minute``."""
        return replace(self, since=min(self.since or minute, minute))

    def accounted(self) -> ByClass:
        """Everything but what is open."""
        return added(self.recorded, *self.dropped.values(), self.lost)

    def with_gap(self, gap: Gap) -> "Books":
        """The books with one more gap; the oldest are forgotten."""
        return replace(self, gaps=(*self.gaps, gap)[-MAX_GAPS:])

    def opened(self, instance: int, ledger: Mapping[str, Sum]) -> "Books":
        """The books at the start of a server whose ledger has counted ``ledger``.

        What the ledger has and the books do not was in the memory of the server before: it is lost.
        """
        if instance != self.instance:
            lost = dict(ledger)
            kept = Books(instance, self.number, gaps=self.gaps, lost=lost, until=self.until)
            return replace(kept, since=self.since, checked=self.checked)
        accounted, recorded, lost = self.accounted(), self.recorded, self.lost
        for name in ledger.keys() | accounted.keys():
            missing = ledger.get(name, Sum()).minus(accounted.get(name, Sum()))
            if missing.bytes < 0 or missing.packets < 0:
                # An older state file beside newer books: the ledger is right.
                recorded = added(recorded, {name: missing})
            elif missing != Sum():
                lost = added(lost, {name: missing})
        return replace(self, recorded=recorded, lost=lost)


def load(root: Path) -> Books | None:
    """The books of a directory, None if it has none; KznError if they cannot be read."""
    path = root / FILE
    try:
        return from_document(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise KznError(
            f"{path} cannot be read: {json_fault(error)}",
            hint="move it away; the files of the history stay, and their sums begin at zero",
        ) from error


def save(root: Path, books: Books) -> None:
    """Replace the file, durably; OSError if that fails, and then the old file is unchanged."""
    temporary = root / f"{FILE}.tmp"
    with temporary.open("w") as file:
        json.dump(document(books), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(root / FILE)
    sync_directory(root)


def document(books: Books) -> dict[str, Any]:
    """Books as a JSON object."""
    return {"layout": LAYOUT, **asdict(books)}


def from_document(found: Any) -> Books:
    """Books of a JSON object; KeyError, TypeError, ValueError or AttributeError for another."""
    return Books(
        instance=int(found["instance"]),
        number=int(found["number"]),
        recorded=by_class(found["recorded"]),
        dropped={str(reason): by_class(sums) for reason, sums in found["dropped"].items()},
        lost=by_class(found["lost"]),
        gaps=tuple(Gap(**gap) for gap in found["gaps"]),
        until=int(found["until"]),
        since=int(found.get("since", 0)),
        checked=int(found.get("checked", 0)),
    )


def by_class(found: Any) -> ByClass:
    """Sums by class of a JSON object."""
    return {str(name): Sum(int(packets), int(size)) for name, (packets, size) in found.items()}


def sync_directory(path: Path) -> None:
    """Make renames and removals in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
