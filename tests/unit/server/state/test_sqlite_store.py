"""The state file: what was committed comes back, and no file is taken that is not ours."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import MappingProxyType

import pytest

from kzn.errors import KznError, StateError, UsageError
from kzn.model.endpoint import POD, Endpoint
from kzn.model.totals import Counts, Totals
from kzn.server.ledger.family import FAMILIES, FamilyName, Row
from kzn.server.ledger.labels import Labels
from kzn.server.ledger.ledger import Ledger, LedgerLimits
from kzn.server.ledger.node_totals import NodeTotalRow, TotalsByNode
from kzn.server.state.checkpoint import HELD_AT_RESTART, CheckpointedState
from kzn.server.state.sqlite_store import StateFile
from kzn.wire.sequences import AppliedSequences

WEB: Labels = ("shop", "web-1")
PAIR: Labels = ("shop", "web", "a", "shop", "db", "b", "source")
EXITS = MappingProxyType({UsageError: 2, KznError: 1})


def new(limits: LedgerLimits | None = None) -> CheckpointedState:
    return CheckpointedState(Ledger(limits or LedgerLimits()), TotalsByNode(10), AppliedSequences())


class Server:
    """Lives of one server over one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: StateFile | None = None
        self.live()

    def live(self, limits: LedgerLimits | None = None) -> CheckpointedState:
        """Begin another life with what is in the file."""
        self.end()
        self._file = StateFile(self._path)
        self.state = new(limits)
        self.state.restore(self._file.read(), 0.0)
        return self.state

    def commit(self) -> None:
        assert self._file is not None
        self._file.write(self.state.take())

    def end(self) -> None:
        if self._file is not None:
            self._file.close()

    def series(self, family: FamilyName) -> dict[Labels, int]:
        return dict(self.state.ledger.snapshot().rows(family))

    def terms(self, node: str) -> dict[str, int]:
        rows = self.state.node_totals.rows()
        return {f"{r.term} {r.reason}".strip(): r.counts.bytes for r in rows if r.node == node}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def server(path: Path) -> Iterator[Server]:
    made = Server(path)
    yield made
    made.end()


def add(server: Server, *rows: Row) -> None:
    server.state.ledger.load(rows, 0.0)


def test_series_come_back_and_go_on(server: Server) -> None:
    add(server, Row("pod", WEB, 5), Row("pair", PAIR, 7), Row("zone", ("a", "b", "cross_zone"), 9))
    server.commit()
    server.live()
    add(server, Row("pod", WEB, 1))
    server.commit()
    server.live()
    assert server.series("pod") == {WEB: 6}
    assert server.series("pair") == {PAIR: 7}
    assert server.series("zone") == {("a", "b", "cross_zone"): 9}


def test_what_was_not_committed_never_was(server: Server) -> None:
    add(server, Row("pod", WEB, 5))
    server.commit()
    add(server, Row("pod", WEB, 1))
    server.live()
    assert server.series("pod") == {WEB: 5}


def test_a_commit_writes_what_changed_and_nothing_else(server: Server) -> None:
    add(server, Row("pod", WEB, 5), Row("pod", ("shop", "idle"), 1))
    server.commit()
    add(server, Row("pod", WEB, 1))
    changes = server.state.take()
    assert changes.families["pod"].rows == {WEB: 6}
    assert not changes.is_empty
    assert server.state.take().is_empty


def test_what_had_no_series_and_what_had_ended_is_summed_on(server: Server) -> None:
    few = LedgerLimits({"pod": 1}, retention=1.0)
    server.live(few)
    add(server, Row("pod", WEB, 5), Row("pod", ("shop", "beyond"), 3))
    server.commit()
    server.live(few)
    assert server.series("pod") == {WEB: 5, FAMILIES["pod"].other_labels: 3}
    server.state.ledger.sweep(100.0, lambda _: False)
    server.commit()
    server.live(few)
    assert server.series("pod") == {FAMILIES["pod"].other_labels: 3}
    assert server.state.ledger.snapshot().views["pod"].retired == 5


def test_series_beyond_a_lower_limit_are_summed_once(server: Server) -> None:
    add(server, Row("pod", WEB, 5), Row("pod", ("shop", "web-2"), 3))
    server.commit()
    for _ in range(2):
        server.live(LedgerLimits({"pod": 1}))
        assert sum(server.series("pod").values()) == 8
        add(server, Row("pod", FAMILIES["pod"].other_labels, 0))
        server.commit()


