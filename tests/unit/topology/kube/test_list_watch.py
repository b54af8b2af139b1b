"""kzn/topology/kube/list_watch.py: list, watch, and every fault, without a network."""

import json
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

import pytest

from kzn.errors import UsageError
from kzn.topology.facts import OwnerFacts
from kzn.topology.kube.api_objects import Owner
from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.list_watch import LONGEST_RETRY_AFTER, ListWatch, Sink
from kzn.topology.kube.resources import REPLICASET_RESOURCE


def obj(uid: str, version: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": uid, "uid": uid, "resourceVersion": str(version)}}


def body(*items: dict[str, Any], version: str = "100", more: str = "") -> bytes:
    meta = {"resourceVersion": version, "continue": more}
    return json.dumps({"metadata": meta, "items": items}).encode()


def event(kind: str, item: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode()


def error(reason: str, **more: Any) -> KubeError:
    return KubeError("it failed", reason=reason, **more)


@dataclass
class Rig:
    """A list-watch with a sink that records its calls."""

    now: float = 50.0
    calls: list[tuple[str, str, int]] = field(default_factory=list)
    list_watch: ListWatch[Owner, OwnerFacts] = field(init=False)

    def __post_init__(self) -> None:
        sink: Sink[OwnerFacts] = Sink(
            put=lambda item, listing: self.calls.append(("put", item.uid, listing)),
            drop=lambda uid: self.calls.append(("drop", uid, 0)),
        )
        rng = Random(1)
        self.list_watch = ListWatch(
            REPLICASET_RESOURCE, sink, clock=lambda: self.now, rng=rng, listings=count(1)
        )

    def page(self, content: bytes) -> int:
        """Apply a page; the number of steps."""
        return sum(1 for _ in self.list_watch.page(content))

    def listed(self, *uids: str) -> "Rig":
        self.list_watch.request()
        self.page(body(*(obj(uid) for uid in uids)))
        self.list_watch.request()
        self.list_watch.opened()
        self.calls.clear()
        return self


def test_a_resource_is_listed_in_pages_and_watched_from_the_version_of_the_list() -> None:
    rig = Rig()
    first = rig.list_watch.request()
    assert (first.is_watch, first.parameters) == (False, {"limit": "500"})
    assert "PartialObjectMetadataList" in first.accept
    rig.page(body(obj("a"), more="tok"))
    assert not rig.list_watch.is_listed
    assert rig.list_watch.request().parameters == {"limit": "500", "continue": "tok"}
    rig.page(body(obj("b"), version="123"))
    assert rig.list_watch.is_listed
    watch = rig.list_watch.request()
    assert watch.is_watch
    assert watch.parameters["resourceVersion"] == "123"
    assert watch.parameters["allowWatchBookmarks"] == "true"
    assert 240 <= int(watch.parameters["timeoutSeconds"]) <= 480
    assert rig.calls == [("put", "a", 1), ("put", "b", 1)]
    assert rig.list_watch.wait() == 0


def test_events_reach_the_sink_and_the_watch_resumes_after_the_last() -> None:
    rig = Rig().listed("a")
    rig.list_watch.line(event("ADDED", obj("b", 101)))
    rig.list_watch.line(event("MODIFIED", obj("a", 102)))
    rig.list_watch.line(event("DELETED", obj("a", 103)))
    assert rig.calls == [("put", "b", 0), ("put", "a", 0), ("drop", "a", 0)]
    assert rig.list_watch.request().parameters["resourceVersion"] == "103"
    rig.list_watch.line(event("BOOKMARK", obj("", 250)))
    assert rig.list_watch.request().parameters["resourceVersion"] == "250"
    stats = rig.list_watch.stats()
    assert (stats.objects, stats.events, stats.lists, stats.watches) == (1, 3, 1, 1)


def test_a_list_after_an_expired_watch_drops_what_it_lacks() -> None:
    rig = Rig().listed("a", "b")
    rig.list_watch.line(event("ADDED", obj("c", 101)))
    rig.calls.clear()
    with pytest.raises(KubeError) as caught:
        rig.list_watch.line(b'{"type":"ERROR","object":{"code":410,"message":"too old"}}')
    assert rig.list_watch.failed(caught.value) == "expired"
    request = rig.list_watch.request()
    assert (request.is_watch, request.parameters) == (False, {"limit": "500"})
    rig.page(body(obj("b"), more="tok"))
    assert rig.calls == [("put", "b", 2)]  # nothing vanishes before the last page
    rig.page(body(obj("d")))
    assert rig.calls[1] == ("put", "d", 2)
    assert sorted(rig.calls[2:]) == [("drop", "a", 0), ("drop", "c", 0)]
    assert rig.list_watch.stats().objects == 2


def test_a_watch_expired_by_http_status_causes_a_new_list_too() -> None:
    rig = Rig().listed("a")
    rig.list_watch.failed(error("expired", status=410))
    assert not rig.list_watch.request().is_watch


def test_an_expired_continue_token_restarts_the_list_with_larger_pages() -> None:
    rig, limits = Rig(), []
    for _ in range(4):
        limits.append(rig.list_watch.request().parameters.get("limit"))
        rig.page(body(obj("a"), more="tok"))
        rig.list_watch.failed(error("expired", status=410))
    assert limits == ["500", "2000", "8000", None]
    assert rig.list_watch.request().parameters == {}
    rig.page(body(obj("b")))
    assert ("drop", "a", 0) in rig.calls


def test_a_failed_page_is_requested_again_and_earlier_pages_stay() -> None:
    rig = Rig()
    rig.list_watch.request()
    rig.page(body(obj("a"), more="tok"))
    rig.list_watch.failed(error("connection"))
    assert rig.list_watch.request().parameters["continue"] == "tok"
    rig.page(body(obj("b")))
    assert rig.calls == [("put", "a", 1), ("put", "b", 1)]


def test_a_disconnect_resumes_the_watch_after_a_wait() -> None:
    rig = Rig().listed("a")
    rig.list_watch.failed(error("connection"))
    assert rig.list_watch.wait() > 0
    assert rig.list_watch.wait() == 0
    assert rig.list_watch.request().parameters["resourceVersion"] == "100"


def test_waits_grow_to_a_bound_and_start_small_after_progress() -> None:
    rig = Rig().listed("a")
    waits = []
    for _ in range(200):
        rig.list_watch.failed(error("connection"))
        waits.append(rig.list_watch.wait())
    assert max(waits[:2]) <= 2
    assert 20 < max(waits) <= 30
    rig.list_watch.line(event("ADDED", obj("b", 101)))
    rig.list_watch.failed(error("connection"))
    assert rig.list_watch.wait() <= 1


def test_a_list_does_not_reset_the_backoff_of_a_watch_that_always_expires() -> None:
    rig, total = Rig(), 0.0
    for _ in range(40):
        rig.listed("a")
        rig.list_watch.failed(error("expired", status=410))
        total += rig.list_watch.wait()
    assert total > 200


def test_retry_after_is_respected_up_to_a_limit() -> None:
    rig = Rig().listed("a")
    rig.list_watch.failed(error("throttled", status=429, retry_after=17.0))
    assert 17 <= rig.list_watch.wait() <= 18
    rig.list_watch.failed(error("throttled", status=429, retry_after=1e9))
    assert rig.list_watch.wait() <= LONGEST_RETRY_AFTER + 30


def test_a_broken_line_resumes_before_it_and_two_in_a_row_cause_a_new_list() -> None:
    rig = Rig().listed("a")
    for expected in (True, False):
        with pytest.raises(KubeError) as caught:
            rig.list_watch.line(b'{"type": "ADD')
        assert rig.list_watch.failed(caught.value) == "bad_line"
        assert rig.list_watch.request().is_watch is expected


def test_an_undecodable_object_is_counted_and_the_watch_continues() -> None:
    rig = Rig().listed("a")
    rig.list_watch.line(
        b'{"type":"MODIFIED","object":{"metadata":{"uid":"a","resourceVersion":"9"}}}'
    )
    assert rig.calls == []
    assert rig.list_watch.stats().failures["undecodable"] == 1
    assert rig.list_watch.request().parameters["resourceVersion"] == "9"


def test_an_object_that_becomes_undecodable_in_a_list_is_not_dropped() -> None:
    rig = Rig().listed("a", "b")
    rig.list_watch.failed(error("expired"))
    rig.list_watch.request()
    rig.page(body(obj("a"), {"metadata": {"uid": "b"}}))
    assert [call for call in rig.calls if call[0] == "drop"] == []
    assert rig.list_watch.stats().failures["undecodable"] == 1


def test_an_event_of_an_unknown_type_is_counted() -> None:
    rig = Rig().listed("a")
    rig.list_watch.line(event("RENAMED", obj("a", 101)))
    assert rig.list_watch.stats().failures["unknown_event"] == 1


def test_a_body_that_is_not_a_list_and_a_list_without_version_are_bad_pages() -> None:
    for page in (b"<html>", body(version="")):
        rig = Rig()
        rig.list_watch.request()
        with pytest.raises(KubeError) as caught:
            rig.page(page)
        assert rig.list_watch.failed(caught.value) == "bad_page"
        assert not rig.list_watch.is_listed
        assert not rig.list_watch.request().is_watch


def test_a_refused_watch_causes_a_new_list_and_a_forbidden_one_a_retry() -> None:
    rig = Rig().listed("a")
    rig.list_watch.failed(error("forbidden", status=403))
    assert rig.list_watch.request().is_watch
    rig.list_watch.failed(error("refused", status=400))
    assert not rig.list_watch.request().is_watch


def test_unreadable_credentials_are_retried() -> None:
    rig = Rig()
    assert rig.list_watch.failed(UsageError("no such file")) == "credentials"
    assert rig.list_watch.wait() > 0


def test_watches_that_end_at_once_are_delayed_more_and_more() -> None:
    rig = Rig().listed("a")
    waits = []
    for _ in range(50):
        rig.list_watch.opened()
        rig.list_watch.ended()
        waits.append(rig.list_watch.wait())
    assert sum(waits) > 200
    rig.now += 60
    rig.list_watch.ended()
    assert rig.list_watch.wait() == 0


def test_staleness_is_the_time_since_the_last_page_event_or_bookmark() -> None:
    rig = Rig()
    rig.now = 60.0
    assert rig.list_watch.stats().staleness == 10
    rig.listed("a")
    rig.now = 75.0
    assert rig.list_watch.stats().staleness == 15
    rig.list_watch.line(event("BOOKMARK", obj("", 250)))
    assert rig.list_watch.stats().staleness == 0


def test_a_page_is_applied_and_what_it_lacks_is_dropped_in_steps() -> None:
    uids = [f"u{number:03}" for number in range(350)]
    rig = Rig().listed(*uids)
    rig.list_watch.failed(error("expired"))
    rig.list_watch.request()
    page = body(*(obj(uid) for uid in uids[:120]))
    sizes = [len(rig.calls) for _ in rig.list_watch.page(page)]
    assert sizes == [0, 100, 120, 220, 320]
    assert len(rig.calls) == 350
    dropped = {uid for verb, uid, _ in rig.calls if verb == "drop"}
    assert dropped == set(uids[120:])
    assert rig.list_watch.request().is_watch
