"""``kzn server --history-store`` as a process: one engine answers for two servers."""

import signal
import time
import urllib.error
from pathlib import Path

import pytest
from engines import OLD, engine
from historic import DB, STORE, WEB2
from live_server import Running, server

QUESTION = "traffic?since=2h&by=cluster,dst_workload,class&points=2"


def delivered(running: Running, segments: int) -> None:
    """Wait for what the sink has."""
    deadline = time.monotonic() + 60
    while running.sink("delivered", "clickhouse") < segments and time.monotonic() < deadline:
        pass
    assert running.sink("delivered", "clickhouse") == segments


def shown(running: Running) -> list[tuple[str, str, int]]:
    rows = running.get(QUESTION)["rows"]
    return sorted((row["cluster"], row["dst_workload"], row["bytes"]) for row in rows)


@pytest.mark.slow
def test_an_engine_answers_for_two_clusters_and_says_when_it_is_away(tmp_path: Path) -> None:
    with engine(OLD, tmp_path / "engine") as url:
        for name, flows in (("east", ((1, DB, 100), (2, WEB2, 7))), ("west", ((1, STORE, 30),))):
            options = ("--cluster", name, "--sink", f"{url}&create=yes")
            with server(tmp_path / name, *options) as first:
                first.ship(*flows)
                first.end(signal.SIGTERM)
            with server(tmp_path / name, *options) as second:
                delivered(second, 1)
                own = shown(second)
                second.end(signal.SIGTERM)
            assert {row[0] for row in own} == {name}
        asking = server(tmp_path / "asking", "--history-store", url)
        with asking as third:
            found = third.get(QUESTION)
            assert shown(third) == [
                ("east", "db", 100),
                ("east", "web", 7),
                ("west", "store", 30),
            ]
            assert found["total"]["bytes"] == 137
            assert third.get("meta")["kept"]["raw"] == 30 * 86_400  # the engine's
            third.ship((1, DB, 5))  # in its own files, which it does not ask
            assert third.get(QUESTION)["total"]["bytes"] == 137
    with server(tmp_path / "away", "--history-store", url) as fourth:
        with pytest.raises(urllib.error.HTTPError) as refused:
            fourth.get(QUESTION)
        assert refused.value.code == 503
        assert b"127.0.0.1" in refused.value.read()
        assert fourth.get("status")
        fourth.end(signal.SIGTERM)
