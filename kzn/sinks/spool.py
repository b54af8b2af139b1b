"""The spool of one sink: hard links to the segments that it has not got yet, and a journal.

In: segments as they become durable; what was delivered or refused. Out: the next segment, counts.
Never: a segment that is neither waiting, delivered, nor dropped for a reason, or more bytes than
the limit: the oldest segments are dropped then.

``DIR/spool/NAME/`` has the links, so that merging and removing files of the history is independent
of how far a sink is. A segment is delivered in the order of the numbers; the journal is saved and
synced, then its link is removed. Killed in between, the journal has the name of the last link that
is left; those with lower numbers are done as well.

A minute that comes again changes nothing at the target, since its name is the same; the merged file
of an hour of which the target has minutes would count them twice. So the journal belongs to a
place (`place_of`), not to the other options of a URL; it stays when its sink is not there at a
start, and goes with a sink that gets another name. Where it was lost, merged files are dropped and
counted.
"""

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from kzn.errors import KznError
from kzn.history.books import sync_directory
from kzn.history.segments import Segment, listing
from kzn.sinks.declaration import FinishedSegment
from kzn.sinks.target import place_of

_LOG = logging.getLogger(__name__)

FOLDER = "spool"
JOURNAL = "journal.json"
NEW = ".new"
"""Added to the name of a spool that is being made."""
LAYOUT = 1
DEFAULT_LIMIT = 1 << 30
REASONS = ("spool_full", "merged", "gone", "io", "refused")
"""Why a segment is dropped; a sink that refuses may have reasons of its own."""


@dataclass(frozen=True, slots=True)
class Amount:
    """Segments and the bytes of their files."""

    segments: int = 0
    bytes: int = 0

    def plus(self, size: int) -> "Amount":
        """With one segment more."""
        return Amount(self.segments + 1, self.bytes + size)


@dataclass(frozen=True, slots=True)
class SinkCounts:
    """What became of the segments of one sink, over restarts.

    ``lag`` is the age of the oldest segment that waits, in seconds. ``failures`` and
    ``put_seconds`` are of this process.
    """

    name: str
    delivered: Amount = Amount()
    dropped: Mapping[str, Amount] = field(default_factory=dict)
    waiting: Amount = Amount()
    lag: float = 0.0
    failures: int = 0
    put_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Link:
    segment: Segment
    size: int
    since: float


@dataclass(frozen=True, slots=True)
class _Journal:
    target: str = ""
    server: str = ""
    last: str = ""
    """The segment that was delivered or dropped last; those with lower numbers were before."""
    number: int = 0
    """The highest number that was linked."""
    hour: int = 0
    """The latest hour of which the sink may have a part."""
    delivered: Amount = Amount()
    dropped: Mapping[str, Amount] = field(default_factory=dict)


