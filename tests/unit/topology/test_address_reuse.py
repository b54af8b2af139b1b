"""Who had an address that is given out again at once, by the times that the API server tells.

A simulation of the worst case: one address, whose next pod is made as soon as the last one is gone.
What each pod really had of an interval is compared with what the index says of it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random

import msgspec
import pytest
from cluster import IndexWorld

from kzn.model.ip import pack
from kzn.topology.facts import Workload
from kzn.topology.kube.api_objects import Pod, pod_facts
from kzn.topology.kube.api_server.api_clock import ApiClock

ADDRESS = "10.0.0.9"
PODS = 80
INTERVAL = 2.0
BEGIN = 1000.0


@dataclass(frozen=True)
class Life:
    """A pod on the true clock: it sends from ``begins`` to ``ends``."""

    uid: str
    created: float
    begins: float
    ready: float
    deleted: float
    ends: float
    gone: float


def lives(rng: Random) -> Iterator[Life]:
    at = BEGIN + 1.0
    for number in range(PODS):
        ready = at + rng.uniform(0.6, 1.5)
        deleted = ready + rng.uniform(3.0, 15.0)
        gone = deleted + rng.uniform(0.3, 1.5)
        yield Life(f"u{number}", at, at + 0.4, ready, deleted, deleted + 0.25, gone)
        at = gone + rng.uniform(0.05, 0.3)


def stamp(seconds: float) -> datetime:
    """As the API has it: a whole second."""
    return datetime.fromtimestamp(int(IndexWorld.EPOCH + seconds), UTC)


def pod_of(life: Life, api_ahead: float, node_ahead: float, *, deleting: bool) -> Pod:
    metadata = {
        "uid": life.uid,
        "name": life.uid,
        "namespace": "shop",
        "creationTimestamp": stamp(life.created + api_ahead).isoformat(),
    }
    if deleting:
        metadata["deletionTimestamp"] = stamp(life.deleted + api_ahead + 1.0).isoformat()
    status = {
        "phase": "Running",
        "podIP": ADDRESS,
        "podIPs": [{"ip": ADDRESS}],
        "startTime": stamp(life.created + 0.2 + node_ahead).isoformat(),
    }
    raw = {"metadata": metadata, "spec": {"nodeName": "n1"}, "status": status}
    return msgspec.convert(raw, Pod)


def api_clock(ahead: float) -> ApiClock:
    clock = ApiClock()
    for number in range(200):
        asked = IndexWorld.EPOCH + BEGIN - 80.0 + number * 0.37
        date = datetime.fromtimestamp(int(asked + ahead), UTC)
        clock.observe(format_datetime(date, usegmt=True), asked, asked + 0.01)
    return clock


def shares(*, seed: int, api_ahead: float, node_ahead: float, is_known: bool) -> dict[str, float]:
    """The shares of time in which a pod sent that are its own, ambiguous, or another pod's."""
    rng, world = Random(seed), IndexWorld()
    earliest = api_clock(api_ahead).earliest if is_known else lambda _stamp: None
    real = list(lives(rng))
    events: list[tuple[float, Life, str]] = []
    for life in real:
        events.append((life.ready + rng.uniform(0.1, 0.8), life, "runs"))
        events.append((life.deleted + rng.uniform(0.005, 0.05), life, "deleting"))
        events.append((life.gone + rng.uniform(0.005, 0.05), life, "gone"))
    events.sort(key=lambda event: event[0])
    found: defaultdict[str, float] = defaultdict(float)
    opened = BEGIN
    while opened < real[-1].ends:
        closed = opened + INTERVAL
        while events and events[0][0] <= closed + 2 * INTERVAL:  # so long flows are held
            world.now, life, event = events.pop(0)
            if event == "gone":
                world.index.drop_pod(life.uid)
                continue
            seen = pod_of(life, api_ahead, node_ahead, deleting=event == "deleting")
            world.index.put_pod(pod_facts(seen, earliest), Workload("Deployment", "web"))
        world.now = closed + 2 * INTERVAL
        owner = world.owner(pack(ADDRESS), opened, closed)
        for life in real:
            sent = min(life.ends, closed) - max(life.begins, opened)
            if sent > 0:
                is_pod = isinstance(owner, str)
                found["own" if owner == life.uid else "other" if is_pod else "ambiguous"] += sent
        opened = closed
    return {name: size / sum(found.values()) for name, size in found.items()}


@pytest.mark.parametrize("api_ahead", [-40.0, 0.0, 0.7, 3.0])
@pytest.mark.parametrize("node_ahead", [-1.5, 0.0, 1.5])
def test_the_api_servers_clock_makes_less_ambiguous_and_nothing_wrong(
    api_ahead: float, node_ahead: float
) -> None:
    for seed in (1,):
        found = shares(seed=seed, api_ahead=api_ahead, node_ahead=node_ahead, is_known=True)
        unknown = shares(seed=seed, api_ahead=api_ahead, node_ahead=node_ahead, is_known=False)
        assert "other" not in found
        assert "other" not in unknown
        assert found["ambiguous"] < 0.2
        assert found["ambiguous"] <= unknown["ambiguous"]
        if node_ahead <= 0:
            assert found["ambiguous"] < 0.7 * unknown["ambiguous"]