def test_a_pod_that_is_called_other_is_counted_once(server: Server) -> None:
    names = server.state.ledger.names
    key = names.pods.code(FAMILIES["pod"].other_labels, None)
    assert key
    add(server, Row("pod", FAMILIES["pod"].other_labels, 4), Row("pod", WEB, 1))
    for _ in range(2):
        server.commit()
        server.live()
    assert server.series("pod") == {WEB: 1, FAMILIES["pod"].other_labels: 4}


def test_owners_come_back_so_that_a_series_of_a_living_pod_does_not_end(server: Server) -> None:
    pod = Endpoint(POD, "shop", "web-1", "Deployment", "web", "n1", "a", "r", uid="u1")
    server.state.ledger.names.pods.code(WEB, pod)
    add(server, Row("pod", WEB, 5), Row("pod", ("shop", "gone"), 1))
    server.commit()
    server.live(LedgerLimits(retention=1.0))
    server.state.ledger.sweep(100.0, lambda owner: owner == pod)
    assert server.series("pod") == {WEB: 5}


def test_zones_of_one_name_keep_their_labels(server: Server) -> None:
    zones = server.state.ledger.names.zones
    first, second = zones.code("r1", "a"), zones.code("r2", "a")
    add(server, Row("zone", ("a", "r2/a", "cross_region"), 1))
    server.state.node_totals.of("n1")
    server.commit()
    zones = server.live().ledger.names.zones
    labels = zones.names.labels
    assert (labels[zones.code("r2", "a")], labels[zones.code("r1", "a")]) == (("r2/a",), ("a",))
    assert first != second


def test_books_balance_after_a_restart_and_what_was_held_is_unresolved(server: Server) -> None:
    totals = server.state.node_totals.of("n1")
    totals.add_batch(Totals(Counts(9, 90), {"map_full": Counts(1, 10)}), Counts(8, 80))
    totals.add("attributed", "", Counts(6, 60))
    totals.hold(Counts(2, 20))
    server.commit()
    for _ in range(2):
        server.live()
        terms = server.terms("n1")
        assert terms[f"unresolved {HELD_AT_RESTART}"] == 20
        assert (terms["seen"], terms["attributed"], terms["missed map_full"]) == (90, 60, 10)
        assert server.state.node_totals.of("n1").gap() == Counts()
        server.commit()


def test_a_book_that_was_closed_is_gone(server: Server) -> None:
    server.state.node_totals.of("n1").add("attributed", "", Counts(1, 1))
    server.commit()
    server.state.node_totals.remove_idle(1.0)
    server.commit()
    server.live()
    assert server.state.node_totals.rows() == []


def test_sequences_come_back_and_the_longest_unchanged_is_forgotten_first(server: Server) -> None:
    sequences = server.state.sequences
    huge = ("n9", 2**64 - 1)
    for key in (huge, ("n1", 7)):
        sequences.opened(key)
        sequences.applied(key, 2**64 - 1)
        server.commit()
    restored = server.live().sequences
    restored.max_absent = 1
    restored.opened(("n2", 1))
    restored.applied(("n2", 1), 1)
    restored.closed(("n2", 1))
    assert restored.changed() == {("n2", 1): 1, huge: None, ("n1", 7): None}


def test_a_number_that_no_integer_column_holds_is_kept(server: Server) -> None:
    add(server, Row("pod", WEB, 2**64 - 1))
    server.state.node_totals.load([NodeTotalRow("n1", "seen", "", Counts(1, 2**70))], 0.0)
    server.commit()
    server.live()
    assert server.series("pod") == {WEB: 2**64 - 1}
    assert server.terms("n1")["seen"] == 2**70


def test_names_may_be_any_text_and_no_text_stops_a_commit_forever(server: Server) -> None:
    add(server, Row("pod", ("sh'op\x00;", "wéb\n"), 5))
    server.commit()
    server.live()
    assert server.series("pod") == {("sh'op\x00;", "wéb\n"): 5}
    add(server, Row("pod", ("shop", "\ud800"), 1))
    with pytest.raises(StateError) as caught:
        server.commit()
    assert caught.value.reason == "value"


def test_every_family_has_its_table(server: Server) -> None:
    assert server.state.take().families.keys() == FAMILIES.keys()


def test_a_file_that_was_moved_away_takes_no_commit(server: Server, path: Path) -> None:
    add(server, Row("pod", WEB, 5))
    path.rename(path.with_name("moved"))
    with pytest.raises(StateError) as caught:
        server.commit()
    assert caught.value.reason == "replaced"


