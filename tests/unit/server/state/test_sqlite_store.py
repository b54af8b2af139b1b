"""The state file: committed state is restored, and files of other programs are refused."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from cluster import Clock, cluster, index_of

from kzn.errors import KznError, StateError, UsageError
from kzn.model.endpoint import POD, Endpoint
from kzn.model.totals import Counts, Totals
from kzn.server.ledger.family import FAMILIES, FamilyName, Row, SeriesState
from kzn.server.ledger.labels import Labels
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import NodeTotalRow, TotalsByNode
from kzn.server.resolve.reporting import HeardNode, ReportingNodes
from kzn.server.state.checkpoint import HELD_AT_RESTART, CheckpointedState
from kzn.server.state.schema import OLD_FAMILIES
from kzn.server.state.sqlite_store import StateFile
from kzn.topology.rollouts import LogChanges, Rollouts, Watched
from kzn.topology.routing_facts import ControllerFacts
from kzn.wire.sequences import AppliedSequences

WEB: Labels = ("shop", "web-1")
PAIR: Labels = ("shop", "web", "a", "shop", "db", "b", "source")
EXITS = MappingProxyType({UsageError: 2, KznError: 1})


def parts(limits: LedgerLimits | None = None) -> tuple[Ledger, TotalsByNode]:
    return Ledger(limits or LedgerLimits()), TotalsByNode(10)


def new(limits: LedgerLimits | None = None) -> CheckpointedState:
    return CheckpointedState(*parts(limits), AppliedSequences())


def holding(_limits: LedgerLimits | None = None) -> CheckpointedState:
    """A state whose new series are exposed at 0, with two series of pods at most."""
    ledger = Ledger(LedgerLimits({"pod": 2}), holds=True, epoch=1e9)
    return CheckpointedState(ledger, TotalsByNode(10, holds=True, epoch=1e9), AppliedSequences())


Make = Callable[[LedgerLimits | None], CheckpointedState]


class Server:
    """Successive processes of one server on one state file."""

    def __init__(self, path: Path, make: Make = new) -> None:
        self._path = path
        self._make = make
        self.file = StateFile(path)
        self.state = make(None)
        self.state.restore(self.file.read(), 0.0)

    def restart(self, limits: LedgerLimits | None = None) -> CheckpointedState:
        """Restart: restore what is in the file."""
        self.end()
        self.file = StateFile(self._path)
        self.state = self._make(limits)
        self.state.restore(self.file.read(), 0.0)
        return self.state

    def commit(self) -> None:
        self.file.write(self.state.take())

    def end(self) -> None:
        self.file.close()

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


@pytest.fixture
def holding_server(path: Path) -> Iterator[Server]:
    made = Server(path, holding)
    yield made
    made.end()


def add(server: Server, *rows: Row) -> None:
    server.state.ledger.load(rows, 0.0)


def test_series_are_restored_and_continue(server: Server) -> None:
    add(server, Row("pod", WEB, 5), Row("pair", PAIR, 7), Row("zone", ("a", "b", "cross_zone"), 9))
    server.commit()
    server.restart()
    add(server, Row("pod", WEB, 1))
    server.commit()
    server.restart()
    assert server.series("pod") == {WEB: 6}
    assert server.series("pair") == {PAIR: 7}
    assert server.series("zone") == {("a", "b", "cross_zone"): 9}


def test_uncommitted_changes_are_lost(server: Server) -> None:
    add(server, Row("pod", WEB, 5))
    server.commit()
    add(server, Row("pod", WEB, 1))
    server.restart()
    assert server.series("pod") == {WEB: 5}


def test_a_commit_writes_only_what_changed(server: Server) -> None:
    add(server, Row("pod", WEB, 5), Row("pod", ("shop", "idle"), 1))
    server.commit()
    add(server, Row("pod", WEB, 1))
    changes = server.state.take()
    assert dict(changes.families["pod"].rows.items()) == {WEB: SeriesState(6, True, 0.0)}
    assert not changes.is_empty
    assert server.state.take().is_empty


def test_the_sums_of_other_and_of_ended_series_are_restored(server: Server) -> None:
    few = LedgerLimits({"pod": 1}, retention=1.0)
    server.restart(few)
    add(server, Row("pod", WEB, 5), Row("pod", ("shop", "beyond"), 3))
    server.commit()
    server.restart(few)
    assert server.series("pod") == {WEB: 5, FAMILIES["pod"].other_labels: 3}
    server.state.ledger.sweep(100.0, lambda _: False)
    server.commit()
    server.restart(few)
    assert server.series("pod") == {FAMILIES["pod"].other_labels: 3}
    assert server.state.ledger.snapshot().views["pod"].retired == 5


def test_series_above_a_lower_limit_are_added_to_other_once(server: Server) -> None:
    add(server, Row("pod", WEB, 5), Row("pod", ("shop", "web-2"), 3))
    server.commit()
    for _ in range(2):
        server.restart(LedgerLimits({"pod": 1}))
        assert sum(server.series("pod").values()) == 8
        add(server, Row("pod", FAMILIES["pod"].other_labels, 0))
        server.commit()


def test_a_pod_named_other_is_counted_once(server: Server) -> None:
    names = server.state.ledger.label_codes
    key = names.pods.code(FAMILIES["pod"].other_labels, None)
    assert key
    add(server, Row("pod", FAMILIES["pod"].other_labels, 4), Row("pod", WEB, 1))
    for _ in range(2):
        server.commit()
        server.restart()
    assert server.series("pod") == {WEB: 1, FAMILIES["pod"].other_labels: 4}


def test_owners_are_restored_and_a_series_of_a_running_pod_does_not_end(server: Server) -> None:
    pod = Endpoint(POD, "shop", "web-1", "Deployment", "web", "n1", "a", "r", uid="u1")
    server.state.ledger.label_codes.pods.code(WEB, pod)
    add(server, Row("pod", WEB, 5), Row("pod", ("shop", "gone"), 1))
    server.commit()
    server.restart(LedgerLimits(retention=1.0))
    server.state.ledger.sweep(100.0, lambda owner: owner == pod)
    assert server.series("pod") == {WEB: 5}


def test_zones_of_the_same_name_keep_their_labels(server: Server) -> None:
    zones = server.state.ledger.label_codes.zones
    first, second = zones.code("r1", "a"), zones.code("r2", "a")
    add(server, Row("zone", ("a", "r2/a", "cross_region"), 1))
    server.state.node_totals.of("n1")
    server.commit()
    zones = server.restart().ledger.label_codes.zones
    labels = zones.interned.labels
    assert (labels[zones.code("r2", "a")], labels[zones.code("r1", "a")]) == (("r2/a",), ("a",))
    assert first != second


def test_totals_add_up_after_a_restart_and_held_bytes_are_unresolved(server: Server) -> None:
    totals = server.state.node_totals.of("n1")
    totals.add_batch(Totals(Counts(9, 90), {"map_full": Counts(1, 10)}), Counts(8, 80))
    totals.add("attributed", "", Counts(6, 60))
    totals.hold(Counts(2, 20))
    server.commit()
    for _ in range(2):
        server.restart()
        terms = server.terms("n1")
        assert terms[f"unresolved {HELD_AT_RESTART}"] == 20
        assert (terms["seen"], terms["attributed"], terms["missed map_full"]) == (90, 60, 10)
        assert server.state.node_totals.of("n1").gap() == Counts()
        server.commit()


def test_totals_of_a_removed_node_are_deleted(server: Server) -> None:
    server.state.node_totals.of("n1").add("attributed", "", Counts(1, 1))
    server.commit()
    server.state.node_totals.remove_idle(1.0)
    server.commit()
    server.restart()
    assert server.state.node_totals.rows() == []


def test_sequences_are_restored_and_the_oldest_is_evicted_first(server: Server) -> None:
    sequences = server.state.sequences
    huge = ("n9", 2**64 - 1)
    for key in (huge, ("n1", 7)):
        sequences.opened(key)
        sequences.applied(key, 2**64 - 1)
        server.commit()
    restored = server.restart().sequences
    restored.max_absent = 1
    restored.opened(("n2", 1))
    restored.applied(("n2", 1), 1)
    restored.closed(("n2", 1))
    assert restored.changed() == {("n2", 1): 1, huge: None, ("n1", 7): None}


def test_a_number_above_64_bits_is_restored(server: Server) -> None:
    add(server, Row("pod", WEB, 2**64 - 1))
    server.state.node_totals.load([NodeTotalRow("n1", "seen", "", Counts(1, 2**70))], 0.0)
    server.commit()
    server.restart()
    assert server.series("pod") == {WEB: 2**64 - 1}
    assert server.terms("n1")["seen"] == 2**70


def test_names_are_any_text_and_an_unencodable_one_fails_its_commit_only(server: Server) -> None:
    add(server, Row("pod", ("sh'op\x00;", "wéb\n"), 5))
    server.commit()
    server.restart()
    assert server.series("pod") == {("sh'op\x00;", "wéb\n"): 5}
    add(server, Row("pod", ("shop", "\ud800"), 1))
    with pytest.raises(StateError) as caught:
        server.commit()
    assert caught.value.reason == "value"


def test_every_family_has_a_table(server: Server) -> None:
    assert server.state.take().families.keys() == FAMILIES.keys()


def test_a_commit_to_a_file_that_was_moved_fails(server: Server, path: Path) -> None:
    add(server, Row("pod", WEB, 5))
    path.rename(path.with_name("moved"))
    with pytest.raises(StateError) as caught:
        server.commit()
    assert caught.value.reason == "replaced"


def test_a_full_disk_fails_the_whole_commit_and_the_next_one_succeeds(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []

    class Recorded(sqlite3.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            opened.append(self)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Recorded))
    server = Server(path)
    db = opened[-1]
    add(server, Row("pod", WEB, 5))
    server.commit()
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    add(server, *(Row("pod", ("shop", f"web-{n}"), 1) for n in range(10_000)))
    server.state.node_totals.of("n1")
    changes = server.state.take()
    with pytest.raises(StateError) as caught:
        server.file.write(changes)
    assert caught.value.reason == "disk_full"
    db.execute("PRAGMA max_page_count = 1000000")
    server.file.write(changes)
    server.restart()
    assert len(server.series("pod")) == 10_000
    assert server.series("pod")[WEB] == 6
    server.end()


def refusal(path: Path) -> KznError:
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


def other_labels(path: Path) -> None:
    StateFile(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE pod_series RENAME COLUMN pod TO container")


def unknown_family(path: Path) -> None:
    StateFile(path).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO family_sums VALUES ('galaxy', 5, 0, 1, 0, 0, 0, '')")


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
        (other_labels, "namespace, container"),
        (unknown_family, "damaged: it has sums of a family 'galaxy'"),
        (torn, "damaged"),
        (scribbled, "damaged"),
    ],
    ids=["empty", "text", "folder", "foreign", "newer", "labels", "family", "torn", "scribbled"],
)
def test_a_foreign_or_damaged_file_is_refused_and_not_changed(
    path: Path, make: object, words: str
) -> None:
    assert callable(make)
    make(path)
    assert words in refusal(path).message


def test_a_missing_folder_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(KznError, match="cannot be created"):
        StateFile(tmp_path / "none" / "state")


def test_a_file_locked_by_another_server_is_refused(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kzn.server.state.sqlite_store.LOCK_SECONDS", 0.05)
    with pytest.raises(KznError, match="locked by another process"):
        StateFile(path)
    server.commit()


KILLED = """
import os, sys
from dataclasses import replace
from pathlib import Path
from kzn.server.ledger.family import Row
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.state.schema import OLD_FAMILIES
from kzn.server.state.checkpoint import CheckpointedState
from kzn.server.state.sqlite_store import StateFile
from kzn.wire.sequences import AppliedSequences