class Spool:
    """The spool of the sink ``name`` for the place of the URL ``target``. Used by any thread."""

    def __init__(self, root: Path, server: str, name: str, target: str, limit: int) -> None:
        """Open or create it; KznError if it cannot be used."""
        self.name = name
        self._root = root
        self._folder = root / FOLDER / name
        self._limit = limit
        self._lock = threading.RLock()
        self._added: Callable[[], None] = lambda: None
        try:
            self._journal = self._load(place_of(target), server)
            self._waiting = self._found()
        except OSError as error:
            raise KznError(f"spool {self._folder}: {error.strerror}") from error
        self._bytes = sum(one.size for one in self._waiting)
        self._linked = {one.segment for one in self._waiting}

    def on_added(self, call: Callable[[], None]) -> None:
        """Call this, in any thread, whenever a segment was added."""
        self._added = call

    def wake(self) -> None:
        """Let the one that delivers look again."""
        self._added()

    def adopt(self) -> None:
        """Add what the history has and the spool never had: all minutes at the first start.

        An hour that was merged meanwhile and of which the sink has a part is dropped.
        """
        with self._lock:
            found = listing(self._root)
            in_part = {link.segment.begin for link in self._waiting}
            before = self._journal
            for one in sorted(found.levels["raw"], key=lambda one: one.number):
                if one.server != before.server or one.number <= before.number:
                    continue
                # Late data give an older hour a higher number: a new sink gets hours in any order.
                if one.kind != "m" and (one.begin <= before.hour or one.begin in in_part):
                    self._count("merged", found.sizes.get(one, 0))
                    self._seen(one)
                else:
                    self._link(one)
            # Once: what a killed server has linked without it is linked again.
            self._save()
            self._bound()
        self._added()

    def add(self, segment: Segment) -> None:
        """Add a segment that became durable; never raises for a file system that cannot."""
        with self._lock:
            self._link(segment)
            self._save()
            self._bound()
        self._added()

    def first(self) -> FinishedSegment | None:
        """The segment to deliver next."""
        with self._lock:
            gone: list[Segment] = []
            while self._waiting and not (self._folder / self._waiting[0].segment.name).exists():
                gone.append(self._next("gone"))
            self._done(gone)
            if not self._waiting:
                return None
            link = self._waiting[0]
            one, path = link.segment, self._folder / link.segment.name
            return FinishedSegment(one.name, one.server, one.begin, one.end, link.size, path)

    def delivered(self, segment: FinishedSegment) -> None:
        """The first segment is durable at the target."""
        self._end(segment, None)

    def dropped(self, segment: FinishedSegment, reason: str) -> None:
        """The first segment is refused."""
        self._end(segment, reason)

    def counts(self, now: float) -> SinkCounts:
        """What became of all segments; ``now`` is Unix time."""
        with self._lock:
            return SinkCounts(
                name=self.name,
                delivered=self._journal.delivered,
                dropped=dict(self._journal.dropped),
                waiting=Amount(len(self._waiting), self._bytes),
                lag=max(0.0, now - self._waiting[0].since) if self._waiting else 0.0,
            )

    def _end(self, segment: FinishedSegment, reason: str | None) -> None:
        with self._lock:
            # The limit may have dropped it while it was being delivered.
            if self._waiting and self._waiting[0].segment.name == segment.name:
                self._done([self._next(reason)])

    def _link(self, one: Segment) -> None:
        path = self._folder / one.name
        try:
            with suppress(FileExistsError):
                os.link(one.path(self._root), path)
            link = _link_of(one, path)
        except OSError:
            self._count("io", 0)
            self._seen(one)
            return
        if one not in self._linked:
            self._linked.add(one)
            self._waiting.append(link)
            self._bytes += link.size
        self._seen(one)

    def _seen(self, one: Segment) -> None:
        self._journal = replace(self._journal, number=max(one.number, self._journal.number))

    def _bound(self) -> None:
        dropped: list[Segment] = []
        while self._bytes > self._limit and len(self._waiting) > 1:
            dropped.append(self._next("spool_full"))
        self._done(dropped)

    def _next(self, reason: str | None) -> Segment:
        """Count the first segment as dropped or delivered, for `_done`."""
        link = self._waiting.popleft()
        one, size = link.segment, link.size
        self._linked.discard(one)
        self._bytes -= size
        hour = max(one.begin, self._journal.hour)
        self._journal = replace(self._journal, last=one.name, hour=hour)
        if reason is None:
            self._journal = replace(self._journal, delivered=self._journal.delivered.plus(size))
        else:
            self._count(reason, size)
        return one

    def _done(self, segments: Sequence[Segment]) -> None:
        """Save the journal once, then remove the links of ``segments``, which it counts."""
        if not segments:
            return
        self._save()
        for one in segments:
            with suppress(OSError):
                (self._folder / one.name).unlink(missing_ok=True)

    def _count(self, reason: str, size: int) -> None:
        dropped = dict(self._journal.dropped)
        dropped[reason] = dropped.get(reason, Amount()).plus(size)
        self._journal = replace(self._journal, dropped=dropped)

    def _found(self) -> deque[_Link]:
        """The links, without those that are done and those of which the journal says nothing."""
        found: list[_Link] = []
        last = Segment.of_name(self._journal.last)
        done = last.number if last is not None else -1
        for path in self._folder.iterdir():
            segment = Segment.of_name(path.name)
            if segment is None:
                continue
            if not done < segment.number <= self._journal.number:
                path.unlink()
            else:
                found.append(_link_of(segment, path))
        return deque(sorted(found, key=lambda link: link.segment.number))

    def _load(self, place: str, server: str) -> _Journal:
        """The journal; a new one for another place or history, which then gets everything."""
        if not self._folder.exists():  # never without a journal, so that a lost one is known
            made = self._folder.with_name(f"{self.name}{NEW}")
            made.mkdir(parents=True, exist_ok=True)
            journal = _Journal(place, server)
            _write(made, journal)
            made.rename(self._folder)
            return journal
        try:
            found = _read(self._folder)
        except (FileNotFoundError, *_UNREADABLE):
            return self._after_loss(place, server)
        if (found.target, found.server) == (place, server):
            return found
        for path in self._folder.iterdir():
            path.unlink()
        return _Journal(place, server)

    def _after_loss(self, place: str, server: str) -> _Journal:
        """A journal for a sink that has the minutes before the links, and maybe later ones.

        All minutes of the history that may be missing go there again, no merged hour does.
        """
        linked = filter(None, (Segment.of_name(path.name) for path in self._folder.iterdir()))
        number = max((one.number for one in linked if one.server == server), default=0)
        hour = max((one.begin for one in listing(self._root).levels["raw"]), default=0)
        _LOG.warning(
            "sink %s: its journal is lost: merged hours that it may have in part are dropped",
            self.name,
        )
        return _Journal(place, server, number=number, hour=hour)

    def _save(self) -> None:
        with suppress(OSError):  # a full disk: the next change saves it
            _write(self._folder, self._journal)


