"""The hour in memory: what the pipeline settled, bounded in time, rows and ends."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from historic import DB, JOB, WEB1, WEB2, HistoricWorld
from questions import ENDS, T0, settled

from kzn.errors import UsageError
from kzn.history.query import TrafficQuery
from kzn.model.settled import End
from kzn.server.recording import fold as fold_module
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


def test_of_too_many_rows_of_one_write_the_smaller_half_is_added_up_by_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_module, "MAX_OF_HOUR", 20)
    monkeypatch.setattr(fold_module, "_COMPACT", 8)

    async def run() -> None:
        ring = Ring(1_000_000_980)
        world = HistoricWorld(tmp_path, ring, has_detail=False)
        await world.recorder.start(1)
        for port in range(1, 61):
            world.apply("n1", (WEB1, DB, port), port=port, flags=2)
        await world.recorder.flush()
        query = TrafficQuery(
            1_000_000_000, 1_000_002_000, ("src_workload", "src_zone", "dst_zone", "port")
        )
        found = ring.ask(query)
        assert found.total.bytes == sum(range(1, 61))
        assert found.total.packets == 60
        of_ports = {row.values[3]: row.measure.bytes for row in found.rows if row.values[3]}
        assert all(port == size for port, size in of_ports.items())
        assert {60, 59, 58, 57, 56} <= of_ports.keys()
        assert len(of_ports) <= 20 + 8
        (rest,) = (row for row in found.rows if not row.values[3])
        assert rest.values == ("other", "a", "b", 0)
        await world.recorder.close()

    asyncio.run(run())


def test_of_many_zones_no_more_rows_are_kept_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "MAX_ROWS", 200)
    monkeypatch.setattr(ring_module, "MAX_REST", 36)
    ring = Ring(T0)
    ring.add_ends(
        [End("Pod", "n", "", f"w{n}", "", "", f"zone-{n}", "r", "") for n in range(100)], anew=True
    )
    flows: list[tuple[int, ...]] = [
        (0, src, dst, 443, 6, 1, 1, src * 100 + dst + 1) for src in range(100) for dst in range(100)
    ]
    for number, part in enumerate((flows, flows[:5000])):
        ring.write(number, settled(part).tobytes(), {}, T0 + 60)
    found = ring.ask(TrafficQuery(T0, T0 + 60, ("src_zone", "dst_zone", "src_workload"), limit=999))
    assert found.of <= 200
    assert found.total.bytes == sum(flow[-1] for flow in flows + flows[:5000])
    assert ("", "", "other") in [row.values for row in found.rows]
