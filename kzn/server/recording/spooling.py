"""A writer whose segments also go into the spools of sinks.

In: what the recorder writes. Out: the same, and links in the spools as soon as a segment is
durable, before it can be merged. Never: a segment that a killed server leaves out, because each
start adopts what the spools have not got.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kzn.history.books import Books, Gap
from kzn.history.processes.framing import Payload
from kzn.history.processes.writer_process import SegmentWriter
from kzn.history.segments import HOUR, Segment
from kzn.model.settled import SETTLED, ByClass, End, Sum
from kzn.sinks.spool import Spool


class SpoolingWriter:
    """A `SegmentWriter` of the history ``server`` around another one."""

    def __init__(self, writer: SegmentWriter, server: str, spools: Sequence[Spool]) -> None:
        self._writer = writer
        self._server = server
        self._spools = spools

    def open(self) -> Books:
        """See `SegmentWriter`."""
        books = self._writer.open()
        for spool in self._spools:
            spool.adopt()
        return books

    def open_books(self, instance: int, ledger: Mapping[str, Sum]) -> Books:
        """See `SegmentWriter`."""
        return self._writer.open_books(instance, ledger)

    def add_ends(self, ends: Sequence[End], *, anew: bool) -> None:
        """See `SegmentWriter`."""
        self._writer.add_ends(ends, anew=anew)

    def describe(self, cluster: str, provider_ids: Mapping[str, str]) -> None:
        """See `SegmentWriter`."""
        self._writer.describe(cluster, provider_ids)

    def write(self, number: int, rows: Payload, dropped: Mapping[str, ByClass], until: int) -> None:
        """See `SegmentWriter`."""
        self._writer.write(number, rows, dropped, until)
        hour = int(np.frombuffer(rows, SETTLED, 1)["time"][0]) // HOUR * HOUR
        for spool in self._spools:
            spool.add(Segment(hour, self._server, number, "m"))

    def note(self, dropped: Mapping[str, ByClass], gaps: Sequence[Gap], until: int) -> Books:
        """See `SegmentWriter`."""
        return self._writer.note(dropped, gaps, until)

    def maintain(self, now: float) -> bool:
        """See `SegmentWriter`."""
        return self._writer.maintain(now)

    def close(self) -> None:
        """See `SegmentWriter`."""
        self._writer.close()
