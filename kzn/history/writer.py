"""Writes the segments of a history: minutes as they come, merged hours, rollups of hours and days.

In: arrays of settled flows with the names of their ends; the time. Out: durable files and books.
Never: a file under its name before it is whole and synced, or two writers in one directory.

The order of steps is what makes a kill harmless: a segment is renamed, then the books say so; a
merged file is renamed, then what it covers is removed. `Writer` does at its start what a killed
one left: it removes temporary files and adds segments to the books that have not got them yet.
"""

import errno
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kzn.columns.group_sums import sums as sums_by
from kzn.errors import KznError
from kzn.history.books import Books, Gap, load, save, sync_directory
from kzn.history.retention import Keep, to_remove
from kzn.history.segments import HOUR, TEMPORARY, Segment, listing
from kzn.history.upkeep.catalog import Catalog
from kzn.history.upkeep.jobs import Job
from kzn.history.upkeep.node_check import pairs_of_nodes, unlike
from kzn.history.upkeep.tasks import Task
from kzn.history.writing.encode import Encoder
from kzn.history.writing.end_names import EndNames
from kzn.history.writing.end_order import EndOrder
from kzn.history.writing.held_hours import HeldHours
from kzn.history.writing.merging import MergeError, Merging
from kzn.model.settled import ByClass, End, Sum, added

_LOG = logging.getLogger(__name__)

DAMAGED = ".damaged"
"""Added to the name of a file that cannot be read."""
PATIENCE = 5.0
"""Seconds; far less than the server waits for an answer."""
TELL_SECONDS = 60.0
"""What takes longer is logged, again after each such time."""
END_SECONDS = 10.0
MIN_PAUSE, MAX_PAUSE = 60, HOUR
"""Seconds before something that failed twice is tried again, and most of them."""
MAX_RETRIES = 10_000
CHECKED = 1
"""In the books of a history whose rollups of nodes were compared with those of pairs."""
MAX_NODES = 100_000
"""Nodes whose provider ids are kept; nodes that have gone are forgotten together."""
Rows = npt.NDArray[np.void]
"""Of dtype SETTLED."""


