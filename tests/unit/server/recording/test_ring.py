"""The hour in memory: what the pipeline settled, bounded in time, rows and ends."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from historic import DB, JOB, WEB1, WEB2, HistoricWorld
from questions import ENDS, T0, settled

from kzn.errors import UsageError
from kzn.history.query import TrafficQuery
from kzn.server.recording import ring as ring_module
from kzn.server.recording.open import MemoryStore
from kzn.server.recording.ring import Ring


def test_what_was_settled_can_be_asked_for_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        ring = Ring(1_000_000_980)
        world = HistoricWorld(tmp_path, ring)
        await world.recorder.start(1)
        world.apply("n1", (WEB1, DB, 700), port=5432, flags=2)
        world.apply("n1", (WEB1, WEB2, 30))
        await world.recorder.flush()
        world.clock.seconds += 60
        world.apply("n3", (JOB, DB, 5))
        await world.recorder.flush()
        query = TrafficQuery(1_000_000_000, 1_000_002_000, ("cause_workload", "dst_zone"))
        store = MemoryStore(ring)
        found = (await store.ask(query)).to_json()
        assert found["rows"] == [
            {"cause_workload": "db", "dst_zone": "b", "bytes": 700, "packets": 1},
            {"cause_workload": "web", "dst_zone": "b", "bytes": 30, "packets": 1},
            {"cause_workload": "job", "dst_zone": "b", "bytes": 5, "packets": 1},
        ]
        assert (found["complete_from"], found["complete_to"]) == (1_000_000_980, 1_000_001_060)
        with pytest.raises(UsageError, match="no pods"):
            await store.ask(TrafficQuery(0, 1, ("src_pod",)))
        await world.recorder.close()

    asyncio.run(run())


def test_minutes_end_after_an_hour_and_unused_ends_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ring_module, "MAX_ENDS", 3)
    ring = Ring(T0)
    ring.add_ends(ENDS, anew=True)
    ring.write(1, settled([(0, 0, 1, 443, 6, 0, 0, 7)]).tobytes(), {}, T0 + 60)
    ring.add_ends(ENDS[3:], anew=True)
    ring.write(2, settled([(100, 0, 1, 443, 6, 0, 0, 9)]).tobytes(), {}, T0 + 6060)
    found = ring.ask(TrafficQuery(T0, T0 + 9000, ("src_kind", "dst_kind")))
    assert [(row.values, row.measure.bytes) for row in found.rows] == [(("Node", "External"), 9)]
    assert found.complete_from == T0 + 2400
    assert len(ring._ends) == 2


def test_of_too_many_rows_the_smallest_are_added_up_by_zone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ring_module, "MAX_ROWS", 10)
    ring = Ring(T0)
    ring.add_ends(ENDS, anew=True)
    rows = np.concatenate([settled([(0, 0, 1, port, 6, 1, 1, port)]) for port in range(1, 101)])
    ring.write(1, rows.tobytes(), {}, T0 + 60)
    found = ring.ask(TrafficQuery(T0, T0 + 60, ("src_workload", "src_zone", "dst_zone", "port")))
    assert found.total.bytes == 5050
    assert found.rows[0].values == ("other", "a", "b", 0)
    assert [row.values[3] for row in found.rows[1:]] == [100, 99, 98, 97, 96]