def _read(folder: Path) -> _Journal:
    """The journal of a folder; FileNotFoundError, or one of `_UNREADABLE` for a damaged one."""
    found = json.loads((folder / JOURNAL).read_text())
    if found.pop("layout") != LAYOUT:
        raise ValueError
    dropped = {str(reason): Amount(**amount) for reason, amount in found.pop("dropped").items()}
    place, delivered = place_of(found.pop("target")), Amount(**found.pop("delivered"))
    return _Journal(**found, target=place, delivered=delivered, dropped=dropped)


_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)


def _write(folder: Path, journal: _Journal) -> None:
    """Replace the journal of a folder, durably."""
    temporary = folder / f"{JOURNAL}.tmp"
    with temporary.open("w") as file:
        json.dump({"layout": LAYOUT, **asdict(journal)}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / JOURNAL)
    sync_directory(folder)


def _link_of(segment: Segment, path: Path) -> _Link:
    status = path.stat()
    return _Link(segment, status.st_size, status.st_mtime)


def _release(folder: Path) -> None:
    """Remove the links of a sink that is not there now; its journal stays.

    The journal then says that they were never linked: what the history still has when the sink is
    back goes there.
    """
    links = [path for path in folder.iterdir() if Segment.of_name(path.name) is not None]
    if not links:
        return
    with suppress(FileNotFoundError, *_UNREADABLE):
        journal = _read(folder)
        last = Segment.of_name(journal.last)
        numbers = [one.number for path in links if (one := Segment.of_name(path.name)) is not None]
        done = last.number if last is not None else -1
        first = min((one for one in numbers if one > done), default=journal.number + 1)
        _write(folder, replace(journal, number=min(journal.number, first - 1)))
    for path in links:
        path.unlink()


def _is_of(folder: Path, place: str, server: str) -> bool:
    try:
        journal = _read(folder)
    except (OSError, *_UNREADABLE):
        return False
    return (journal.target, journal.server) == (place, server)


def open_spools(
    root: Path, server: str, targets: Iterable[tuple[str, str]], limit: int
) -> list[Spool]:
    """The spools of (name, URL). Sinks that are not there now keep nothing but their journals.

    A sink under another name goes on with the journal of its place.
    """
    wanted, folder = dict(targets), root / FOLDER
    with suppress(OSError):
        absent = [one for one in folder.iterdir() if one.name not in wanted and one.is_dir()]
        for name, target in wanted.items():
            if (folder / name).exists():
                continue
            for one in absent:
                if _is_of(one, place_of(target), server):
                    one.rename(folder / name)
                    absent.remove(one)
                    break
        for one in absent:
            _release(one)
    return [Spool(root, server, name, target, limit) for name, target in wanted.items()]