def test_a_full_disk_fails_the_commit_as_a_whole_and_the_next_one_succeeds(
    server: Server, path: Path
) -> None:
    add(server, Row("pod", WEB, 5))
    server.commit()
    file = server._file
    assert file is not None
    (pages,) = file._db.execute("PRAGMA page_count").fetchone()
    file._db.execute(f"PRAGMA max_page_count = {pages}")
    add(server, *(Row("pod", ("shop", f"web-{n}"), 1) for n in range(10_000)))
    server.state.node_totals.of("n1")
    changes = server.state.take()
    with pytest.raises(StateError) as caught:
        file.write(changes)
    assert caught.value.reason == "disk_full"
    file._db.execute("PRAGMA max_page_count = 1000000")
    file.write(changes)
    server.live()
    assert len(server.series("pod")) == 10_000
    assert server.series("pod")[WEB] == 6
    assert path.exists()


def refused(path: Path) -> KznError:
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(KznError) as caught:
        StateFile(path).read()
    assert caught.value.hint
    assert caught.value.exit_code in EXITS.values()
    assert not path.is_file() or path.read_bytes() == before
    return caught.value


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA application_id = 1; CREATE TABLE mine (x)")


def newer(path: Path) -> None:
    StateFile(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def otherwise_labelled(path: Path) -> None:
    StateFile(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE pod_series RENAME COLUMN pod TO container")


def torn(path: Path) -> None:
    StateFile(path).close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def scribbled(path: Path) -> None:
    StateFile(path).close()
    whole = bytearray(path.read_bytes())
    whole[4096 : 4096 + 3000] = b"\xff" * 3000
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b""), "is not a state file"),
        (lambda path: path.write_text("zones: []\n" * 100), "is not a state file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (foreign, "another program"),
        (newer, "layout 99"),
        (otherwise_labelled, "namespace, container"),
        (torn, "damaged"),
        (scribbled, "damaged"),
    ],
    ids=["empty", "text", "folder", "foreign", "newer", "labels", "torn", "scribbled"],
)
def test_a_file_that_is_not_ours_or_not_whole_is_refused_and_left_alone(
    path: Path, make: object, words: str
) -> None:
    assert callable(make)
    make(path)
    assert words in refused(path).message


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(KznError, match="cannot be made"):
        StateFile(tmp_path / "none" / "state")


def test_a_file_that_another_server_holds_is_refused(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kzn.server.state.sqlite_store._LOCK_SECONDS", 0.05)
    with pytest.raises(KznError, match="held by another process"):
        StateFile(path)
    server.commit()


KILLED = """
import os, sys
from pathlib import Path
from kzn.server.ledger.family import Row
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.ledger.ledger import Ledger, LedgerLimits
from kzn.server.state.checkpoint import CheckpointedState
from kzn.server.state.sqlite_store import StateFile
from kzn.wire.sequences import AppliedSequences

file = StateFile(Path(sys.argv[1]))
state = CheckpointedState(Ledger(LedgerLimits()), TotalsByNode(10), AppliedSequences())
state.restore(file.read(), 0.0)
state.ledger.load([Row("pod", ("shop", "web-1"), 5)], 0.0)
file.write(state.take())
state.ledger.load([Row("pod", ("shop", "web-1"), 1)], 0.0)
file._write_sequences = lambda _: os.kill(os.getpid(), 9)
file.write(state.take())
"""


def test_killed_in_the_middle_of_a_commit_is_before_it(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL
    server = Server(path)
    assert server.series("pod") == {WEB: 5}
    server.end()


def test_the_instance_is_the_files_and_another_file_has_another(path: Path) -> None:
    first = StateFile(path)
    instance = first.read().instance
    first.close()
    again, other = StateFile(path), StateFile(path.with_name("other"))
    assert again.read().instance == instance != other.read().instance
    again.close()
    other.close()


@pytest.mark.parametrize(("make", "code"), [(foreign, 2), (scribbled, 1)])
def test_the_command_ends_with_a_sentence_when_the_file_is_refused(
    path: Path, tmp_path: Path, make: Callable[[Path], None], code: int
) -> None:
    make(path)
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("nodes: [{name: n1, zone: a, addresses: [10.0.0.1]}]\n")
    command = [*(sys.executable, "-m", "kzn.cli.main", "server"), "--topology", str(cluster)]
    ports = ["--listen-agents", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, *ports, "--state", str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code
    assert f"{path}" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
