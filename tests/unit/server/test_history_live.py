"""``kzn server --history`` as a process: killed, ended in order, with and without ``--state``."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from historic import DB, STORE, WEB2, bytes_of, rows_of
from live_server import BOOKS, server


@pytest.mark.slow
def test_with_a_state_file_ledger_and_history_agree_after_every_end(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"))
    with server(tmp_path, *state) as first:
        first.ship((1, DB, 100), (2, WEB2, 200))
        assert first.books() == dict.fromkeys(BOOKS, 0) | {"settled": 300, "open": 300}
        first.end(signal.SIGTERM)
    assert bytes_of(tmp_path / "history") == {"cross_zone": 300}
    with server(tmp_path, *state) as second:
        assert second.books() == dict.fromkeys(BOOKS, 0) | {"settled": 300, "recorded": 300}
        second.ship((3, DB, 40), (4, STORE, 5))
        second.end(signal.SIGKILL)
    with server(tmp_path, *state) as third:
        lost = {"settled": 345, "recorded": 300, "lost_at_restart": 45}
        assert third.books() == dict.fromkeys(BOOKS, 0) | lost
        asked = third.get("traffic?since=24h&by=dst_pod,src_node&compare=previous")
        assert [(row["dst_pod"], row["src_node"], row["bytes"]) for row in asked["rows"]] == [
            ("web-2", "n1", 200),
            ("db-0", "n1", 100),
        ]
        assert [gap["reason"] for gap in asked["gaps"]] in ([], ["restart"])
        assert third.get("meta")["ranges"] == ["1h", "6h", "24h", "7d", "30d"]
        third.ship((4, STORE, 5), (5, DB, 7))  # the first of them was acknowledged before the kill
        third.end(signal.SIGINT)
    with server(tmp_path, *state) as fourth:
        assert fourth.books() == dict.fromkeys(BOOKS, 0) | lost | {"settled": 352, "recorded": 307}
        fourth.end(signal.SIGTERM)
    found = rows_of(tmp_path / "history", columns="dst_workload, sum(bytes)", tail="GROUP BY ALL")
    assert sorted((name, int(size)) for name, size in found) == [("db", 107), ("web", 200)]


@pytest.mark.slow
def test_without_a_state_file_the_next_server_says_what_was_lost(tmp_path: Path) -> None:
    with server(tmp_path) as first:
        first.ship((1, DB, 100))
        first.end(signal.SIGKILL)
    with server(tmp_path) as second:
        assert second.books() == dict.fromkeys(BOOKS, 0) | {"settled": 0, "lost_before": 100}
        second.ship((1, DB, 40))
        second.end(signal.SIGTERM)
    assert bytes_of(tmp_path / "history") == {"cross_zone": 40}


@pytest.mark.slow
def test_a_sink_has_what_the_history_has_after_every_end(tmp_path: Path) -> None:
    """The target cannot be written at first; one server is killed, one ends in order."""
    target = tmp_path / "all"
    target.write_text("")
    sink = ("--sink", f"dir://{target}")
    with server(tmp_path, *sink) as first:
        first.ship((1, DB, 100))
        first.end(signal.SIGTERM)
    with server(tmp_path, *sink) as second:
        second.ship((1, DB, 20), (2, WEB2, 3))
        assert second.sink("waiting") == 1
        second.end(signal.SIGTERM)
    target.unlink()
    with server(tmp_path, *sink) as third:
        deadline = time.monotonic() + 60
        while third.sink("waiting") and time.monotonic() < deadline:
            pass
        assert (third.sink("delivered"), third.sink("waiting")) == (2, 0)
        third.end(signal.SIGKILL)
    assert bytes_of(target) == {"cross_zone": 123}
    copies = {path.name: path.read_bytes() for path in target.glob("raw/*/*")}
    own = {path.name: path.read_bytes() for path in (tmp_path / "history").glob("raw/*/*")}
    assert copies == own
    with server(tmp_path, *sink) as fourth:
        assert (fourth.sink("delivered"), fourth.sink("waiting")) == (2, 0)
        fourth.end(signal.SIGTERM)


@pytest.mark.slow
def test_without_a_history_the_last_hour_can_be_asked_for(tmp_path: Path) -> None:
    with server(tmp_path, history=False) as running:
        running.ship((1, DB, 100), (2, STORE, 7))
        deadline = time.monotonic() + 60
        found = running.get("traffic?since=10m&by=cause_workload,dst_workload,port")
        while found["total"]["bytes"] < 107 and time.monotonic() < deadline:
            found = running.get("traffic?since=10m&by=cause_workload,dst_workload,port")
        assert found["rows"] == [
            {
                "cause_workload": "web",
                "dst_workload": name,
                "port": 5432,
                "bytes": size,
                "packets": 1,
                "cost": {},
                "sender_cost": {},
                "receiver_cost": {},
                "unpriced_bytes": size,
            }
            for name, size in (("db", 100), ("store", 7))
        ]
        assert running.get("meta")["ranges"] == ["1h"]
        assert running.get("notices")["notices"][0]["kind"] in {"node_silent", "other_servers"}


def test_options_that_are_wrong_are_named_before_anything_starts(tmp_path: Path) -> None:
    for option, value in (
        ("--history-keep", "raw=5m"),
        ("--history-size", "1Ki"),
        ("--sink-spool", "1Ki"),
        ("--sink", "dir"),
        ("--sink", "nothing://host"),
    ):
        command = [sys.executable, "-m", "kzn.cli.main", "server", "--history", str(tmp_path)]
        found = subprocess.run(
            [*command, option, value], capture_output=True, text=True, check=False
        )
        assert found.returncode == 2
        assert (value.partition(":")[0] if option == "--sink" else option) in found.stderr
