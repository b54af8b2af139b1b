"""A pipeline with a recorder and a history in a directory, for tests.

In: flows between the addresses of a small cluster, as in `cluster`. Out: the rows of the files, and
what a plain dictionary says that they must be.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from cluster import Clock, cluster, flows_between, index_of

from kzn.history.books import Books, Gap
from kzn.history.directory import Journal
from kzn.history.processes.framing import Payload
from kzn.history.processes.writer_process import RefusedSegmentError, SegmentWriter
from kzn.history.retention import Keep
from kzn.history.segments import Level, listing
from kzn.history.writer import WriteError, Writer
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.settled import SETTLED, ByClass, ClusterFacts, End, Sum
from kzn.model.totals import Counts, Totals
from kzn.server.config import ExternalAddresses
from kzn.server.ledger.family import FAMILIES
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import Clocks, Pipeline
from kzn.server.recording.fold import Fold
from kzn.server.recording.recorder import Recorder, RecorderClock
from kzn.server.resolve.retry import RetryQueue
from kzn.server.settled_totals import VERDICT_NAMES

CLUSTER = cluster(
    nodes="n1 a r\nn2 b r\nn3 c q",
    pods="shop/web-1 n1 10.1.0.1 Deployment/web\nshop/web-2 n2 10.2.0.2 Deployment/web\n"
    "shop/db-0 n2 10.2.0.1 StatefulSet/db\nbatch/job-1 n3 10.3.0.1 Job/job",
    networks="store Database 10.9.0.0/24 b r",
)
WEB1, WEB2, DB, JOB, STORE = "10.1.0.1", "10.2.0.2", "10.2.0.1", "10.3.0.1", "10.9.0.7"
NODES = {WEB1: "n1", WEB2: "n2", DB: "n2", JOB: "n3"}


class InProcessWriter:
    """A `SegmentWriter` without a process: a new `Writer` at each `open`."""

    def __init__(self, root: Path, keep: Keep | None = None) -> None:
        self.root = root
        self.keep = keep or Keep()
        self.server = "00000001"
        self.writer: Writer | None = None

    def open(self) -> Books:
        """See `SegmentWriter`."""
        self.close()
        self.writer = Writer(self.root, self.server, VERDICT_NAMES, self.keep)
        return self.writer.books

    def open_books(self, instance: int, ledger: Mapping[str, Sum]) -> Books:
        """See `SegmentWriter`."""
        return self._now().open_books(instance, ledger)

    def add_ends(self, ends: Sequence[End], *, anew: bool) -> None:
        """See `SegmentWriter`."""
        self._now().add_ends(ends, anew=anew)

    def describe(self, cluster: str, provider_ids: Mapping[str, str]) -> None:
        """See `SegmentWriter`."""
        self._now().describe(cluster, provider_ids)

    def write(self, number: int, rows: Payload, dropped: Mapping[str, ByClass], until: int) -> None:
        """See `SegmentWriter`."""
        try:
            self._now().write(number, np.frombuffer(rows, SETTLED), dropped, until)
        except WriteError as error:
            raise RefusedSegmentError(error.message, reason=error.reason) from error

    def note(self, dropped: Mapping[str, ByClass], gaps: Sequence[Gap], until: int) -> Books:
        """See `SegmentWriter`."""
        return self._now().note(dropped, gaps, until)

    def maintain(self, now: float) -> bool:
        """See `SegmentWriter`."""
        return self._now().maintain(now)

    def close(self) -> None:
        """See `SegmentWriter`."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def _now(self) -> Writer:
        assert self.writer is not None
        return self.writer


class HistoricWorld:
    """A pipeline whose settled flows go to a history; the clock is the test's."""

    def __init__(
        self,
        root: Path,
        writer: SegmentWriter | None = None,
        *,
        external: ExternalAddresses = "full",
        max_waiting: int = 100_000,
        max_rows: int = 100_000,
        journal: Journal | None = None,
        clock: Clock | None = None,
        facts: Callable[[], ClusterFacts] = ClusterFacts,
        has_detail: bool = True,
    ) -> None:
        self.root = root
        self.clock = clock or Clock()
        self.index = index_of(CLUSTER, self.clock)
        self.writer = writer or InProcessWriter(root)
        self.recorder = Recorder(
            self.writer,
            Fold(external, max_rows=max_rows, has_detail=has_detail),
            RecorderClock(self.epoch_of, self.clock.wall, self.clock.now),
            journal=journal,
            max_waiting=max_waiting,
            facts=facts,
        )
        self.pipeline = Pipeline(
            self.index,
            Ledger(LedgerLimits()),
            TotalsByNode(100),
            RetryQueue(10_000),
            clocks=Clocks(self.clock.now, lambda: 0.0),
            recorder=self.recorder,
        )
        self.sequence = 0

    def epoch_of(self, seconds: float) -> float:
        """Unix time of a time of the clock."""
        return self.clock.wall() - self.clock.seconds + seconds

    def apply(
        self,
        node: str,
        *rows: tuple[str, str, int],
        age: float = 0.0,
        port: int = 0,
        flags: int = 0,
    ) -> None:
        """Apply `batch`."""
        self.pipeline.apply(*self.batch(node, *rows, age=age, port=port, flags=flags))

    def batch(
        self,
        node: str,
        *rows: tuple[str, str, int],
        age: float = 0.0,
        port: int = 0,
        flags: int = 0,
    ) -> tuple[AgentIdentity, Batch]:
        """One batch with a packet for each (source, destination, bytes), closed ``age`` ago."""
        flows = flows_between(*rows)
        flows = replace(
            flows,
            dst_port=np.full(len(flows), port, np.uint16),
            flags=np.full(len(flows), flags, np.uint8),
        )
        seen = Counts(len(rows), sum(size for *_, size in rows))
        self.sequence += 1
        ago = int(age * 1000)
        batch = Batch(self.sequence, ago + 10_000, ago, flows, Totals(seen))
        return AgentIdentity(node, 1, "postrouting", "0"), batch

    def settle(self) -> None:
        """Let the retries of flows without an owner end."""
        for _ in range(4):
            self.clock.seconds += 61
            while self.pipeline.tick():
                pass

    def ledger_by_class(self) -> dict[str, int]:
        """Bytes by class, of the series of zones."""
        family = FAMILIES["zone"]
        snapshot = self.pipeline.ledger.snapshot(["zone"])
        view = snapshot.views["zone"]
        found: Counter[str] = Counter()
        for labels, size in zip(
            family.labels_of(view.keys, snapshot.tables), view.bytes.tolist(), strict=True
        ):
            found[labels[family.labels.index("class")]] += size
        return dict(found)


def rows_of(root: Path, level: Level = "raw", columns: str = "*", tail: str = "") -> list[Any]:
    """Rows of the files of a level that count."""
    paths = [str(one.path(root)) for one in listing(root).levels[level]]
    if not paths:
        return []
    with duckdb.connect(":memory:") as db:
        return db.execute(
            f"SELECT {columns} FROM read_parquet($1, union_by_name = true) {tail}",  # noqa: S608
            [paths],
        ).fetchall()


def bytes_of(root: Path, level: Level = "raw") -> dict[str, int]:
    """Bytes by class of a level."""
    found = rows_of(root, level, "class, sum(bytes)", "GROUP BY class")
    return {name: int(size) for name, size in found}


def bytes_by_class(sums: Mapping[str, Sum]) -> dict[str, int]:
    """The bytes of sums, without zeros."""
    return {name: amount.bytes for name, amount in sums.items() if amount.bytes}
