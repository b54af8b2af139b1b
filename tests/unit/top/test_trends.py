"""The last minutes from the servers' own history."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode

import pytest
from smallserver import serving

from kzn.client.http import ApiClient
from kzn.client.traffic import parse_query
from kzn.top.reading import Workload
from kzn.top.trends import Peer, take_peers, take_trends

WEB = Workload("shop", "Deployment", "web")
_T = TypeVar("_T")


def answers(
    series: list[int], known: tuple[int | None, int | None] = (0, 360), begin: int = 0
) -> Any:
    row = {"src_namespace": "shop", "src_workload_kind": "Deployment", "src_workload": "web"}
    half = [n // 2 for n in series]
    document = {
        "from": begin,
        "to": begin + 60 * len(series),
        "step": 60,
        "rows": [row | {"bytes": sum(half), "series": half}],
        "total": {"bytes": sum(series), "series": series},
        "complete_from": known[0],
        "complete_to": known[1],
    }
    return lambda topic, _: (200, json.dumps(document if topic == "traffic" else {}).encode())


def test_a_trend_has_the_steps_whose_bytes_are_complete() -> None:
    with serving(answers([9, 20, 40, 60, 80, 7], known=(60, 300))) as url:
        found = take_trends([ApiClient(url)])
    assert found is not None
    assert (found.step, found.total) == (60.0, (20, 40, 60, 80))
    assert found.workloads == {WEB: (10, 20, 30, 40)}


def test_steps_before_the_first_byte_are_left_out() -> None:
    with serving(answers([0, 0, 0, 60, 80, 10])) as url:
        found = take_trends([ApiClient(url)])
    assert found is not None
    assert found.total == (60, 80, 10)


def test_servers_are_added_up_over_what_is_complete_on_all() -> None:
    with (
        serving(answers([10, 20, 30, 40, 50, 60], known=(60, 360))) as one,
        serving(answers([2, 2, 2, 2, 2, 2], known=(0, 300))) as two,
    ):
        found = take_trends([ApiClient(one), ApiClient(two)])
    assert found is not None
    assert found.total == (22, 32, 42, 52)
    assert found.workloads == {WEB: (11, 16, 21, 26)}


@pytest.mark.parametrize(
    "other",
    [
        answers([1, 1, 1, 1, 1, 1], begin=60),
        answers([1, 1, 1, 1, 1, 1], known=(None, None)),
        lambda *_: (404, b'{"error": "no such page"}'),
        lambda *_: (200, b'{"rows": []}'),
    ],
)
def test_without_the_same_minutes_on_all_servers_there_is_no_trend(other: Any) -> None:
    with serving(answers([9] * 6)) as one, serving(other) as two:
        assert take_trends([ApiClient(one), ApiClient(two)]) is None


def test_too_few_steps_are_not_a_trend() -> None:
    with serving(answers([0, 0, 0, 0, 80, 10])) as url:
        assert take_trends([ApiClient(url)]) is None


class Flows(ApiClient):
    """A server that answers from flows: values by dimension, and bytes."""

    def __init__(self, *flows: tuple[dict[str, str], int]) -> None:
        super().__init__("http://127.0.0.1:1")
        self._flows = flows

    def fetch(
        self, topic: str, read: Callable[[Any], _T], query: Sequence[tuple[str, str | int]] = ()
    ) -> _T:
        assert topic == "traffic"
        asked = parse_query(parse_qs(urlencode(query), keep_blank_values=True), 10_000.0)
        sums: Counter[tuple[str, ...]] = Counter()
        for flow, size in self._flows:
            if all(flow[name] in values for name, values in asked.where):
                sums[tuple(flow[name] for name in asked.by)] += size
        rows = [dict(zip(asked.by, key, strict=True)) | {"bytes": n} for key, n in sums.items()]
        return read({"rows": rows})


DB = Workload("shop", "StatefulSet", "db")
JOB = Workload("shop", "Job", "web")


def flow(
    src: Workload, dst: Workload, size: int, initiator: str = "source"
) -> tuple[dict[str, str], int]:
    """From zone a to zone b."""
    labels = {"class": "cross_zone", "port": "5432", "initiator": initiator}
    for end, workload, zone in (("src", src, "a"), ("dst", dst, "b")):
        labels |= {
            f"{end}_namespace": workload.namespace,
            f"{end}_workload_kind": workload.kind,
            f"{end}_workload": workload.name,
            f"{end}_zone": zone,
        }
    return labels, size


def test_peers_are_added_up_over_servers_largest_first() -> None:
    one = Flows(flow(WEB, DB, 5), flow(WEB, DB, 8, "unknown"), flow(DB, WEB, 2))
    two = Flows(flow(WEB, DB, 7))
    sent = ("shop", "web", "a", "shop", "db", "b", "5432")
    assert take_peers([one, two], WEB) == (
        (Peer(*sent, "source"), 12),
        (Peer(*sent, "unknown"), 8),
        (Peer("shop", "db", "a", "shop", "web", "b", "5432", "source"), 2),
    )
    with serving(lambda *_: (503, b"")) as url:
        assert take_peers([ApiClient(url)], WEB) is None


def test_peers_are_those_of_the_workloads_kind_and_namespace() -> None:
    node = Workload("", "Node", "web")
    server = Flows(flow(WEB, DB, 1), flow(JOB, DB, 10), flow(DB, node, 100), flow(JOB, WEB, 1000))
    totals = {
        name: sum(size for _, size in take_peers([server], name) or ()) for name in (WEB, JOB, node)
    }
    assert totals == {WEB: 1001, JOB: 1010, node: 100}


def test_what_a_workload_sends_to_itself_is_counted_once() -> None:
    assert [size for _, size in take_peers([Flows(flow(WEB, WEB, 9))], WEB) or ()] == [9]
