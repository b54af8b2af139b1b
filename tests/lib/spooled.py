"""Histories whose segments go to sinks, for tests."""

from collections.abc import Callable
from pathlib import Path

from questions import ENDS, T0, VERDICTS, settled

from kzn.history.books import Books
from kzn.history.retention import Keep
from kzn.history.segments import DAY, HOUR, Segment
from kzn.history.writer import Writer
from kzn.sinks.declaration import FinishedSegment
from kzn.sinks.spool import Spool

SERVER = "00000001"
LIMIT = 1 << 30


class RecordingSink:
    """Keeps the content of each segment by name; `before` may raise for a call's number."""

    def __init__(self, before: Callable[[int], None] = lambda _: None) -> None:
        self.before = before
        self.calls = 0
        self.got: dict[str, bytes] = {}
        self.order: list[str] = []
        self.is_closed = False

    async def put(self, segment: FinishedSegment) -> None:
        """See `Sink`."""
        self.calls += 1
        content = segment.path.read_bytes()
        self.got[segment.name] = content
        self.order.append(segment.name)
        self.before(self.calls)
        assert len(content) == segment.size

    async def close(self) -> None:
        """See `Sink`."""
        self.is_closed = True


def flow(minute: int, size: int) -> tuple[int, ...]:
    """A flow of ``size`` bytes."""
    return (minute, 0, 1, 443, 6, 1, 1, size)


class SmallHistory:
    """A writer with segments of one flow each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.writer = Writer(root, SERVER, VERDICTS, Keep(raw=400 * DAY, hour=400 * DAY))
        self.writer.add_ends(ENDS, anew=True)

    @property
    def books(self) -> Books:
        """The books."""
        return self.writer.books

    def write(self, minute: int, size: int = 7) -> Segment:
        """A segment of one flow."""
        number = self.writer.books.number + 1
        self.writer.write(number, settled([flow(minute, size)]), {})
        hour = (T0 + 60 * minute) // HOUR * HOUR
        return Segment(hour, SERVER, number, "m")

    def merge(self, at: int) -> None:
        """Merge what is due at a Unix time."""
        while self.writer.maintain(at):
            pass

    def spool(self, name: str = "test", target: str = "test://", limit: int = LIMIT) -> Spool:
        """The spool of a sink, as a start of the server opens it."""
        return Spool(self.root, SERVER, name, target, limit)

    def sizes(self) -> dict[str, int]:
        """Sizes of the files of minutes and merged hours by name."""
        return {path.name: path.stat().st_size for path in (self.root / "raw").glob("*/*.parquet")}