class WriteError(KznError):
    """A segment could not be written and nothing of it is left; ``reason`` is a metric label."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Writer:
    """The one writer of a directory; every call may take seconds."""

    def __init__(
        self,
        root: Path,
        server: str,
        verdicts: Sequence[tuple[str, str]],
        keep: Keep,
        *,
        patience: float = PATIENCE,
    ) -> None:
        """Open the directory; ``verdicts`` are class and reason by the number in the rows.

        ``patience`` is how many seconds `maintain` waits for what it has begun.
        """
        self._root = root
        self._server = server
        self._keep = keep
        self._verdicts = verdicts
        self._encoder = Encoder(verdicts)
        self._names, self._order = EndNames(), EndOrder()
        self._held = HeldHours()
        self._cluster = ""
        self._provider_ids: dict[str, str] = {}
        self._saved_number = 0
        self._catalog = Catalog()
        """The files, which no other process changes."""
        self._merging = Merging(root, keep.size)
        self._patience = patience
        self._job: Job[list[Segment]] | None = None
        self._task: Task | None = None
        """What the job does; None without one, and while it is the check of rollups."""
        self._parts: Sequence[Segment] = ()
        """What the job reads."""
        self._told = TELL_SECONDS
        self._has_stepped = False
        self._tried: set[Segment] = set()
        """Targets that were tried since all were."""
        self._failed: MergeError | OSError | None = None
        self._retry: dict[tuple[str, int, str], tuple[int, float]] = {}
        """How often a target could not be made, and from when on it is tried again."""
        self.books = self._recovered()

    def close(self) -> None:
        """Close the database, which has nothing that lasts. What it does is given up."""
        if self._job is not None:
            self._merging.interrupt()
            if not self._job.is_done(END_SECONDS):
                return  # it hangs; the end of the process ends it
            self._job = None
        self._merging.close()

    def open_books(self, instance: int, ledger: Mapping[str, Sum]) -> Books:
        """The books of this ledger from now on, durable."""
        self._save(self.books.opened(instance, ledger))
        return self.books

    def add_ends(self, ends: Sequence[End], *, anew: bool) -> None:
        """Names for the next numbers of ends; from 0 on if ``anew``."""
        if anew:
            self._names, self._order = EndNames(), EndOrder()
            self._held.clear()
        self._names.add(ends, self._provider_ids)
        self._order.add(ends)

    def describe(self, cluster: str, provider_ids: Mapping[str, str]) -> None:
        """The name of the cluster from now on, and further spec.providerID by node."""
        if len(self._provider_ids) > MAX_NODES:
            self._provider_ids.clear()
        self._provider_ids.update(provider_ids)
        if self._names.identify(provider_ids) or cluster != self._cluster:
            self._held.clear()  # what is written already has the names of then
        self._cluster = cluster

    def write(
        self, number: int, rows: Rows, dropped: Mapping[str, ByClass], until: int = 0
    ) -> ByClass:
        """Write a segment of one hour's rows; their sums by class.

        A number that is in the books already changes nothing. ``dropped`` replaces that of the
        books; with this segment they have all flows of before ``until``. WriteError: nothing was
        written.
        """
        hour = int(rows["time"][0]) // HOUR * HOUR
        segment = Segment(hour, self._server, number, "m")
        is_known = bool(self.books.since) or not len(self._catalog)
        if number <= self.books.number:
            return {}
        if hour < self._catalog.oldest_hour():
            raise WriteError(f"the hour of segment {segment.name} is closed", reason="too_late")
        try:
            self._check(segment, rows)
            ordered = self._sorted(rows)
            self._make(segment, self._encoder.file("raw", ordered, self._names, self._cluster))
        except OSError as error:
            raise WriteError(f"{segment.name}: {error}", reason=_reason(error)) from error
        self._held.add(segment, ordered, self._names)
        sums = self._sums_of_rows(rows)
        books = self.books.with_segment(number, sums)
        if is_known:
            books = books.begun(int(rows["time"].min()))
        with suppress(OSError):  # the next segment or step of `maintain` saves them
            self._save(replace(books, until=max(until, books.until)), dropped)
        return sums

    def note(self, dropped: Mapping[str, ByClass], gaps: Sequence[Gap], until: int = 0) -> Books:
        """Save drops and further gaps; WriteError."""
        books = self.books
        for gap in gaps:
            books = books.with_gap(gap)
        try:
            self._save(replace(books, until=max(until, books.until)), dropped)
        except OSError as error:
            raise WriteError(f"{self._root}: {error}", reason=_reason(error)) from error
        return self.books

    def maintain(self, now: float) -> bool:
        """Do one step of merging, rolling up and removing; False if nothing was left to do.

        What reads files takes a thread of its own: after ``patience`` seconds this returns, and
        minutes are written meanwhile. A later call has the outcome.
        """
        unsaved: OSError | None = None
        if self._saved_number < self.books.number:
            try:
                self._save(self.books)  # what a merge takes up must be in the books before
            except OSError as error:
                unsaved = error
        # Removal first: where the disk is full it is what lets the rest go on.
        if removed := self._to_remove(now):
            self._remove(removed)
            return True
        if unsaved is not None:
            raise WriteError(f"{self._root}: {unsaved}", reason=_reason(unsaved)) from unsaved
        if self._job is None:
            self._begin(now)
        if self._job is not None:
            return self._is_continued(self._job, now)
        if self._has_stepped:
            self._has_stepped = False
            return True
        self._tried.clear()
        failed, self._failed = self._failed, None
        if failed is not None:
            raise WriteError(str(failed), reason=_reason(failed)) from failed
        return False

    def _to_remove(self, now: float) -> list[Segment]:
        busy = {(one.level, one.begin, one.server) for one in self._parts}
        return [
            one
            for one in to_remove(self._catalog, self._keep, now)
            if (one.number <= self._saved_number or one.server != self._server)
            and (one.level, one.begin, one.server) not in busy
        ]

    def _begin(self, now: float) -> None:
        """Do the next task of which the rows are in memory, or begin one that reads files."""
        if self.books.checked < CHECKED:
            pairs = pairs_of_nodes(self._catalog)
            self._job = Job("the check of rollups", lambda: self._unlike(pairs))
            return
        for task in self._catalog.tasks():
            due = max(task.after, self._retry.get(_key(task.target), (0, 0.0))[1])
            if due > now or task.target in self._tried:
                continue
            self._tried.add(task.target)
            pieces = self._held_pieces(task)
            try:
                if pieces is None:
                    self._begin_job(task)
                else:
                    self._make(task.target, pieces)
                    self._done(task)
                    self._has_stepped = True
            except OSError as error:
                self._note_failure(task, error, now)  # holds up no other hour
                continue
            return

    def _begin_job(self, task: Task) -> None:
        target = self._merging.temporary(f"{task.target.name}{TEMPORARY}")
        paths = [one.path(self._root) for one in task.parts]
        self._parts, self._task = task.parts, task
        what = f"{task.target.name} of {len(paths)} files"
        self._job = Job(what, lambda: self._made_of_files(task, paths, target))

    def _made_of_files(self, task: Task, paths: list[Path], target: Path) -> list[Segment]:
        """In a thread: write the file; the parts that cannot be read, and then there is no file."""
        try:
            self._merging.make(task.target.level, paths, target)
            with target.open("ab") as file:
                os.fsync(file.fileno())
        except MergeError:
            damaged = [
                one
                for one, path in zip(task.parts, paths, strict=True)
                if not self._merging.is_readable(one.level, path)
            ]
            if damaged:
                return damaged
            raise
        return []

    def _unlike(self, pairs: Sequence[tuple[Segment, Segment]]) -> list[Segment]:
        """In a thread: rollups of nodes that lack bytes of those of pairs."""
        return unlike(self._merging, self._root, pairs)

    def _is_continued(self, job: Job[list[Segment]], now: float) -> bool:
        """Wait for a job a while, and take what it has made; always true."""
        if not job.is_done(self._patience):
            if job.seconds() >= self._told:
                self._told = job.seconds() + TELL_SECONDS
                progress = self._merging.progress
                _LOG.warning("history: %s takes %d s%s", job.what, job.seconds(), progress)
            return True
        task, self._task, self._job, self._parts = self._task, None, None, ()
        self._told = TELL_SECONDS
        if task is None:
            self._remove(job.result())
            with suppress(OSError):  # the next segment saves it
                self._save(replace(self.books, checked=CHECKED))
            return True
        temporary = self._merging.temporary(f"{task.target.name}{TEMPORARY}")
        try:
            if damaged := job.result():
                raise self._moved_aside(damaged)
            self._publish(task.target, temporary, temporary.stat().st_size)
            self._done(task)
        except (MergeError, OSError) as error:
            self._note_failure(task, error, now)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return True

    def _done(self, task: Task) -> None:
        self._retry.pop(_key(task.target), None)
        if task.target.server == self._server:
            if task.target.kind == "h":
                self._held.merged(task.target, task.parts)
            elif task.target.kind == "r":  # the last of an hour
                self._held.forget(task.target.begin)
        self._remove(self._catalog.covered())

    def _note_failure(self, task: Task, error: MergeError | OSError, now: float) -> None:
        """It is tried again, from the second time on after a pause: it may take minutes."""
        self._failed = error
        key = _key(task.target)
        times = self._retry.pop(key, (0, 0.0))[0] + 1
        pause = min(MAX_PAUSE, MIN_PAUSE << (times - 2)) if times > 1 else 0
        self._retry[key] = times, now + pause
        while len(self._retry) > MAX_RETRIES:
            del self._retry[next(iter(self._retry))]

    def _held_pieces(self, task: Task) -> Iterable[bytes] | None:
        """The file of an hour if what it is made of is in memory."""
        encoder, names, cluster = self._encoder, self._names, self._cluster
        target, parts = task.target, task.parts
        if target.kind == "h":
            rows = self._held.rows_of(parts)
            return None if rows is None else encoder.file("raw", self._sorted(rows), names, cluster)
        sums = self._held.sums_of(parts, names) if target.kind in {"r", "nr"} else None
        if sums is None:
            return None
        if target.kind == "r":
            return encoder.file("hour", self._sorted(sums.pairs), names, cluster)
        sent = sums.sent.take(np.argsort(sums.sent["src"]))
        received = sums.received.take(np.argsort(sums.received["dst"]))
        return encoder.file_of_nodes("node_hour", sent, received, names, cluster)

    def _sorted(self, rows: Rows) -> Rows:
        return rows.take(self._order.of(rows))

    def _moved_aside(self, damaged: Sequence[Segment]) -> WriteError:
        """The error that names damaged files, which count no more; their spans become gaps."""
        for one in damaged:
            path = one.path(self._root)
            with suppress(OSError):
                path.rename(path.with_name(path.name + DAMAGED))
            self._catalog.remove(one)
            if one.level == "raw":  # a rollup is made again from what is finer
                self.books = self.books.with_gap(Gap(one.begin, one.end, "damaged", 0))
        with suppress(OSError):
            self._save(self.books)
        names = ", ".join(one.name for one in damaged)
        return WriteError(
            f"{names} cannot be read: moved aside as {DAMAGED[1:]}, and what it has is missing"
            " in answers",
            reason="damaged",
        )

    def _make(self, segment: Segment, pieces: Iterable[bytes]) -> None:
        """Make a file durable under its name."""
        path = segment.path(self._root)
        temporary = path.with_name(path.name + TEMPORARY)
        try:
            self._make_folder(path.parent)
            with temporary.open("wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            self._publish(segment, temporary, size)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise

    def _publish(self, segment: Segment, temporary: Path, size: int) -> None:
        """Give a file that is whole and synced its name."""
        path = segment.path(self._root)
        self._make_folder(path.parent)
        temporary.replace(path)
        try:
            sync_directory(path.parent)
        except OSError:  # the caller counts its rows as dropped, or merges again
            path.unlink()
            raise
        self._catalog.add(segment, size)

    def _make_folder(self, folder: Path) -> None:
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            sync_directory(folder.parent)
            sync_directory(self._root)

    def _check(self, segment: Segment, rows: Rows) -> None:
        ends = np.concatenate([rows["src"], rows["dst"]])
        known = len(rows) - int(
            ((rows["src"] >= self._names.size) | (rows["dst"] >= self._names.size)).sum()
        )
        if known != len(rows) or ends.min() < 0:  # an end that was not told
            raise WriteError(f"{segment.name} has {known} of {len(rows)} rows", reason="io")

    def _sums_of_rows(self, rows: Rows) -> ByClass:
        codes = rows["verdict"].astype(np.int64)
        both = (np.ascontiguousarray(rows[name]) for name in ("packets", "bytes"))
        packets, sizes = (sums_by(codes, one, len(self._verdicts)).tolist() for one in both)
        used = np.unique(codes).tolist()
        return added(*({self._verdicts[code][0]: Sum(packets[code], sizes[code])} for code in used))

    def _recovered(self) -> Books:
        """The books on disk, with the segments whose writer did not come to note them."""
        found = listing(self._root)
        for path in found.temporary:
            path.unlink(missing_ok=True)
        for one, size in found.sizes.items():
            self._catalog.add(one, size)
        self._remove(found.covered)
        stored = load(self._root)
        own = [
            one for group in found.levels.values() for one in group if one.server == self._server
        ]
        checked = 0 if found.levels["node_hour"] or found.levels["node_day"] else CHECKED
        number = max((one.number for one in own), default=0)
        books = stored or Books(number=number, checked=checked)
        for one in sorted(own, key=lambda one: one.number):
            if one.kind == "m" and one.number > books.number:
                try:
                    sums = self._merging.sums_of(one.path(self._root))
                    books = books.with_segment(one.number, sums)
                except MergeError:
                    self.books = books
                    _LOG.warning("history: %s", self._moved_aside([one]))
                    books = self.books
        return books

    def _save(self, books: Books, dropped: Mapping[str, ByClass] | None = None) -> None:
        if dropped is not None:
            books = replace(books, dropped=dropped)
        self.books = books
        save(self._root, books)
        self._saved_number = books.number

    def _remove(self, segments: Iterable[Segment]) -> None:
        for one in segments:
            path = one.path(self._root)
            path.unlink(missing_ok=True)
            self._catalog.remove(one)
            with suppress(OSError):  # not empty
                path.parent.rmdir()


def _key(target: Segment) -> tuple[str, int, str]:
    return target.kind, target.begin, target.server


def _reason(error: Exception) -> str:
    if isinstance(error, MergeError) and error.reason:
        return error.reason
    text = str(error)
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text:
        return "disk_full"
    if "Out of Memory" in text:
        return "memory"
    return "io"