file = StateFile(Path(sys.argv[1]))
state = CheckpointedState(Ledger(LedgerLimits()), TotalsByNode(10), AppliedSequences())
state.restore(file.read(), 0.0)
state.ledger.load([Row("pod", ("shop", "web-1"), 5)], 0.0)
file.write(state.take())
state.ledger.load([Row("pod", ("shop", "web-1"), 1)], 0.0)

class KillsItsReader(dict):
    def items(self):
        os.kill(os.getpid(), 9)

file.write(replace(state.take(), sequences=KillsItsReader()))
"""


@pytest.mark.slow
def test_a_server_killed_within_a_commit_has_the_state_before_it(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL
    server = Server(path)
    assert server.series("pod") == {WEB: 5}
    server.end()


def test_each_file_has_its_own_instance_number(path: Path) -> None:
    first = StateFile(path)
    instance = first.read().instance
    first.close()
    again, other = StateFile(path), StateFile(path.with_name("other"))
    assert again.read().instance == instance != other.read().instance
    again.close()
    other.close()


@pytest.mark.slow
@pytest.mark.parametrize(("make", "code"), [(foreign, 2), (scribbled, 1)])
def test_the_command_ends_with_an_error_and_a_hint_when_the_file_is_refused(
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


def views(server: Server) -> dict[Labels, tuple[int, bool, float]]:
    """Bytes, whether they are exposed, and the creation time of each series of pods."""
    taken = server.state.ledger.snapshot()
    view = taken.views["pod"]
    labels = FAMILIES["pod"].labels_of(view.keys, taken.tables)
    columns = (view.bytes.tolist(), view.exposed.tolist(), view.created.tolist())
    return dict(zip(labels, zip(*columns, strict=True), strict=True))


def pod_row(name: str, size: int) -> Row:
    return Row("pod", ("shop", name), size, exposed=False, created=5.0)


def test_a_series_that_was_exposed_is_so_after_a_restart_and_no_other(
    holding_server: Server,
) -> None:
    server = holding_server
    server.state.ledger.load([pod_row("old", 5)], 10.0)
    server.state.node_totals.of("n1", 10.0).add("missed", "parse", Counts(1, 7))
    server.commit()
    server.state.ledger.expose(11.0)
    server.state.node_totals.expose(11.0)
    server.state.ledger.load([pod_row("new", 7)], 12.0)
    server.state.node_totals.of("n1", 12.0).add("missed", "busy", Counts(1, 9))
    changes = server.state.take()
    assert not changes.is_empty
    server.file.write(changes)
    server.restart()
    assert views(server) == {("shop", "old"): (5, True, 5.0), ("shop", "new"): (7, False, 5.0)}
    rows = {(row.term, row.reason): row for row in server.state.node_totals.rows()}
    assert (rows["missed", "parse"].exposed, rows["missed", "parse"].created) == (True, 1e9 + 10)
    assert (rows["missed", "busy"].exposed, rows["missed", "busy"].created) == (False, 1e9 + 12)
    server.state.ledger.expose(0.0)  # it was restored at 0, and waits anew
    assert not views(server)["shop", "new"][1]
    server.state.ledger.expose(0.1)
    assert views(server)["shop", "new"][1]


def test_that_the_series_other_is_exposed_is_committed_by_itself(
    holding_server: Server,
) -> None:
    server = holding_server
    server.state.ledger.load([pod_row(f"web-{n}", 1) for n in range(3)], 10.0)
    server.state.ledger.expose(10.0)
    server.commit()
    server.restart()
    assert server.state.ledger.snapshot().views["pod"].other == SeriesState(1, False, 1e9 + 10)
    server.state.ledger.expose(5.0)
    server.state.take()
    server.restart()
    assert not server.state.ledger.snapshot().views["pod"].other.exposed  # was not committed
    server.state.ledger.expose(5.0)
    changes = server.state.take()
    assert not changes.is_empty
    server.file.write(changes)
    server.restart()
    assert server.state.ledger.snapshot().views["pod"].other == SeriesState(1, True, 1e9 + 10)


def test_when_nodes_were_heard_is_restored(path: Path) -> None:
    def make(_limits: LedgerLimits | None) -> CheckpointedState:
        nodes = ReportingNodes(index_of(cluster("n1 a r\nn2 b r"), Clock(50.0)), "on")
        return CheckpointedState(*parts(), AppliedSequences(), nodes, epoch=1e9)

    server = Server(path, make)
    nodes = server.state.reporting
    assert nodes is not None
    nodes.absent_nodes(50.0)
    nodes.add_counted_at_destination({"n2": 7}, 40.0, 50.0)
    nodes.add_batch("n1", 10.0, 100.0, 100.0)
    server.commit()
    rows = [
        HeardNode("n1", 1e9 + 100, inf, -inf, 0),
        HeardNode("n2", 1e9 + 50, 1e9 + 40, 1e9 + 50, 7),
    ]
    assert server.file.read().heard == rows
    server.restart()
    assert server.state.reporting is not None
    server.state.reporting.absent_nodes(0.0)
    assert server.state.take().heard == []
    server.end()


def in_layout_2(path: Path) -> None:
    """Turn a state file of this version into one of layout 2."""
    with closing(sqlite3.connect(path)) as db, db:
        for family in FAMILIES.values():
            if family.of_cost:
                db.execute(f"DROP TABLE {family.name}_series")
                db.execute("DELETE FROM family_sums WHERE family = ?", (family.name,))
        for table in (*(f"{family}_series" for family in OLD_FAMILIES), "family_sums"):
            for column in ("cost", "priced_bytes", "cost_currency"):
                db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 2")


def in_layout_1(path: Path) -> None:
    """Turn a state file of this version into one of layout 1."""
    in_layout_2(path)
    with closing(sqlite3.connect(path)) as db, db:
        for table in (*(f"{family}_series" for family in OLD_FAMILIES), "family_sums", "books"):
            db.execute(f"ALTER TABLE {table} DROP COLUMN exposed")
            db.execute(f"ALTER TABLE {table} DROP COLUMN created")
        db.execute("DROP TABLE heard")
        db.execute("PRAGMA user_version = 1")


def test_a_file_of_layout_1_is_migrated_and_its_series_stay_exposed(
    holding_server: Server, path: Path
) -> None:
    server = holding_server
    add(server, Row("pod", WEB, 5), Row("pod", FAMILIES["pod"].other_labels, 4))
    server.state.node_totals.of("n1").add("missed", "parse", Counts(1, 7))
    server.commit()
    server.end()
    in_layout_1(path)
    server.restart()
    assert views(server) == {WEB: (5, True, 0.0)}
    assert server.state.ledger.snapshot().views["pod"].other == SeriesState(4, True, 0.0)
    assert all(row.exposed and not row.created for row in server.state.node_totals.rows())
    add(server, Row("pod", WEB, 1))
    server.commit()
    server.restart()
    assert server.series("pod") == {WEB: 6, FAMILIES["pod"].other_labels: 4}


def test_a_file_of_layout_2_is_migrated_and_costs_begin(path: Path) -> None:
    server = Server(path)
    zones = ("a", "b", "cross_zone")
    add(server, Row("zone", zones, 5, created=7.0))
    server.commit()
    server.end()
    in_layout_2(path)
    state = server.restart(LedgerLimits(priced=True))
    assert server.series("zone") == {zones: 5}
    cost = Row("zone_cost", (*zones, "USD"), 0, created=8.0)._replace(bytes=0.25)  # type: ignore[arg-type]
    state.ledger.load([cost], 0.0)
    state.ledger.load([Row("zone", zones, 1, cost=0.25, priced_bytes=1, currency="USD")], 0.0)
    server.commit()
    views = server.restart(LedgerLimits(priced=True)).ledger.snapshot().views
    costs = views["zone"].costs
    assert costs is not None
    assert (costs.cost.tolist(), costs.priced_bytes.tolist()) == ([0.25], [1])
    assert server.series("zone_cost") == {(*zones, "USD"): 0.25}
    server.end()


def test_a_file_of_layout_1_with_other_labels_is_refused_and_not_changed(path: Path) -> None:
    other_labels(path)
    in_layout_1(path)
    assert "namespace, container" in str(refusal(path))


def test_a_series_of_a_newer_version_is_counted_as_other_and_the_file_forgets_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = LedgerLimits(priced=True)
    server = Server(path)
    server.end()
    row = "INSERT INTO unpriced_series VALUES ('tariff_zone', 7, 1, 8.0, 0, 0, '')"
    zone = "INSERT INTO zone_series VALUES ('a', 'b', 'cross_planet', 5, 1, 8.0, 0.25, 4, 'USD')"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(row)
        db.execute(zone)
    for _ in range(3):  # as often as it starts
        server.restart(limits)
        assert server.series("unpriced") == {("other",): 7}
        assert server.series("zone") == {("other",) * 3: 5}
        other = server.state.ledger.snapshot().views["zone"].other
        assert other == SeriesState(5, True, 8.0, 0.25, 4, "USD")
        server.commit()
    server.end()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM unpriced_series").fetchone() == (0,)
    assert caplog.text.count("1 of unpriced, 1 of zone") == 1


def test_a_file_of_layout_3_is_migrated_and_a_newer_layout_is_said(path: Path) -> None:
    server = Server(path)
    add(server, Row("unpriced", ("no_zone",), 5))
    server.commit()
    server.end()
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute("PRAGMA user_version").fetchone() == (4,)  # 3 refuses that reason
        db.execute("PRAGMA user_version = 3")
    server.restart(LedgerLimits(priced=True))
    assert server.series("unpriced") == {("no_zone",): 5}
    server.end()


def with_rollouts(_limits: LedgerLimits | None = None) -> CheckpointedState:
    return CheckpointedState(*parts(), AppliedSequences(), rollouts=Rollouts(lambda: 1e9))


def test_what_was_rolled_out_is_restored(path: Path) -> None:
    server = Server(path, with_rollouts)
    log = server.state.rollouts
    assert log is not None
    web = ControllerFacts("u", "Deployment", "shop", "web \ud83d", 3, created=1e9 - 10)
    log.put_controller(None, web)
    log.put_controller(web, replace(web, replicas=5))
    found = [replace(one, name="web ?") for one in log.all()]
    assert not server.state.take().is_empty
    server.restart()
    assert server.state.rollouts is not None
    assert server.state.rollouts.all() == []  # it was not committed
    server.state.rollouts.put_controller(None, web)
    server.state.rollouts.put_controller(web, replace(web, replicas=5))
    server.commit()
    assert server.state.take().rollouts == LogChanges([], {}, Watched(1e9, 1e9))
    server.restart()
    assert server.state.rollouts is not None
    assert server.state.rollouts.all() == found
    server.file.write(replace(server.state.take(), rollouts=LogChanges(["1"], {}, Watched(5, 6))))
    saved = server.file.read()
    assert [*saved.rollouts.values()] == found[:1]
    assert saved.watched == Watched(5, 6)
    server.end()


def test_a_server_without_kubernetes_leaves_what_was_rolled_out(path: Path) -> None:
    server = Server(path, with_rollouts)
    assert server.state.rollouts is not None
    web = ControllerFacts("u", "Deployment", "shop", "web", 3, created=1e9 - 10)
    server.state.rollouts.put_controller(None, web)
    server.commit()
    server.end()
    other = Server(path)
    add(other, Row("pod", WEB, 5))
    other.commit()
    assert len(other.file.read().rollouts) == 1
    other.end()


def test_a_file_without_a_table_of_rollouts_gets_one(path: Path) -> None:
    Server(path).end()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE rollouts")
    server = Server(path, with_rollouts)
    saved = server.file.read()
    assert (saved.rollouts, saved.watched) == ({}, None)
    server.end()
    for damage in ("x", "[1]", "[1, 2, 3, 4]"):
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('rollouts_watched', ?)", (damage,))
        with closing(StateFile(path)) as file, pytest.raises(KznError, match="is damaged"):
            file.read()
