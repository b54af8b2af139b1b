"""The reader as a process: answers, errors, its death, its deadline."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
from questions import CLUSTER, ENDS, PROVIDER_IDS, T0, VERDICTS, check, settled

from kzn.daemon.http.places import HttpLimits
from kzn.errors import KznError, UsageError
from kzn.history.processes import answers, reader_child
from kzn.history.processes.reader_process import (
    ASK_SECONDS,
    END_SECONDS,
    LateError,
    ReaderProcess,
)
from kzn.history.query import TrafficQuery
from kzn.history.reader import Reader
from kzn.history.retention import Keep
from kzn.history.writer import Writer
from kzn.server.http.traffic import COST_SECONDS
from kzn.sinks.clickhouse.store import ASK_SECONDS as ENGINE_SECONDS

FLOWS: list[tuple[int, ...]] = [(0, 0, 1, 443, 6, 1, 1, 700), (1, 1, 0, 443, 6, 0, 2, 30)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    writer = Writer(tmp_path, "00000001", VERDICTS, Keep())
    writer.describe(CLUSTER, PROVIDER_IDS)
    writer.add_ends(ENDS, anew=True)
    writer.write(1, settled(FLOWS), {})
    writer.close()
    return tmp_path


@pytest.fixture
def process(root: Path) -> Iterator[ReaderProcess]:
    made = ReaderProcess(root)
    yield made
    made.close()


def test_a_process_that_has_ended_is_started_again(process: ReaderProcess) -> None:
    query = TrafficQuery(
        T0, T0 + 120, ("src_pod", "port"), (("class", ("same_zone", "cross_zone")),), 5, 2, True
    )
    check(process.ask(query), FLOWS, query)
    os.kill(process.pid, signal.SIGKILL)
    check(process.ask(query), FLOWS, query)


def test_a_process_that_was_started_answers_the_first_query(process: ReaderProcess) -> None:
    assert not process.is_running
    process.start()
    started = process.pid
    assert process.is_running
    query = TrafficQuery(T0, T0 + 120)
    check(process.ask(query), FLOWS, query)
    process.start()
    assert process.pid == started


def test_a_process_that_gives_no_answer_in_time_is_killed_and_started_again(
    process: ReaderProcess,
) -> None:
    query = TrafficQuery(T0, T0 + 120)
    process.ask(query)
    before = process.pid
    os.kill(before, signal.SIGSTOP)
    process.ends_within = -process.deadline()  # as if that time were over
    with pytest.raises(LateError, match="no answer within 25 s") as caught:
        process.ask(query)
    assert "shorter span" in caught.value.hint
    process.ends_within = END_SECONDS
    check(process.ask(query), FLOWS, query)
    assert process.pid != before


def test_a_query_that_had_no_turn_in_time_ends_no_process(process: ReaderProcess) -> None:
    query = TrafficQuery(T0, T0 + 120)
    process.ask(query)
    before, late = process.pid, process.deadline() - ASK_SECONDS
    with pytest.raises(LateError, match="no turn") as caught:
        process.ask(query, late)
    assert caught.value.hint == "try again"
    check(process.ask(query), FLOWS, query)
    assert process.pid == before


def test_the_time_of_a_query_is_less_than_that_of_its_http_answer() -> None:
    assert HttpLimits().answer > ASK_SECONDS + END_SECONDS
    assert HttpLimits().answer > COST_SECONDS
    assert HttpLimits().answer > ENGINE_SECONDS


def test_the_process_ends_a_query_itself_and_answers_the_next(root: Path) -> None:
    reader, query = Reader(root), asdict(TrafficQuery(T0, T0 + 120))
    header, _ = reader_child._answer(reader, {"query": query, "seconds": 0.0})
    assert header["kind"] == "slow"
    header, found = reader_child._answer(reader, {"query": query, "seconds": 60.0})
    assert header == {}
    assert answers.decode(found).total.bytes == 730
    reader.close()


def test_errors_keep_their_kind(tmp_path: Path) -> None:
    (tmp_path / "books.json").write_text("damaged")
    process = ReaderProcess(tmp_path)
    with pytest.raises(KznError, match="cannot be read") as caught:
        process.ask(TrafficQuery(T0, T0 + 60))
    assert not isinstance(caught.value, UsageError)
    process.close()


def test_a_query_in_progress_ends_when_the_reader_is_stopped(process: ReaderProcess) -> None:
    process.ask(TrafficQuery(T0, T0 + 60))
    os.kill(process.pid, signal.SIGSTOP)  # a query that would last until its deadline
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(process.ask, TrafficQuery(T0, T0 + 60))
        while not process._asking.locked():
            pass
        process.stop()
        with pytest.raises(KznError):
            asked.result(timeout=10)
    assert process.pid == 0
    with pytest.raises(KznError, match="stopping"):
        process.ask(TrafficQuery(T0, T0 + 60))
